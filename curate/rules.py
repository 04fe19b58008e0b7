"""Decide from its scores whether a clip is worth rendering.

A rule is a pure function ``(Facts, CurateConfig) -> Decision | None``: the decision that rejects,
or None when the clip passes. Rules run in the order of ``RULES``; the first that rejects is the
verdict. Which rules run is a setting: ours, or those of Diffusion4D (``rules_of``). Rules about
whole assets stand in ``curate.asset_rules``. To add one: write it, list it in ``GEOMETRY``, give it
a setting in ``curate.config`` and a row of cases in ``tests/curate/test_rules.py``.
"""

from collections.abc import Callable

from curate import asset_rules
from curate.config import CurateConfig
from curate.facts import Decision, Facts

Rule = Callable[[Facts, CurateConfig], Decision | None]


def too_short(facts: Facts, config: CurateConfig) -> Decision | None:
    """A pose, or a twitch of a few frames, is no clip."""
    limit = config.clips.duration_min_s
    if facts.duration_s >= limit:
        return None
    return Decision(
        "too_short", facts.duration_s, limit, "s",
        f"the clip lasts {facts.duration_s:g} s, at least {limit:g} s are needed",
    )  # fmt: skip


def too_long(facts: Facts, config: CurateConfig) -> Decision | None:
    """Nobody animates for an hour; a time unit was mistaken, or the file means harm."""
    limit = config.clips.duration_max_s
    if facts.duration_s <= limit:
        return None
    return Decision(
        "too_long", facts.duration_s, limit, "s",
        f"the clip lasts {facts.duration_s:,.0f} s, at most {limit:,.0f} s are looked at",
    )  # fmt: skip


def too_many_vertices(facts: Facts, config: CurateConfig) -> Decision | None:
    """Geometry beyond what a worker is sized for."""
    limit = config.geometry.vertices_max
    if facts.vertices is None or facts.vertices <= limit:
        return None
    return Decision(
        "too_many_vertices", facts.vertices, limit, "vertices",
        f"{facts.vertices:,} evaluated vertices, at most {limit:,} are handled",
    )  # fmt: skip


def no_mesh(facts: Facts, config: CurateConfig) -> Decision | None:
    """Nothing to see: no visible vertex."""
    if facts.vertices is None or facts.vertices > 0:
        return None
    return Decision("no_mesh", 0, 1, "vertices", "the clip shows no visible geometry")


def no_size(facts: Facts, config: CurateConfig) -> Decision | None:
    """All vertices lie in one point: no scale can be given to it."""
    if facts.motion is None or facts.motion.size > 0:
        return None
    return Decision("no_size", 0.0, 0.0, "asset units", "all vertices lie in one point")


def too_still(facts: Facts, config: CurateConfig) -> Decision | None:
    """Nothing that a viewer would notice moves."""
    motion, limits = facts.motion, config.motion
    if motion is None or (
        motion.motion >= limits.min
        or motion.moved_most >= limits.moved_most_min
        or motion.drift >= limits.drift_min
    ):
        return None
    return Decision(
        "too_still", motion.motion, limits.min, "asset sizes",
        f"mean motion {motion.motion:.4f} < {limits.min:g}, parts that move most "
        f"{motion.moved_most:.4f} < {limits.moved_most_min:g}, "
        f"drift {motion.drift:.4f} < {limits.drift_min:g}",
    )  # fmt: skip


def teleport(facts: Facts, config: CurateConfig) -> Decision | None:
    """One step holds most of the motion: a cut, not a movement."""
    motion, limits = facts.motion, config.motion
    if motion is None or motion.step < limits.jump_min or motion.step_share < limits.jump_share_min:
        return None
    return Decision(
        "teleport", motion.step_share, limits.jump_share_min, "share of the path",
        f"one step of {motion.step:.2f} asset sizes holds {motion.step_share:.0%} of the motion",
    )  # fmt: skip


def leaves_frame(facts: Facts, config: CurateConfig) -> Decision | None:
    """Something travels so far that a camera which holds it all shows the asset too small."""
    motion, limit = facts.motion, config.boundary.reach_max
    if motion is None or motion.reach <= limit:
        return None
    return Decision(
        "leaves_frame", motion.reach, limit, "asset sizes",
        f"a vertex gets {motion.reach:.2f} asset sizes away from where the clip starts",
    )  # fmt: skip


def too_slow(facts: Facts, config: CurateConfig) -> Decision | None:
    """Hardly any way is covered per second. Off by default."""
    detail, limit = facts.detail, config.motion.activity_min_per_s
    if detail is None or detail.activity_per_s >= limit:
        return None
    return Decision(
        "too_slow", detail.activity_per_s, limit, "asset sizes/s",
        f"the surface covers {detail.activity_per_s:.4f} asset sizes per second on average",
    )  # fmt: skip


def stops_early(facts: Facts, config: CurateConfig) -> Decision | None:
    """Most of the window shows a standing picture. Off by default."""
    detail, limit = facts.detail, config.motion.active_share_min
    if detail is None or detail.active_share >= limit:
        return None
    return Decision(
        "stops_early", detail.active_share, limit, "share of the window",
        f"something moves from {detail.starts_s:.2f} s to {detail.stops_s:.2f} s only, "
        f"{detail.active_share:.0%} of the window",
    )  # fmt: skip


def changes_scale(facts: Facts, config: CurateConfig) -> Decision | None:
    """The whole grows or shrinks: an effect rather than a movement. Off by default."""
    detail, limit = facts.detail, config.motion.scale_change_max
    if detail is None or limit is None or detail.scale_change <= limit:
        return None
    return Decision(
        "changes_scale", detail.scale_change, limit, "ratio",
        f"the asset grows or shrinks by a factor of {detail.scale_change:.2f}",
    )  # fmt: skip


def no_loop(facts: Facts, config: CurateConfig) -> Decision | None:
    """The clip does not end where it began. Off by default."""
    detail, limit = facts.detail, config.motion.loop_gap_max
    if detail is None or limit is None or detail.loop_gap <= limit:
        return None
    return Decision(
        "no_loop", detail.loop_gap, limit, "asset sizes",
        f"the last pose is {detail.loop_gap:.3f} asset sizes from the first on average",
    )  # fmt: skip


def touches_border(facts: Facts, config: CurateConfig) -> Decision | None:
    """The projection of some vertex in some image comes too near the border, or crosses it."""
    limit = config.boundary.margin_min_px
    if facts.margin_px is None or facts.margin_px >= limit:
        return None
    return Decision(
        "touches_border", facts.margin_px, limit, "px",
        f"the projection comes within {facts.margin_px:.1f} px of the border in some image",
    )  # fmt: skip


def ssim_too_still(facts: Facts, config: CurateConfig) -> Decision | None:
    """Neither a quarter nor half of the window on, the front view differs enough (Diffusion4D)."""
    similar, limit = _least_similar(facts), config.pixels.ssim_still
    if similar is None or similar <= limit:
        return None
    return Decision(
        "ssim_too_still", similar, limit, "SSIM",
        f"the front views at a quarter and half of the window are like the first: SSIM "
        f"{facts.ssim_quarter:.4f} and {facts.ssim_half:.4f}, both above {limit:g}",
    )  # fmt: skip


def ssim_broken(facts: Facts, config: CurateConfig) -> Decision | None:
    """The front view has hardly anything in common with the first (Diffusion4D)."""
    similar, limit = _least_similar(facts), config.pixels.ssim_broken
    if similar is None or similar >= limit:
        return None
    return Decision(
        "ssim_broken", similar, limit, "SSIM",
        f"a front view at a quarter or half of the window is unlike the first: SSIM "
        f"{facts.ssim_quarter:.4f} and {facts.ssim_half:.4f}, at least {limit:g} is needed",
    )  # fmt: skip


def _least_similar(facts: Facts) -> float | None:
    if facts.ssim_quarter is None or facts.ssim_half is None:
        return None
    return min(facts.ssim_quarter, facts.ssim_half)


def alpha_at_border(facts: Facts, config: CurateConfig) -> Decision | None:
    """In images of the moving orbit the object reaches the border (Diffusion4D)."""
    count, limit = facts.border_frames, config.pixels.border_frames_max
    if count is None or count <= limit:
        return None
    return Decision(
        "alpha_at_border", count, limit, "images",
        f"{count} of {config.pixels.frames} images of the moving orbit show the object at their "
        f"border, at most {limit} may",
    )  # fmt: skip


def too_many_triangles(facts: Facts, config: CurateConfig) -> Decision | None:
    """Geometry beyond what a worker is sized for."""
    found, limit = facts.asset.triangles, config.geometry.triangles_max
    if found is None or found <= limit:
        return None
    return Decision(
        "too_many_triangles", found, limit, "triangles",
        f"{found:,} triangles, at most {limit:,} are handled",
    )  # fmt: skip


def camera_light_only(facts: Facts, config: CurateConfig) -> Decision | None:
    """The clip moves cameras or lights, and nothing that is seen: it is about something else."""
    if facts.geometry_tracks != 0 or not facts.camera_tracks:
        return None
    return Decision(
        "camera_light_only", 0, 1, "tracks",
        f"tracks that move cameras or lights: {facts.camera_tracks}, anything visible: 0",
    )  # fmt: skip


# Whether an asset may be used, and what it costs: asked before anything is posed.
_FIRST: tuple[Rule, ...] = (
    asset_rules.licence,
    asset_rules.denied_tag,
    asset_rules.large_textures,
    too_many_triangles,
)
# What must hold for a clip to be rendered at all.
_NEEDED: tuple[Rule, ...] = (
    too_long,
    no_mesh,
    too_many_vertices,
    asset_rules.too_few_triangles,
    no_size,
)
GEOMETRY: tuple[Rule, ...] = (
    *_FIRST,
    asset_rules.missing_textures,
    too_short,
    *_NEEDED,
    camera_light_only,
    asset_rules.all_transparent,
    asset_rules.far_part,
    asset_rules.backdrop,
    asset_rules.degenerate_triangles,
    asset_rules.fragments,
    leaves_frame,
    teleport,
    too_still,
    too_slow,
    stops_early,
    changes_scale,
    no_loop,
    touches_border,
)
PIXELS: tuple[Rule, ...] = (ssim_too_still, ssim_broken, alpha_at_border)  # in the paper's order
RULES: tuple[Rule, ...] = (*GEOMETRY, *PIXELS)


def rules_of(config: CurateConfig) -> tuple[Rule, ...]:
    """List the rules that the settings ask for, in the order in which they run."""
    if config.rules == "diffusion4d":
        return (*_FIRST, *_NEEDED, *PIXELS)
    return RULES if config.pixels.enabled else GEOMETRY


_EARLY = frozenset(
    [
        "licence", "denied_tag", "large_textures", "missing_textures", "too_many_triangles",
        "too_short", "too_long",
    ]
)  # fmt: skip


def stage_of(decision: Decision) -> str:
    """Say where a rule falls: ``inspect`` before any clip is posed, else ``probe``."""
    return "inspect" if decision.rule in _EARLY else "probe"


def decide(facts: Facts, config: CurateConfig) -> Decision | None:
    """Return the first rejection, or None."""
    decisions = (rule(facts, config) for rule in rules_of(config))
    return next((decision for decision in decisions if decision is not None), None)

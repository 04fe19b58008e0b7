"""Rules about the asset that a clip belongs to: rights, textures, soundness of its geometry.

They are rules like those of ``curate.rules``, which lists them.
"""

from curate.config import CurateConfig
from curate.facts import Decision, Facts
from curate.rights import is_allowed, spdx, tags_in


def licence(facts: Facts, config: CurateConfig) -> Decision | None:
    """The asset may not be used on the terms that are asked for. By default all may."""
    if facts.asset.licence is None:
        return None
    rights, stated = config.rights, facts.asset.licence
    if is_allowed(stated, rights):
        return None
    named = f"licence {spdx(stated)!r}" if spdx(stated) else "no licence is stated, which"
    return Decision("licence", 0, 1, "allowed licences", f"{named} is not taken")


def denied_tag(facts: Facts, config: CurateConfig) -> Decision | None:
    """The source marks the asset with a tag that is not wanted. None is by default."""
    found = tags_in(facts.asset.tags or "", config.rights.tags_deny)
    if not found:
        return None
    sentence = f"the source tags it {', '.join(found)}"
    return Decision("denied_tag", len(found), 0, "denied tags", sentence)


def large_textures(facts: Facts, config: CurateConfig) -> Decision | None:
    """Decoded, the images take more memory than a worker should spend on them."""
    found, limit = facts.asset.texture_mb, config.quality.texture_mb_max
    if found is None or limit is None or found <= limit:
        return None
    return Decision(
        "large_textures", found, limit, "MB",
        f"the images take {found:,.0f} MB once decoded, at most {limit:,.0f} are handled",
    )  # fmt: skip


def missing_textures(facts: Facts, config: CurateConfig) -> Decision | None:
    """Images are not there: the surface shows plain colours instead. Off by default."""
    found, limit = facts.asset.missing_textures, config.quality.missing_textures_max
    if found is None or limit is None or found <= limit:
        return None
    return Decision(
        "missing_textures", found, limit, "images",
        f"{found} images are missing or cannot be read",
    )  # fmt: skip


def too_few_triangles(facts: Facts, config: CurateConfig) -> Decision | None:
    """Lines and points show nothing in a render; a handful of triangles is a placeholder."""
    found, limit = facts.asset.triangles, config.quality.triangles_min
    if found is None or facts.vertices is None or found >= limit:
        return None
    return Decision(
        "too_few_triangles", found, limit, "triangles",
        f"{found} triangles are visible, at least {limit} are needed",
    )  # fmt: skip


def all_transparent(facts: Facts, config: CurateConfig) -> Decision | None:
    """The materials let all light through: there is geometry, and nothing of it is seen."""
    found, limit = facts.asset.visible_share, config.quality.visible_share_min
    if found is None or found >= limit:
        return None
    return Decision(
        "all_transparent", found, limit, "share of the surface",
        f"{found:.1%} of the surface is not wholly transparent",
    )  # fmt: skip


def far_part(facts: Facts, config: CurateConfig) -> Decision | None:
    """Small parts lie so far off that a picture of all shows the rest as a speck."""
    found, limit = facts.asset.far_part_ratio, config.quality.far_part_ratio_max
    if found is None or limit is None or found <= limit:
        return None
    return Decision(
        "far_part", found, limit, "ratio",
        f"small parts far off make the asset {found:.1f} times as large as its large parts",
    )  # fmt: skip


def backdrop(facts: Facts, config: CurateConfig) -> Decision | None:
    """A plane as large as the rest stands behind or under it. Off by default."""
    found, limit = facts.asset.backdrop_share, config.quality.backdrop_share_max
    if found is None or limit is None or found <= limit:
        return None
    return Decision(
        "backdrop", found, limit, "share of the surface",
        f"{found:.0%} of the surface are planes as large as all the rest",
    )  # fmt: skip


def degenerate_triangles(facts: Facts, config: CurateConfig) -> Decision | None:
    """Triangles without an area: the mesh was damaged, or is scaled flat. Off by default."""
    found, limit = facts.asset.degenerate_share, config.quality.degenerate_share_max
    if found is None or limit is None or found <= limit:
        return None
    return Decision(
        "degenerate_triangles", found, limit, "share of the triangles",
        f"{found:.0%} of the triangles have no area",
    )  # fmt: skip


def fragments(facts: Facts, config: CurateConfig) -> Decision | None:
    """The surface falls into very many pieces. Off by default."""
    found, limit = facts.asset.parts, config.quality.parts_max
    if found is None or limit is None or found <= limit:
        return None
    return Decision(
        "fragments", found, limit, "parts", f"the surface consists of {found:,} unconnected parts"
    )

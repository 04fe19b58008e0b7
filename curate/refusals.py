"""Why whole assets, and clips beyond what was measured, are not rendered."""

from curate import asset_rules
from curate.facts import AssetFacts, Decision, Facts
from curate.inspect import ClipHeader
from curate.job import Job
from curate.sources import Source
from render.session import OpenedAsset

TAKEN_DOWN = Decision("taken_down", 1, 0, "lists", "the run's tombstones.json has it")
COPY_TAKEN_DOWN = Decision(
    "taken_down", 1, 0, "lists", "the run's tombstones.json has an asset of the same bytes"
)


def refusal(source: Source) -> Decision:
    """Say why lists refuse an asset."""
    if source.refusal == "taken_down":
        return TAKEN_DOWN
    if source.refusal == "denied":
        return Decision("denied", 1, 0, "lists", "a deny list has this asset")
    return Decision("not_allowed", 0, 1, "lists", "no allow list has this asset")


def unwanted(job: Job) -> Decision | None:
    """Reject by what the source says of rights, before anything is fetched for it."""
    about, config = job.source.about, job.config.curate
    if config.score_only:
        return None
    said = AssetFacts(licence=about.licence or None, tags=";".join(about.tags))
    facts = Facts(0.0, asset=said)
    return asset_rules.licence(facts, config) or asset_rules.denied_tag(facts, config)


def nothing_to_do(
    clips: tuple[ClipHeader, ...] | None, vertices: int | None, opened: OpenedAsset | None = None
) -> Decision | None:
    """Reject a whole asset that has no animation or nothing to see."""
    if clips is not None and not clips:
        if opened is not None and opened.camera_actions:
            found = f"nothing but cameras or lights changes (actions: {opened.camera_actions})"
            return Decision("camera_light_only", 0, 1, "clips", found)
        return Decision("no_clips", 0, 1, "clips", "the file holds no animation")
    if vertices == 0:
        return Decision("no_mesh", 0, 1, "vertices", "the file holds no visible geometry")
    return None


def clip_limit(limit: int) -> Decision:
    """Say that an asset has its clips."""
    return Decision(
        "clip_limit", limit, limit, "kept clips",
        f"{limit} earlier clips of this asset are kept already; scored, not rendered",
    )  # fmt: skip

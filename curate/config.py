"""Settings of a build: which clips count, how they are rendered, how shards are cut."""

from pathlib import Path
from typing import Any

from pydantic import Field

from render.config import LimitConfig, RenderConfig
from shards.config import Config


class ClipConfig(Config):
    """Which stretch of which clips is looked at."""

    duration_min_s: float = Field(default=0.1, ge=0)
    duration_max_s: float = Field(default=600.0, gt=0)
    window_max_s: float = Field(default=2.0, gt=0, description="longer clips: their busiest part")
    per_asset_max: int | None = Field(default=None, ge=1, description="kept clips; none: all")


class MotionConfig(Config):
    """When a clip counts as still, and when as a jump. Lengths in asset sizes.

    Still means all three at once: the mean motion, the parts that move most, and the drift of the
    whole lie under their limits. Each alone misses something that a viewer sees: a large scene
    with one moving part, or a thing that travels without changing its shape.
    """

    min: float = Field(default=0.01, ge=0, description="mean displacement without drift")
    moved_most_min: float = Field(default=0.1, ge=0, description="99th percentile of vertices")
    drift_min: float = Field(default=0.05, ge=0, description="translation of the whole")
    jump_min: float = Field(default=0.5, ge=0, description="one step this large ...")
    jump_share_min: float = Field(default=0.6, gt=0, le=1, description="... with this path share")
    activity_min_per_s: float = Field(default=0, ge=0, description="mean path per second")
    active_share_min: float = Field(
        default=0, ge=0, le=1, description="share of the window between first and last movement"
    )
    scale_change_max: float | None = Field(
        default=None, ge=1, description="largest growth or shrinkage as a ratio; none: any"
    )
    loop_gap_max: float | None = Field(
        default=None, ge=0, description="mean distance of the last pose to the first; none: any"
    )


class BoundaryConfig(Config):
    """When a clip leaves the frame."""

    reach_max: float = Field(
        default=4.0, gt=0, description="furthest vertex from the first pose's centre, asset sizes"
    )
    margin_min_px: float = Field(default=0.0, description="projection to image border")


class GeometryConfig(Config):
    """How much geometry is handled."""

    vertices_max: int = Field(default=2_000_000, ge=1)
    probe_points_max: int = Field(default=5000, ge=100, description="vertices measured per time")


class CurateConfig(Config):
    """The rules."""

    score_only: bool = Field(default=False, description="judge, but render nothing")
    clips: ClipConfig = ClipConfig()
    motion: MotionConfig = MotionConfig()
    boundary: BoundaryConfig = BoundaryConfig()
    geometry: GeometryConfig = GeometryConfig()


class ShardConfig(Config):
    """How samples are cut into shards."""

    target_mb: float = Field(default=256.0, gt=0, description="a shard closes once this large")


class FetchConfig(Config):
    """How remote assets are brought here. Where they lie while they are worked on is no matter."""

    cache: Path | None = Field(
        default=None, description="folder for them; none: one in the system's temporary folder"
    )
    cache_mb: float = Field(default=8192.0, gt=0, description="bound of that folder, all workers")
    asset_max_mb: float = Field(default=2048.0, gt=0, description="larger downloads are ended")
    attempts: int = Field(default=4, ge=1, description="tries per asset before it has failed")
    pause_s: float = Field(default=1.0, ge=0, description="before the second try; then doubled")
    timeout_s: float = Field(default=60.0, gt=0, description="without a byte from the other side")
    asset_timeout_s: float = Field(default=900.0, gt=0, description="one try at one asset")
    annotations: Path = Field(
        default=Path("~/.objaverse"), description="where Objaverse's annotations are kept"
    )
    mirrors: dict[str, str] = Field(
        default_factory=dict, description="beginning of addresses: what to put in its place"
    )
    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, exclude=True,
        description="per protocol, for fsspec: keys, endpoint_url, ...; not put on record",
    )  # fmt: skip


class BuildConfig(Config):
    """All settings of ``orbit4d build``."""

    seed: int = 0
    curate: CurateConfig = CurateConfig()
    render: RenderConfig = RenderConfig()
    shards: ShardConfig = ShardConfig()
    limits: LimitConfig = LimitConfig()
    fetch: FetchConfig = FetchConfig()

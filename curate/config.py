"""Settings of a build: which clips count, how they are rendered, how shards are cut."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from curate.config_assets import DuplicateConfig, QualityConfig, RightsConfig
from render.config import LimitConfig, Quality, RenderConfig
from shards.config import Config
from shards.objects import ObjectsConfig


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
    moved_most_min: float = Field(default=0.1, ge=0, description="99th percentile of the surface")
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
    triangles_max: int = Field(default=4_000_000, ge=1)
    probe_points_max: int = Field(default=5000, ge=100, description="vertices measured per time")


class PixelConfig(Config):
    """Diffusion4D's rules, which look at images rendered for them: 3 to 27 a clip.

    The limits belong to the paper's camera, so it is what they are measured with, whatever camera
    and resolution the samples have.
    """

    enabled: bool = Field(
        default=False, description="after our own rules; curate.rules=diffusion4d has them anyway"
    )
    ssim_still: float = Field(
        default=0.95, description="both front views more similar to the first: too still"
    )
    ssim_broken: float = Field(
        default=0.4, description="any front view less similar to the first: broken"
    )
    border_frames_max: int = Field(
        default=0, ge=0, description="images of the moving orbit that touch the border"
    )
    ssim_window: Literal["gaussian", "uniform"] = Field(
        default="gaussian", description="weights: sigma 1.5 px, as Wang et al. 2004, or equal"
    )
    ssim_window_px: int = Field(default=11, ge=3, description="its side; odd")
    colour: Literal["rgb", "grey"] = Field(default="rgb", description="rgb: mean of the channels")
    background: Literal["white", "grey", "black"] = "white"
    border_px: int = Field(default=1, ge=1, description="width of the border")
    alpha_min: int = Field(
        default=2, ge=1, le=255, description="of 255: a pixel with this alpha shows the object"
    )
    frames: int = Field(default=24, ge=4, description="images of the orbit")
    size_px: int = Field(default=256, ge=16, description="side of the images")
    distance: float = Field(default=2.0, gt=0.5, description="in longest sides of the first pose")
    fov_deg: float = Field(default=39.6, gt=1, lt=120)
    elevation_deg: float = Field(default=0.0, gt=-90, lt=90)
    quality: Quality = "draft"

    @model_validator(mode="after")
    def _windows_fit(self) -> Self:
        if self.ssim_window_px % 2 == 0 or self.ssim_window_px > self.size_px:
            raise ValueError(f"ssim_window_px must be odd and at most size_px ({self.size_px})")
        if 2 * self.border_px >= self.size_px:
            raise ValueError(f"border_px must leave something of size_px ({self.size_px})")
        return self


class CurateConfig(Config):
    """The rules."""

    rules: Literal["orbit4d", "diffusion4d"] = Field(
        default="orbit4d", description="diffusion4d: that paper's rules in its order, none of ours"
    )
    score_only: bool = Field(default=False, description="judge, but render nothing")
    clips: ClipConfig = ClipConfig()
    motion: MotionConfig = MotionConfig()
    boundary: BoundaryConfig = BoundaryConfig()
    geometry: GeometryConfig = GeometryConfig()
    pixels: PixelConfig = PixelConfig()
    quality: QualityConfig = QualityConfig()
    rights: RightsConfig = RightsConfig()
    duplicates: DuplicateConfig = DuplicateConfig()

    def copies(self) -> DuplicateConfig:
        """Say what becomes of copies under these rules."""
        default = "nothing" if self.rules == "diffusion4d" else "clips"
        return self.duplicates.model_copy(update={"reject": self.duplicates.reject or default})


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
    store: ObjectsConfig = ObjectsConfig()

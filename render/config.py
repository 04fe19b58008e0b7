"""Settings of the render stage."""

from typing import Any, Literal

from pydantic import Field

from render.lights import LightConfig
from render.paths import SequenceConfig
from render.qa import QaConfig
from render.runner import WorkerConfig
from shards.codec import Codec
from shards.config import Config

Quality = Literal["draft", "standard", "final"]
PassName = Literal["depth", "normal", "flow", "index", "tracks", "joints"]

# Samples per pixel and rays per silhouette pixel; measured in tests/bench/render.py.
_SAMPLES: dict[Quality, int] = {"draft": 4, "standard": 16, "final": 64}
_POINT_SAMPLES: dict[Quality, int] = {"draft": 6, "standard": 16, "final": 64}
_COVERAGE_RAYS: dict[Quality, int] = {"draft": 32, "standard": 64, "final": 256}
_SUNS = 4  # Cycles' samples take the lights in turn, so four of them see all suns alike
_ANTIALIASED_PX = 0.5  # from this filter radius on, samples are shared between pixels


class EngineConfig(Config):
    """How images are made. Quality sets samples and rays; the others refine it.

    With an antialiasing filter Blender renders twice as fine and the filter is applied afterwards,
    see ``render.film``. The denoiser is off: it costs more time and more error than the samples
    that do without it.
    """

    engine: Literal["cycles", "eevee", "workbench"] = Field(
        default="cycles", description="eevee and workbench need a GL context"
    )
    device: Literal["cpu", "gpu", "optix", "cuda", "hip", "metal", "oneapi"] = Field(
        default="cpu", description="gpu: the first kind found, else the CPU with a warning"
    )
    quality: Quality = "standard"
    samples: int | None = Field(
        default=None, ge=1, le=4096, description="per pixel; none: by quality"
    )
    filter_width_px: float = Field(
        default=1.5, ge=0.01, description="radius of the pixel filter; 0.01 = no antialiasing"
    )
    exact_coverage: bool = Field(
        default=True, description="take the alpha of silhouettes from rays at the geometry"
    )
    denoiser: bool = False
    light_tree: bool | None = Field(
        default=None,
        description="choose lights by distance and side: less noise on matte surfaces that few "
        "lights reach, bright specks on glossy ones; none: only where samples are too few to go "
        "round the lights",
    )
    max_bounces: int = Field(default=4, ge=0)
    diffuse_bounces: int = Field(default=1, ge=0)
    glossy_bounces: int = Field(default=1, ge=0)
    transparent_bounces: int = Field(default=8, ge=0, description="stacked cut-out leaves and hair")
    transmission_bounces: int = Field(default=3, ge=0)

    @property
    def antialiased(self) -> bool:
        """Tell whether the pixel filter reaches beyond the sample."""
        return self.filter_width_px >= _ANTIALIASED_PX

    @property
    def samples_per_pixel(self) -> int:
        """Return the samples that a pixel of the image gets, before rounding to whole ones."""
        by_quality = _SAMPLES if self.antialiased else _POINT_SAMPLES
        return self.samples or by_quality[self.quality]

    @property
    def supersampling(self) -> int:
        """Return how many times finer Blender renders along each side."""
        shared = self.engine == "cycles" and self.antialiased and not self.denoiser
        return 2 if shared and self.samples_per_pixel >= 4 else 1

    @property
    def coverage_rays(self) -> int:
        """Return the rays per silhouette pixel; 0 where alpha stays as rendered."""
        wanted = self.exact_coverage and self.antialiased and self.engine == "cycles"
        return _COVERAGE_RAYS[self.quality] if wanted else 0

    def request(self) -> dict[str, Any]:
        """Return what Blender has to know, in rendered pixels."""
        fine = self.supersampling
        samples = max(self.samples_per_pixel // fine**2, 1)
        go_round = samples >= _SUNS
        return self.model_dump(exclude={"quality", "exact_coverage"}) | {
            "samples": samples,
            "light_tree": not go_round if self.light_tree is None else self.light_tree,
            "filter_width_px": self.filter_width_px if fine == 1 else None,
            # errors of neighbours that cancel in the filter, where it is applied afterwards
            "blue_noise": fine > 1,
            # One sequence for all pixels keeps neighbouring rays together and has 1 dB less noise,
            # if it is long enough for each pixel to see all lights.
            "scrambling_distance": 1.0 if self.antialiased or self.samples_per_pixel < 6 else 0.0,
        }


class RenderConfig(Config):
    """Everything that decides what a kept clip looks like."""

    sequences: SequenceConfig = SequenceConfig()
    engine: EngineConfig = EngineConfig()
    lights: LightConfig = LightConfig()
    passes: tuple[PassName, ...] = Field(
        default=(), description="beside rgba: depth, normal, flow, index, tracks, joints"
    )
    codec: Codec = Field(default="webp", description="of the images: webp, fast, png, lossy")
    qa: QaConfig = QaConfig()


class RetryConfig(Config):
    """How often is tried again what may go well another time.

    A crash may be the asset's fault, so it has few tries. What the machine did (a process that was
    killed from outside, a node that went away) has more, with pauses.
    """

    crashes_max: int = Field(default=2, ge=1, description="of one clip; then it is quarantined")
    crashed_clips_max: int = Field(
        default=2, ge=1, description="of one asset; then its other clips are quarantined untried"
    )
    machine_faults_max: int = Field(default=5, ge=1, description="over one clip, or one asset")
    pause_s: float = Field(default=0.5, ge=0, description="after a fault of the machine; doubled")
    pause_max_s: float = Field(default=30.0, ge=0)

    def pause_after(self, faults: int) -> float:
        """Return the pause after so many faults in a row, seconds."""
        return min(self.pause_s * 2.0 ** min(faults - 1, 30), self.pause_max_s)


class LimitConfig(Config):
    """Time limits of single requests to Blender, and the process limits."""

    load_timeout_s: float = Field(default=120.0, gt=0)
    probe_timeout_s: float = Field(default=120.0, gt=0)
    render_timeout_s: float = Field(default=600.0, gt=0, description="all images of one clip")
    threads: int = Field(
        default=0, ge=0, description="CPU threads per worker; 0 = its share of the machine"
    )
    window: int = Field(
        default=0,
        ge=0,
        description="assets that are begun while the oldest of them is not finished; 0 = 16 per "
        "worker, 64 at least",
    )
    worker: WorkerConfig = WorkerConfig()
    retry: RetryConfig = RetryConfig()

"""Settings of the render stage."""

from pydantic import Field

from render.lights import LightConfig
from render.paths import SequenceConfig
from render.runner import WorkerConfig
from shards.config import Config


class EngineConfig(Config):
    """Cycles settings. The denoiser is off: under shadowless suns it costs more than it gains."""

    samples: int = Field(default=8, ge=1, le=4096)
    filter_width_px: float = Field(default=1.5, ge=0.01, description="0.01 = no antialiasing")
    max_bounces: int = Field(default=4, ge=0)
    diffuse_bounces: int = Field(default=1, ge=0)
    glossy_bounces: int = Field(default=1, ge=0)
    transparent_bounces: int = Field(default=8, ge=0, description="stacked cut-out leaves and hair")
    transmission_bounces: int = Field(default=3, ge=0)


class RenderConfig(Config):
    """Everything that decides what a kept clip looks like."""

    sequences: SequenceConfig = SequenceConfig()
    engine: EngineConfig = EngineConfig()
    lights: LightConfig = LightConfig()


class LimitConfig(Config):
    """Time limits of single requests to Blender, and the process limits."""

    load_timeout_s: float = Field(default=120.0, gt=0)
    probe_timeout_s: float = Field(default=120.0, gt=0)
    render_timeout_s: float = Field(default=600.0, gt=0, description="all images of one clip")
    threads: int = Field(default=0, ge=0, description="CPU threads per Blender; 0 = all")
    worker: WorkerConfig = WorkerConfig()

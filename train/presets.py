"""Named runs: one function each, returning the config. ``--set`` changes single values of one."""

from collections.abc import Callable, Sequence

from shards.errors import ConfigError
from train.config import (
    CheckpointConfig,
    DataConfig,
    LossConfig,
    NoiseConfig,
    OptimConfig,
    SampleConfig,
    TrainConfig,
    VideoUNetConfig,
)

# Sizes of the UNet; a preset takes one and says what it works on.
MODELS: dict[str, VideoUNetConfig] = {
    "tiny": VideoUNetConfig(
        patch=4,
        channels=(32, 64),
        attention=(True, True),
        temporal_convs=1,
        head_width=16,
        norm_groups=8,
        image=64,
        scale_shift=True,
        places=True,
    ),
    "small": VideoUNetConfig(
        space_channels=4,
        channels=(128, 256, 512, 512),
        attention=(True, True, True, False),
        head_width=64,
        text=768,
        image=256,
        static=True,
    ),
    "full": VideoUNetConfig(  # ModelScope's text-to-video UNet, for latents of 4x24x32x32
        space_channels=4,
        channels=(320, 640, 1280, 1280),
        attention=(True, True, True, False),
        blocks=2,
        head_width=64,
        text=1024,
        image=1024,
        static=True,
    ),
}


def tiny() -> TrainConfig:
    """Two to three minutes on two CPU cores: 24 frames of 32x32 px, for some dozens of clips.

    x0 is predicted, and half of the steps are spent on pure noise, where the layout of a sample is
    decided. A step sees few frames of many clips: the views of an orbit teach nearly the same.
    """
    return TrainConfig(
        steps=800,
        batch=8,
        data=DataConfig(size=32, frames=24, train_frames=4, static_share=0.4),
        model=MODELS["tiny"],
        noise=NoiseConfig(target="x0", feed="estimate"),
        loss=LossConfig(terminal_share=0.5),
        optim=OptimConfig(lr=2e-3, schedule="cosine", warmup_steps=10, ema=0.98),
        checkpoint=CheckpointConfig(every_steps=200),
        sample=SampleConfig(steps=2),
    )


PRESETS: dict[str, Callable[[], TrainConfig]] = {"tiny": tiny}


def preset(name: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Look up a preset and apply ``"a.b=value"`` overrides.

    Raises:
        ConfigError: if there is no such preset, or an override does not fit.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r}: expected one of {', '.join(sorted(PRESETS))}")
    return TrainConfig.build(PRESETS[name]().model_dump(mode="json"), overrides)

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


def tiny() -> TrainConfig:
    """Two to three minutes on two CPU cores: 24 frames of 32x32 px, for some dozens of clips.

    x0 is predicted, and a good part of the steps is spent on pure noise, where the whole layout of
    a sample is decided.
    """
    return TrainConfig(
        steps=300,
        batch=4,
        data=DataConfig(size=32, frames=24),
        model=VideoUNetConfig(patch=4, channels=(64, 96), attention=(True, True), embedding=256),
        noise=NoiseConfig(target="x0"),
        loss=LossConfig(terminal_share=0.3),
        optim=OptimConfig(lr=2e-3, schedule="cosine", warmup_steps=10, ema=0.98),
        checkpoint=CheckpointConfig(every_steps=100),
        sample=SampleConfig(steps=8),
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

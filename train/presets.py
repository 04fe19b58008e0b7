"""Named runs: one function each, returning the config. ``--set`` changes single values of one."""

from collections.abc import Callable, Sequence

from shards.errors import ConfigError
from train.config import (
    CheckpointConfig,
    DataConfig,
    DropConfig,
    EvaluateConfig,
    LatentConfig,
    LossConfig,
    NoiseConfig,
    OptimConfig,
    SampleConfig,
    TextConfig,
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
        zero_init=False,
        scale_shift=True,
        places=True,
    ),
    "small": VideoUNetConfig(
        patch=2,
        channels=(128, 256, 512, 512),
        attention=(True, True, True, False),
        head_width=64,
        image=256,
        static=True,
        zero_init=False,
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
        # of two dozen assets a model learns no other: it is asked for new motions of these
        data=DataConfig(size=32, frames=24, train_frames=4, static_share=0.4, held_out="clips"),
        model=MODELS["tiny"],
        noise=NoiseConfig(target="x0", feed="estimate"),
        loss=LossConfig(terminal_share=0.5),
        optim=OptimConfig(lr=2e-3, schedule="cosine", warmup_steps=10, ema=0.98),
        checkpoint=CheckpointConfig(every_steps=200),
        evaluate=EvaluateConfig(every_steps=200),
        sample=SampleConfig(steps=2),
    )


def small() -> TrainConfig:
    """One GPU: 24 frames of 64x64 px, static 3D as a condition; latents and text by settings.

    Latents: data.size=256 latents.autoencoder=NAME model.space_channels=4 model.patch=1; text:
    text.encoder=NAME model.text=WIDTH.
    """
    return TrainConfig(
        steps=20_000,
        batch=8,
        data=DataConfig(size=64, frames=24, workers=8),
        model=MODELS["small"],
        noise=NoiseConfig(target="v"),
        loss=LossConfig(motion_weight=0.1),
        drop=DropConfig(image=0.1, static=0.5),
        optim=OptimConfig(lr=1e-4, warmup_steps=500, ema=0.9995, weight_decay=0.01),
        checkpoint=CheckpointConfig(every_steps=500),
        sample=SampleConfig(steps=50, w1=2.0),
    )


def full() -> TrainConfig:
    """Diffusion4D's own size (arXiv 2405.16645): ModelScope's text-to-video UNet on latents.

    6000 steps at lr 3e-5 and an effective batch of 128 as published; the rest of the optimiser's
    settings and omega are not.
    """
    published = "ali-vilab/text-to-video-ms-1.7b"
    return TrainConfig(
        steps=6000,
        batch=128,
        unet=published,
        data=DataConfig(size=256, frames=24, workers=8),
        latents=LatentConfig(autoencoder=published),
        text=TextConfig(encoder=published, suffix=", 3D asset"),
        model=MODELS["full"],
        noise=NoiseConfig(target="eps", zero_terminal_snr=False),
        loss=LossConfig(motion_weight=0.1),
        drop=DropConfig(image=0.1, text=0.1, static=0.5),
        optim=OptimConfig(lr=3e-5, warmup_steps=100, ema=0.9999, weight_decay=0.01),
        checkpoint=CheckpointConfig(every_steps=500),
        sample=SampleConfig(steps=50, w1=7.0, w2=0.5),
    )


def base_of(config: TrainConfig) -> TrainConfig:
    """Give the first stage of a run: the 3D model, which knows frozen orbits and no m.

    It is not shown the frozen orbit either, which would be its answer.
    """
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"sequences": ("static",)}),
            "drop": config.drop.model_copy(update={"motion": 1.0, "static": 1.0}),
            "loss": config.loss.model_copy(update={"motion_weight": 0.0}),
            "sample": config.sample.model_copy(update={"w2": 0.0}),
        }
    )


PRESETS: dict[str, Callable[[], TrainConfig]] = {
    "tiny": tiny,
    "tiny_base": lambda: base_of(tiny()),
    "small": small,
    "small_base": lambda: base_of(small()),
    "full": full,
    "full_base": lambda: base_of(full()),
}


def preset(name: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Look up a preset and apply ``"a.b=value"`` overrides.

    Raises:
        ConfigError: if there is no such preset, or an override does not fit.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r}: expected one of {', '.join(sorted(PRESETS))}")
    return TrainConfig.build(PRESETS[name]().model_dump(mode="json"), overrides)

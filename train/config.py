"""Settings of a training run; presets are in ``train.presets``."""

from typing import Literal, Self

from pydantic import Field, model_validator

from shards.config import Config


class VideoUNetConfig(Config):
    """The factorised UNet of ``train.models.video_unet``."""

    kind: Literal["video_unet"] = "video_unet"
    patch: int = Field(default=1, ge=1, description="side of the pixel blocks folded to channels")
    channels: tuple[int, ...] = Field(default=(64, 128, 128), description="per level, finest first")
    attention: tuple[bool, ...] = Field(default=(False, True, True), description="per level")
    blocks: int = Field(default=1, ge=1, description="per level on the way down; one more up")
    temporal_convs: int = Field(default=1, ge=0, description="stacked per block; 4 as published")
    embedding: int = Field(default=256, ge=8, description="width of step, camera and m embeddings")
    context: int = Field(default=128, ge=8, description="width of the reference image's tokens")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="in the residual blocks")
    head_width: int = Field(default=32, ge=4, description="channels per attention head")

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        if len(self.channels) != len(self.attention):
            raise ValueError(
                f"{len(self.channels)} entries in channels, {len(self.attention)} in attention"
            )
        return self

    @property
    def side_multiple(self) -> int:
        """Image sides must be multiples of this many pixels."""
        return self.patch * 2 ** max(2, len(self.channels) - 1)  # 2: the reference encoder's


ModelConfig = VideoUNetConfig  # a second architecture makes this a union, chosen by ``kind``


class DataConfig(Config):
    """What of the shards is trained on."""

    size: int = Field(default=32, ge=4, description="side of the images, pixels")
    frames: int = Field(default=24, ge=1, description="T of a clip, spread evenly over the orbit")
    train_frames: int | None = Field(
        default=None, ge=1, description="of a clip in one step, drawn anew each time; none: all"
    )
    sequences: tuple[Literal["orbit", "static"], ...] = Field(
        default=("orbit", "static"), min_length=1, description="both: moving and frozen clips"
    )
    static_share: float = Field(default=0.25, ge=0, le=1, description="of the clips of a batch")
    motion_scale: float = Field(
        default=50.0, gt=0, description="m = this * mean squared difference; see train.data"
    )
    held_out_share: float = Field(default=0.18, ge=0, lt=1, description="of all clips")
    workers: int = Field(default=0, ge=0, description="decoding processes; 0 = in the trainer")
    cache_mb: int = Field(default=512, ge=0, description="decoded, resized samples kept in memory")


class NoiseConfig(Config):
    """The diffusion: how noise grows with the step, and what the network predicts."""

    steps: int = Field(default=1000, ge=2)
    schedule: Literal["sqrt_linear", "cosine"] = "sqrt_linear"
    beta_start: float = Field(default=0.00085, gt=0, lt=1, description="sqrt_linear")
    beta_stop: float = Field(default=0.012, gt=0, lt=1, description="sqrt_linear")
    zero_terminal_snr: bool = Field(default=True, description="the last step is pure noise")
    target: Literal["eps", "v", "x0"] = "v"
    feed: Literal["noisy", "estimate"] = Field(
        default="noisy", description="what the network sees: the noisy clip, or its linear estimate"
    )

    @model_validator(mode="after")
    def _target_is_defined(self) -> Self:
        if self.target == "eps" and self.zero_terminal_snr:
            raise ValueError(
                "target eps says nothing about the clip where the noise is pure; use v or x0, "
                "or zero_terminal_snr=false"
            )
        return self


class LossConfig(Config):
    """Diffusion loss + ``motion_weight`` * L_mr (Diffusion4D, eq. 2)."""

    motion_weight: float = Field(default=0.0, ge=0, description="omega; the paper gives no value")
    terminal_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="of the draws at the noisiest step, beside uniform ones",
    )


class DropConfig(Config):
    """Probability that a condition of a clip is dropped in training (for guidance)."""

    image: float = Field(default=0.0, ge=0, le=1)
    camera: float = Field(default=0.0, ge=0, le=1)
    motion: float = Field(default=0.1, ge=0, le=1)


class OptimConfig(Config):
    """AdamW, gradient clipping, learning rate over the run."""

    lr: float = Field(default=3e-4, gt=0)
    schedule: Literal["constant", "cosine"] = Field(default="constant", description="after warm-up")
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = Field(default=1.0, gt=0, description="of the whole gradient")
    ema: float = Field(default=0.999, ge=0, lt=1, description="decay, reached by warm-up")


class CheckpointConfig(Config):
    """When the state is written and how much of it is kept."""

    every_steps: int = Field(default=200, ge=1)
    keep: int = Field(default=2, ge=1, description="last N")


class SampleConfig(Config):
    """How clips are generated."""

    steps: int = Field(default=50, ge=1, description="DDIM steps")
    eta: float = Field(default=0.0, ge=0, le=1, description="0 = deterministic DDIM")
    w1: float = Field(default=0.0, ge=0, description="eq. 3: away from no condition; 0 = off")
    w2: float = Field(default=0.0, ge=0, description="eq. 3: away from the frozen base; 0 = off")


class TrainConfig(Config):
    """One training run."""

    seed: int = 0
    steps: int = Field(default=1000, ge=1)
    batch: int = Field(default=4, ge=1, description="clips per step")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    time_budget_s: float | None = Field(
        default=None, gt=0, description="stop with a checkpoint after this long; resumable"
    )
    log_every_steps: int = Field(default=10, ge=1)
    data: DataConfig = DataConfig()
    model: ModelConfig = VideoUNetConfig()
    noise: NoiseConfig = NoiseConfig()
    loss: LossConfig = LossConfig()
    drop: DropConfig = DropConfig()
    optim: OptimConfig = OptimConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    sample: SampleConfig = SampleConfig()

    @model_validator(mode="after")
    def _size_fits_the_model(self) -> Self:
        multiple = self.model.side_multiple
        if self.data.size % multiple:
            raise ValueError(
                f"data.size {self.data.size} is no multiple of {multiple}, which the model's "
                f"patch and levels ask for"
            )
        return self

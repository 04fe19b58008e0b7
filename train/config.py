"""Settings of a training run; presets are in ``train.presets``."""

from typing import Literal, Self

from pydantic import Field, model_validator

from shards.config import Config


class VideoUNetConfig(Config):
    """The factorised UNet of ``train.models.video_unet``."""

    kind: Literal["video_unet"] = "video_unet"
    space_channels: int = Field(default=3, ge=1, description="3 for pixels, 4 for usual latents")
    patch: int = Field(default=1, ge=1, description="side of the blocks folded to channels")
    channels: tuple[int, ...] = Field(default=(64, 128, 128), description="per level, finest first")
    attention: tuple[bool, ...] = Field(default=(False, True, True), description="per level")
    blocks: int = Field(default=1, ge=1, description="per level on the way down; one more up")
    temporal_convs: int = Field(default=4, ge=0, description="stacked per block; 4 as published")
    embedding: int | None = Field(
        default=None, ge=8, description="width of step, camera, m; none: 4 times the first level"
    )
    head_width: int = Field(default=32, ge=4, description="channels per attention head")
    norm_groups: int = Field(default=32, ge=1, description="of group norms; 32 as published")
    text: int | None = Field(default=None, ge=8, description="width of text tokens; none: no text")
    image: int | None = Field(
        default=128, ge=8, description="width of the reference image's tokens; none: no image"
    )
    clip: int | None = Field(
        default=None, ge=4, description="width of CLIP's embedding of the image; none: no CLIP"
    )
    static: bool = Field(default=False, description="is given the frozen orbit (static 3D)")
    static_skip: bool = Field(
        default=False,
        description="the frozen orbit, scaled by the embedding, is added to the output: a small "
        "model need not learn to copy",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="in residual and temporal blocks")
    scale_shift: bool = Field(
        default=False, description="embeddings scale and shift; as published they are added"
    )
    zero_init: bool = Field(
        default=True,
        description="what is added to the published UNet starts at zero; false learns faster where "
        "training starts from nothing (camera and m start at zero all the same)",
    )
    places: bool = Field(default=False, description="tell spatial attention where its tokens are")

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if len(self.channels) != len(self.attention):
            raise ValueError(
                f"{len(self.channels)} entries in channels, {len(self.attention)} in attention"
            )
        for name, unit in (("head_width", self.head_width), ("norm_groups", self.norm_groups)):
            uneven = [width for width in self.channels if width % unit]
            if uneven:
                raise ValueError(f"channels {uneven} are no multiples of {name} {unit}")
        if self.clip is not None and self.image is None:
            raise ValueError("clip without image: CLIP's tokens stand beside the image's own")
        if self.static_skip and not self.static:
            raise ValueError("static_skip without static: there is no frozen orbit to add")
        if self.text is None and self.image is None:
            raise ValueError("text and image are both none; the model needs one to attend to")
        return self

    @property
    def embedding_width(self) -> int:
        """Width of the embedding."""
        return self.embedding or 4 * self.channels[0]

    @property
    def side_multiple(self) -> int:
        """Sides of what the model works on must be multiples of this."""
        halvings = len(self.channels) - 1
        encoder = 2 if self.image is not None else 0  # the reference encoder's
        return self.patch * 2 ** max(encoder, halvings)


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
    held_out: Literal["assets", "clips"] = Field(
        default="assets",
        description="whole assets with their copies, or new motions of assets that are trained on",
    )
    workers: int = Field(default=0, ge=0, description="decoding processes; 0 = in the trainer")
    cache_mb: int = Field(default=512, ge=0, description="decoded, resized samples kept in memory")


class LatentConfig(Config):
    """What the diffusion works on: pixels, or latents of an autoencoder."""

    autoencoder: str | None = Field(
        default=None,
        description="a diffusers AutoencoderKL: folder or published name, its own or a pipeline's "
        "with a vae in it; orbit4d train autoencoder makes one; none: pixels",
    )
    frames_at_once: int = Field(default=24, ge=1, description="through the autoencoder: memory")


class TextConfig(Config):
    """Which encoder reads the captions; the model's width of text tokens has to be its own."""

    encoder: str | None = Field(
        default=None,
        description="a transformers text encoder with its tokenizer: folder or published name, its "
        "own or a pipeline's with a text_encoder in it; none: no text",
    )
    tokens: int = Field(default=77, ge=2, description="per caption, padded or cut")
    suffix: str = Field(default="", description="appended to every caption, as ', 3D asset'")
    null: str = Field(default="", description="stands in for a dropped text: the negative prompt")


class ImageConfig(Config):
    """Which encoder looks at the reference image as a whole, beside the model's own."""

    encoder: str | None = Field(
        default=None,
        description="a CLIP image encoder with projection of transformers: folder or published "
        "name, its own or a pipeline's with an image_encoder in it; none: no CLIP",
    )


class NoiseConfig(Config):
    """The diffusion: how noise grows with the step, and what the network predicts."""

    steps: int = Field(default=1000, ge=2)
    schedule: Literal["sqrt_linear", "cosine", "flow"] = "sqrt_linear"
    beta_start: float = Field(default=0.00085, gt=0, lt=1, description="sqrt_linear")
    beta_stop: float = Field(default=0.012, gt=0, lt=1, description="sqrt_linear")
    flow_shift: float = Field(default=1.0, gt=0, description="flow: > 1 spends steps on more noise")
    zero_terminal_snr: bool = Field(default=True, description="the last step is pure noise")
    target: Literal["eps", "v", "x0", "flow"] = "v"
    feed: Literal["noisy", "estimate"] = Field(
        default="noisy", description="what the network sees: the noisy clip, or its linear estimate"
    )

    @model_validator(mode="after")
    def _target_is_defined(self) -> Self:
        if self.target == "eps" and (self.zero_terminal_snr or self.schedule == "flow"):
            raise ValueError(
                "target eps says nothing about the clip where the noise is pure; use v, flow or "
                "x0, or zero_terminal_snr=false with another schedule than flow"
            )
        return self


class LossConfig(Config):
    """Diffusion loss + ``motion_weight`` * L_mr (Diffusion4D, eq. 2)."""

    motion_weight: float = Field(default=0.0, ge=0, description="omega; the paper gives no value")
    motion_fades: bool = Field(
        default=True, description="L_mr times alpha-bar; false: all steps alike, as published"
    )
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
    text: float = Field(default=0.1, ge=0, le=1, description="then the null text stands there")
    static: float = Field(default=0.5, ge=0, le=1)


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
    background: bool = Field(
        default=False,
        description="a thread writes while training goes on; each rank needs memory for one more "
        "copy of its share of the optimiser, and rank 0 for model and EMA",
    )


class ParallelConfig(Config):
    """How a step is spread over ranks and over memory; what is learnt stays the same."""

    strategy: Literal["ddp", "fsdp"] = Field(
        default="ddp",
        description="of several ranks: each holds everything, or its share of weights, gradients, "
        "optimiser and EMA (FSDP2)",
    )
    accumulate: int = Field(
        default=1, ge=1, description="parts in which a rank works through its clips of a step"
    )
    recompute: bool = Field(
        default=False, description="activations inside layers are not kept but computed again"
    )
    compile: bool = Field(default=False, description="torch.compile, stage by stage")
    timeout_s: float = Field(
        default=600, gt=0, description="a rank that is silent for so long is lost; the run stops"
    )


class FaultConfig(Config):
    """How much damage a run bears, over all its calls."""

    nonfinite: Literal["stop", "skip"] = Field(
        default="stop", description="what a loss or gradient that is not finite does to its step"
    )
    skipped_max: int = Field(default=10, ge=0, description="steps; more stop the run")
    broken_max: int = Field(default=10, ge=0, description="samples; more stop the run")


class LogConfig(Config):
    """What is written down on the way, beside TensorBoard's scalars."""

    buckets: int = Field(default=5, ge=1, description="of the noise step; each has its own loss")
    wandb: str | None = Field(default=None, description="project at Weights & Biases; none: off")


class SampleConfig(Config):
    """How clips are generated."""

    solver: Literal["ddim", "dpm++"] = Field(
        default="ddim", description="dpm++ is DPM-Solver++ 2M: as good in 10 to 20 steps"
    )
    steps: int = Field(default=50, ge=1, description="of the solver")
    eta: float = Field(default=0.0, ge=0, le=1, description="ddim: 0 = deterministic")
    w1: float = Field(default=0.0, ge=0, description="eq. 3: away from no condition; 0 = off")
    w2: float = Field(default=0.0, ge=0, description="eq. 3: away from the frozen base; 0 = off")
    drop: tuple[Literal["image", "camera", "motion", "text", "static"], ...] = Field(
        default=(), description="conditions that the model is not given"
    )


class EvaluateConfig(Config):
    """Samples and scores of held-out clips on the way, for TensorBoard."""

    every_steps: int = Field(default=500, ge=0, description="0: never")
    clips: int = Field(default=4, ge=1, description="how many of those held out, always the same")


class TrainConfig(Config):
    """One training run."""

    seed: int = 0
    steps: int = Field(default=1000, ge=1)
    batch: int = Field(default=4, ge=1, description="clips per step, over all ranks")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bf16"] = Field(
        default="float32", description="of activations; weights, EMA and optimiser stay float32"
    )
    time_budget_s: float | None = Field(
        default=None, gt=0, description="stop with a checkpoint after this long; resumable"
    )
    log_every_steps: int = Field(default=10, ge=1)
    base: str | None = Field(
        default=None,
        description="FIT folder of the base model, trained on frozen orbits: training starts from "
        "its weights, and w2 guides away from it",
    )
    unet: str | None = Field(
        default=None,
        description="weights to start from without a base, in the layout of diffusers' "
        "UNet3DConditionModel: folder or published name",
    )
    data: DataConfig = DataConfig()
    latents: LatentConfig = LatentConfig()
    text: TextConfig = TextConfig()
    image: ImageConfig = ImageConfig()
    model: ModelConfig = VideoUNetConfig()
    noise: NoiseConfig = NoiseConfig()
    loss: LossConfig = LossConfig()
    drop: DropConfig = DropConfig()
    optim: OptimConfig = OptimConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    parallel: ParallelConfig = ParallelConfig()
    faults: FaultConfig = FaultConfig()
    log: LogConfig = LogConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    sample: SampleConfig = SampleConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        multiple = self.model.side_multiple
        if self.latents.autoencoder is None and self.data.size % multiple:
            raise ValueError(
                f"data.size {self.data.size} is no multiple of {multiple}, which the model's "
                f"patch and levels ask for"
            )
        if self.latents.autoencoder is None and self.model.space_channels != 3:
            raise ValueError(
                f"model.space_channels {self.model.space_channels} without latents.autoencoder: "
                "images have 3"
            )
        if (self.model.text is None) != (self.text.encoder is None):
            raise ValueError(
                f"model.text is {self.model.text}, text.encoder {self.text.encoder}: give both "
                "(the width of the encoder's tokens, and the encoder) or neither"
            )
        if (self.model.clip is None) != (self.image.encoder is None):
            raise ValueError(
                f"model.clip is {self.model.clip}, image.encoder {self.image.encoder}: give both "
                "(the width of the encoder's embedding, and the encoder) or neither"
            )
        return self

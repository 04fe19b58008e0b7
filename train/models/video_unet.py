"""The 4D-aware video UNet of Diffusion4D (arXiv 2405.16645): ModelScope's, with more conditions.

With no condition but text it is diffusers' ``UNet3DConditionModel``, number by number, and takes
its weights (``train.models.modelscope``). What is added starts at zero, so that fine-tuning begins
from the text-to-video model:

- camera: the 16 numbers of each frame's camera-to-world matrix, by two layers, added to the step's
  embedding (VideoMV);
- motion magnitude m: by two layers, likewise (Diffusion4D, section 3.3);
- image: by cross-attention to its tokens (and to CLIP's, with ``clip``), by channel concatenation
  with every frame, and as a whole in the embedding;
- static: the frozen orbit, by channel concatenation with the frame of the same camera; with
  ``static_skip`` it is also added to the output, each channel scaled and shifted by the embedding.

Concatenated channels have convolutions of their own into the first layer, which is the same
function; the reference image's then runs once per clip.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional

from train.config import VideoUNetConfig
from train.models.api import Conditions
from train.models.cpu import GroupNorm
from train.models.layers import channels_last, place_code, sinusoid, two_layers, zeroed
from train.models.unet_blocks import BlockConfig, Context, Stage, TemporalTransformer

_CLIP_TOKENS = 4  # of the whole image, as in I2VGen-XL
_HEADS_IN = 8  # of the temporal layer behind the first convolution, whatever the width


class TimeEmbedding(nn.Module):
    """Diffusion step -> sinusoid -> two layers."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.channels = channels
        self.linear_1 = nn.Linear(channels, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, step: Int64[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """Embed steps."""
        code = sinusoid(step.float(), self.channels).to(self.linear_1.weight.dtype)
        return self.linear_2(functional.silu(self.linear_1(code)))


class ReferenceEncoder(nn.Module):
    """Reference image -> tokens for cross-attention, and one vector of the whole."""

    def __init__(self, channels: int, config: VideoUNetConfig, embedding: int) -> None:
        super().__init__()
        width, tokens = config.channels[0], config.image
        assert tokens is not None
        layers: list[nn.Module] = [
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, tokens, 3, stride=2, padding=1),
        ]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(tokens)
        self.absent = nn.Parameter(torch.zeros(tokens))  # stands in for a dropped image
        self.whole = two_layers(tokens, embedding, zero=config.zero_init)

    def forward(
        self, image: Float[Tensor, "b c h w"], kept: Float[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b n i"], Float[Tensor, "b d"]]:
        """Encode; dropped images give the learnt token of absence everywhere."""
        grid = self.layers(image)
        tokens = self.norm(grid.flatten(2).transpose(1, 2))
        tokens = tokens + place_code(grid.shape[2], grid.shape[3], tokens).to(tokens.dtype)
        kept = kept[:, None, None].to(tokens.dtype)
        tokens = tokens * kept + self.absent * (1 - kept)
        return tokens, self.whole(tokens.mean(dim=1))


class ClipTokens(nn.Module):
    """CLIP's embedding of the reference image -> tokens for cross-attention."""

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, _CLIP_TOKENS * tokens)
        self.norm = nn.LayerNorm(tokens)

    def forward(
        self, clip: Float[Tensor, "b e"] | None, kept: Float[Tensor, " b"]
    ) -> Float[Tensor, "b n i"]:
        """Turn into tokens; they are 0 where the image is dropped, or was not looked at."""
        kind = self.linear.weight
        if clip is None:
            return kind.new_zeros(len(kept), _CLIP_TOKENS, self.norm.normalized_shape[0])
        tokens = self.linear(clip.to(kind.dtype)).unflatten(1, (_CLIP_TOKENS, -1))
        return self.norm(tokens) * kept[:, None, None].to(kind.dtype)


class VideoUNet(nn.Module):
    """Answers ``train.models.api.VideoDenoiser``."""

    def __init__(self, config: VideoUNetConfig) -> None:
        super().__init__()
        self.config = config
        width, embedding = config.channels[0], config.embedding_width
        inside = config.space_channels * config.patch**2
        blocks = _block_config(config)
        self.conv_in = nn.Conv2d(inside, width, 3, padding=1)
        self.time_embedding = TimeEmbedding(width, embedding)
        inner = _HEADS_IN * config.head_width
        self.transformer_in = TemporalTransformer(width, blocks, inner)
        self.down_blocks = nn.ModuleList(_encoder(config, blocks))
        last = config.channels[-1]
        self.mid_block = Stage([(last, last)] * 2, blocks, attention=True, middle=True)
        self.up_blocks = nn.ModuleList(_decoder(config, blocks))
        self.conv_norm_out = GroupNorm(config.norm_groups, width)
        self.conv_out = zeroed(nn.Conv2d(width, inside, 3, padding=1))
        self.camera = two_layers(16, embedding, zero=True)
        self.motion = two_layers(1, embedding, zero=True)
        # A sum alone cannot say "this object from that side"; two layers on it can.
        self.joint = two_layers(embedding, embedding, zero=config.zero_init)
        if config.image is not None:
            self.image = ReferenceEncoder(inside, config, embedding)
            self.conv_in_image = _beside(inside, config)
            if config.clip is not None:
                self.clip = ClipTokens(config.clip, config.image)
        if config.static:
            self.conv_in_static = _beside(inside, config)
        if config.static_skip:
            self.static_skip = zeroed(nn.Linear(embedding, 2 * config.space_channels))
        channels_last(self)

    def embed(
        self, step: Int64[Tensor, " b"], given: Conditions, whole: Float[Tensor, "b d"] | None
    ) -> Float[Tensor, "b t d"]:
        """Add up step, camera of each frame, motion and the gist of the reference image."""
        one = self.time_embedding(step)
        kind = one.dtype
        camera = given.camera.flatten(2).to(kind)
        camera = self.camera(camera) * given.kept("camera")[:, None, None].to(kind)
        motion = self.motion(given.motion[:, None].to(kind))
        one = one + motion * given.kept("motion")[:, None].to(kind)
        total = camera + (one if whole is None else one + whole)[:, None]
        return total + self.joint(functional.layer_norm(total, total.shape[-1:]))

    def forward(
        self,
        noisy: Float32[Tensor, "b t c h w"],
        step: Int64[Tensor, " b"],
        given: Conditions,
    ) -> Float32[Tensor, "b t c h w"]:
        """Predict the target of a batch of noisy clips."""
        b, t = noisy.shape[:2]
        x = self.conv_in(self._folded(noisy))
        tokens, whole, kept = None, None, None
        if self.config.image is not None:
            kept = given.kept("image")
            image = self._folded(given.image[:, None])
            tokens, whole = self.image(image, kept)
            if self.config.clip is not None:
                tokens = torch.cat([tokens, self.clip(given.clip, kept)], dim=1)
            beside = self.conv_in_image(image * kept[:, None, None, None])
            x = x + beside.repeat_interleave(t, dim=0)
        if self.config.static and given.static is not None:
            static = given.static * given.kept("static")[:, None, None, None, None]
            x = x + self.conv_in_static(self._folded(static))
        text = given.text_or_null() if self.config.text is not None else None
        embedding = functional.silu(self.embed(step, given, whole)).flatten(0, 1)
        x = self._body(x, Context(t, embedding, text, tokens, kept))
        x = self.conv_out(functional.silu(self.conv_norm_out(x)))
        x = functional.pixel_shuffle(x, self.config.patch).unflatten(0, (b, t)).float()
        if self.config.static_skip and given.static is not None:
            scale, shift = self.static_skip(embedding).float().unflatten(0, (b, t)).chunk(2, dim=-1)
            still = given.static * scale[..., None, None] + shift[..., None, None]
            x = x + still * given.kept("static")[:, None, None, None, None]
        return x.clone()  # views would lose the hooks of sharded models

    def _folded(self, clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "f d i j"]:
        x = functional.pixel_unshuffle(clips.flatten(0, 1), self.config.patch)
        return x.contiguous(memory_format=torch.channels_last)

    def _body(self, x: Float[Tensor, "f c h w"], given: Context) -> Float[Tensor, "f c h w"]:
        x = self.transformer_in(x, given)
        skips = [x]
        for stage in self.down_blocks:
            x, *made = stage(x, given)
            skips += made
        x = self.mid_block(x, given)[0]
        for stage in self.up_blocks:
            assert isinstance(stage, Stage)
            taken = tuple(skips.pop() for _ in stage.resnets)
            x = stage(x, given, taken)[0]
        return x

    def stages(self) -> Iterator[Stage]:
        """Give the stages in the order of the forward pass: the units of sharding and compiling."""
        for stage in (*self.down_blocks, self.mid_block, *self.up_blocks):
            assert isinstance(stage, Stage)
            yield stage

    def recompute_activations(self, on: bool = True) -> None:
        """Keep no activations inside layers for the backward pass; compute them again."""
        for stage in self.stages():
            stage.recompute = on


def _beside(inside: int, config: VideoUNetConfig) -> nn.Conv2d:
    """Make the part of the first convolution that sees concatenated channels."""
    conv = nn.Conv2d(inside, config.channels[0], 3, padding=1, bias=False)
    return zeroed(conv) if config.zero_init else conv


def _block_config(config: VideoUNetConfig) -> BlockConfig:
    return BlockConfig(
        embedding=config.embedding_width,
        head_width=config.head_width,
        text=config.text,
        image=config.image,
        temporal_convs=config.temporal_convs,
        norm_groups=config.norm_groups,
        dropout=config.dropout,
        scale_shift=config.scale_shift,
        places=config.places,
    )


def _encoder(config: VideoUNetConfig, blocks: BlockConfig) -> list[Stage]:
    stages, inputs = [], config.channels[0]
    for depth, outputs in enumerate(config.channels):
        widths = [(inputs, outputs)] + [(outputs, outputs)] * (config.blocks - 1)
        resample = "down" if depth + 1 < len(config.channels) else ""
        stages.append(Stage(widths, blocks, attention=config.attention[depth], resample=resample))
        inputs = outputs
    return stages


def _decoder(config: VideoUNetConfig, blocks: BlockConfig) -> list[Stage]:
    """Build the way up: each stage has one block more, for the skip of what stands before it."""
    skips = [config.channels[0]]
    for depth, width in enumerate(config.channels):
        skips += [width] * config.blocks
        skips += [width] if depth + 1 < len(config.channels) else []
    stages, inputs = [], config.channels[-1]
    for depth in reversed(range(len(config.channels))):
        outputs, widths = config.channels[depth], []
        for _ in range(config.blocks + 1):
            widths.append((inputs + skips.pop(), outputs))
            inputs = outputs
        resample = "up" if depth else ""
        stages.append(Stage(widths, blocks, attention=config.attention[depth], resample=resample))
    return stages

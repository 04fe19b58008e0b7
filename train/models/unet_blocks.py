"""Blocks of the factorised video UNet, in the layout of diffusers' ``UNet3DConditionModel``.

A block's function and its parameters' names and shapes are those of diffusers' block, so weights
of ModelScope's text-to-video UNet (and what was trained from it) load by name. How it is computed
is our own: images are channels-last from end to end, so that convolutions, group norms and
token-wise layers look at the same memory without copies; the context of a clip is projected once,
not once per frame; queries, keys and values of self-attention are one product.

Images travel as ``(b*t, c, h, w)`` in channels-last memory, clip by clip.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from train.models.cpu import GroupNorm, attend, gated
from train.models.layers import place_code, zeroed

_NORM_EPS = 1e-6  # of the group norm before attention; 1e-5 elsewhere


@dataclass(frozen=True, slots=True)
class Context:
    """What blocks are told about the clips of a batch.

    Attributes:
        t: frames of a clip.
        embedding: after SiLU; of diffusion step, camera and motion, per frame.
        text: tokens of each clip, or none.
        image: tokens of each clip's reference image, or none.
        image_kept: 1 where the reference image holds, 0 where it is dropped.
    """

    t: int
    embedding: Float[Tensor, "f d"]
    text: Float[Tensor, "b n e"] | None = None
    image: Float[Tensor, "b m i"] | None = None
    image_kept: Float[Tensor, " b"] | None = None


@dataclass(frozen=True, slots=True)
class BlockConfig:
    """Settings that all blocks of a network share; see ``train.config.VideoUNetConfig``."""

    embedding: int
    head_width: int
    text: int | None
    image: int | None
    temporal_convs: int
    norm_groups: int
    dropout: float
    scale_shift: bool
    places: bool


def by_clip(x: Float[Tensor, "f c h w"], t: int) -> Float[Tensor, "b c t n"]:
    """View channels-last images as clips over (time, pixel), again channels-last: no copy."""
    f, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(f // t, t, h * w, c).permute(0, 3, 1, 2)


def by_image(x: Float[Tensor, "b c t n"], h: int, w: int) -> Float[Tensor, "f c h w"]:
    """Undo ``by_clip``."""
    c = x.shape[1]
    return x.permute(0, 2, 3, 1).reshape(-1, h, w, c).permute(0, 3, 1, 2)


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions; each frame's embedding is added (or scales and shifts) in between."""

    def __init__(self, inputs: int, outputs: int, config: BlockConfig) -> None:
        super().__init__()
        self.norm1 = GroupNorm(config.norm_groups, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.scale_shift = config.scale_shift
        self.time_emb_proj = nn.Linear(config.embedding, outputs * (2 if config.scale_shift else 1))
        self.norm2 = GroupNorm(config.norm_groups, outputs)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Float[Tensor, "f c h w"], given: Context) -> Float[Tensor, "f e h w"]:
        """Transform every frame by itself."""
        y = self.conv1(functional.silu(self.norm1(x)))
        embedding = self.time_emb_proj(given.embedding)[..., None, None]
        if self.scale_shift:
            scale, shift = embedding.chunk(2, dim=1)
            y = self.norm2(y) * (1 + scale) + shift
        else:
            y = self.norm2(y + embedding)
        y = self.conv2(self.dropout(functional.silu(y)))
        return y + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class TemporalConv(nn.Module):
    """A stack of (norm, SiLU, convolution over 3 frames per pixel); starts as the identity."""

    def __init__(self, channels: int, config: BlockConfig) -> None:
        super().__init__()
        self.depth = config.temporal_convs
        for i in range(self.depth):
            drop = [nn.Dropout(config.dropout)] if i else []  # diffusers has none in the first
            conv = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))
            norm = GroupNorm(config.norm_groups, channels)
            last = zeroed(conv) if i + 1 == self.depth else conv
            self.add_module(f"conv{i + 1}", nn.Sequential(norm, nn.SiLU(), *drop, last))

    def forward(self, x: Float[Tensor, "f c h w"], given: Context) -> Float[Tensor, "f c h w"]:
        """Mix neighbouring frames of a clip."""
        if not self.depth:
            return x
        y = by_clip(x, given.t)
        for i in range(self.depth):
            *before, conv = self.get_submodule(f"conv{i + 1}").children()
            for layer in before:
                y = layer(y)
            # Conv3d (3, 1, 1) over (t, h, w) is (3, 1) over (t, h*w), and faster on CPUs
            weight = conv.get_parameter("weight").squeeze(-1)
            y = functional.conv2d(y, weight, conv.get_parameter("bias"), padding=(1, 0))
        return x + by_image(y, *x.shape[2:])


class Attention(nn.Module):
    """Multi-head attention; ``image`` adds a branch of its own to the text's.

    The branch for image tokens has keys and values of its own (as in IP-Adapter, arXiv 2308.06721);
    its values start at zero, so that a text-to-video model is unchanged by an untrained image.
    """

    def __init__(self, channels: int, context: int | None, config: BlockConfig) -> None:
        super().__init__()
        self.width = config.head_width
        source = channels if context is None else context
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(source, channels, bias=False)
        self.to_v = nn.Linear(source, channels, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def heads(self, x: Float[Tensor, "s n c"]) -> Float[Tensor, "s k n e"]:
        """Split channels into heads."""
        return x.unflatten(-1, (-1, self.width)).transpose(1, 2)

    def forward(self, x: Float[Tensor, "s n c"]) -> Float[Tensor, "s n c"]:
        """Attend among the tokens themselves."""
        weight = torch.cat([self.to_q.weight, self.to_k.weight, self.to_v.weight])
        q, k, v = (self.heads(part) for part in functional.linear(x, weight).chunk(3, dim=-1))
        return self.out(attend(q, k, v))

    def out(self, mixed: Float[Tensor, "s k n e"]) -> Float[Tensor, "s n c"]:
        """Join the heads."""
        return self.to_out[0](mixed.transpose(1, 2).flatten(2))


class CrossAttention(Attention):
    """Attention to the tokens of the text and of the reference image, each where there is one."""

    def __init__(self, channels: int, config: BlockConfig) -> None:
        text = config.text or config.image
        super().__init__(channels, text, config)
        both = config.text is not None and config.image is not None
        if both:
            assert config.image is not None
            self.to_k_image = nn.Linear(config.image, channels, bias=False)
            self.to_v_image = zeroed(nn.Linear(config.image, channels, bias=False))
        self.has_text, self.has_both = config.text is not None, both

    def across(self, x: Float[Tensor, "f n c"], given: Context) -> Float[Tensor, "f n c"]:
        """Attend to the context; the frames of a clip share it."""
        tokens = given.text if self.has_text else given.image
        assert tokens is not None
        b = len(tokens)
        q = self.heads(self.to_q(x).reshape(b, -1, x.shape[-1]))
        k, v = self.heads(self.to_k(tokens)), self.heads(self.to_v(tokens))
        mixed = attend(q, k, v)
        if self.has_both and given.image is not None and given.image_kept is not None:
            k, v = (
                self.heads(self.to_k_image(given.image)),
                self.heads(self.to_v_image(given.image)),
            )
            beside = attend(q, k, v)
            mixed = mixed + beside * given.image_kept[:, None, None, None].to(beside.dtype)
        return self.out(mixed).reshape(x.shape)


class _GatedGelu(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, 2 * outputs)

    def forward(self, x: Float[Tensor, "s n c"]) -> Float[Tensor, "s n e"]:
        return gated(self.proj(x))


class FeedForward(nn.Module):
    """Two layers per token, the first gated by GELU."""

    def __init__(self, channels: int, factor: int = 4) -> None:
        super().__init__()
        hidden = factor * channels
        self.net = nn.ModuleList(
            [_GatedGelu(channels, hidden), nn.Identity(), nn.Linear(hidden, channels)]
        )

    def forward(self, x: Float[Tensor, "s n c"]) -> Float[Tensor, "s n c"]:
        """Transform every token."""
        return self.net[2](self.net[0](x))


class TransformerBlock(nn.Module):
    """Self-attention, attention to a context (or again to itself), feed-forward; with residuals."""

    def __init__(self, channels: int, config: BlockConfig, *, cross: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = Attention(channels, None, config)
        self.norm2 = nn.LayerNorm(channels)
        self.attn2 = (
            CrossAttention(channels, config) if cross else Attention(channels, None, config)
        )
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)

    def forward(
        self,
        x: Float[Tensor, "s n c"],
        given: Context | None = None,
        places: Float32[Tensor, "n c"] | None = None,
    ) -> Float[Tensor, "s n c"]:
        """Transform token sequences; ``places`` is added to what attention sees."""

        def seen(y: Tensor) -> Tensor:
            return y if places is None else y + places.to(y.dtype)

        x = x + self.attn1(seen(self.norm1(x)))
        y = seen(self.norm2(x))
        if isinstance(self.attn2, CrossAttention):
            assert given is not None
            x = x + self.attn2.across(y, given)
        else:
            x = x + self.attn2(y)
        return x + self.ff(self.norm3(x))


class _Transformer(nn.Module):
    """Norm, projection, one block, projection, residual; starts as the identity."""

    def __init__(self, channels: int, inner: int, config: BlockConfig, *, cross: bool) -> None:
        super().__init__()
        self.norm = GroupNorm(config.norm_groups, channels, _NORM_EPS)
        self.proj_in = nn.Linear(channels, inner)
        block = TransformerBlock(inner, config, cross=cross)
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = zeroed(nn.Linear(inner, channels))


class SpatialTransformer(_Transformer):
    """Per frame: pixels attend to each other, then to the context of their clip."""

    def __init__(self, channels: int, config: BlockConfig) -> None:
        super().__init__(channels, channels, config, cross=True)
        self.places = config.places

    def forward(self, x: Float[Tensor, "f c h w"], given: Context) -> Float[Tensor, "f c h w"]:
        """Attend within each frame and to the context."""
        f, c, h, w = x.shape
        tokens = self.proj_in(self.norm(x).permute(0, 2, 3, 1).reshape(f, h * w, c))
        places = place_code(h, w, tokens) if self.places else None
        tokens = self.proj_out(self.transformer_blocks[0](tokens, given, places))
        return x + tokens.reshape(f, h, w, c).permute(0, 3, 1, 2)


class TemporalTransformer(_Transformer):
    """Per pixel: the frames of a clip attend to each other, twice as published."""

    def __init__(self, channels: int, config: BlockConfig, inner: int | None = None) -> None:
        super().__init__(channels, inner or channels, config, cross=False)

    def forward(self, x: Float[Tensor, "f c h w"], given: Context) -> Float[Tensor, "f c h w"]:
        """Attend along time."""
        _, c, h, w = x.shape
        y = self.norm(by_clip(x, given.t)).permute(0, 3, 2, 1)  # (b, n, t, c)
        b, n, t, _ = y.shape
        tokens = self.transformer_blocks[0](self.proj_in(y).flatten(0, 1))
        y = self.proj_out(tokens).reshape(b, n, t, c).permute(0, 3, 2, 1)
        return x + by_image(y, h, w)


class Resample(nn.Module):
    """Halve (convolution of stride 2) or double (nearest, then convolution) the sides."""

    def __init__(self, channels: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=1)

    def forward(self, x: Float[Tensor, "f c h w"]) -> Float[Tensor, "f c i j"]:
        """Resample every frame."""
        return self.conv(functional.interpolate(x, scale_factor=2.0) if self.up else x)


class Stage(nn.Module):
    """The layers of one resolution, on the way down, in the middle or up."""

    def __init__(
        self,
        widths: list[tuple[int, int]],
        config: BlockConfig,
        *,
        attention: bool,
        resample: str = "",
        middle: bool = False,
    ) -> None:
        """Build a stage.

        Args:
            widths: channels into and out of each residual block.
            config: shared settings.
            attention: whether space and time attend.
            resample: "down", "up" or nothing, at the end.
            middle: the first residual block stands before the attention, without any of its own.
        """
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(i, o, config) for i, o in widths)
        self.temp_convs = nn.ModuleList(TemporalConv(o, config) for _, o in widths)
        self.middle = middle
        attended = [o for _, o in widths][middle:] if attention else []
        if attention:
            self.attentions = nn.ModuleList(SpatialTransformer(o, config) for o in attended)
            self.temp_attentions = nn.ModuleList(TemporalTransformer(o, config) for o in attended)
        self.attention = attention
        self.recompute = False  # keep no activations of a layer, compute them again
        outputs = widths[-1][1]
        self.samplers = f"{resample}samplers" if resample else ""
        if resample:
            step = Resample(outputs, up=resample == "up")
            self.add_module(self.samplers, nn.ModuleList([step]))

    def forward(
        self, x: Float[Tensor, "f c h w"], given: Context, skips: tuple[Tensor, ...] = ()
    ) -> tuple[Float[Tensor, "f e i j"], ...]:
        """Run the stage.

        ``skips`` are concatenated on the way up, one per residual block, first to first. What is
        returned has the output first, and behind it what each layer made, for the way up.
        """
        made: list[Tensor] = []
        for i in range(len(self.resnets)):
            if skips:
                x = torch.cat([x, skips[i]], dim=1)
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(self.layer, i, x, given, use_reentrant=False)
            else:
                x = self.layer(i, x, given)
            made.append(x)
        if self.samplers:
            x = self.get_submodule(f"{self.samplers}.0")(x)
            made.append(x)
        return x, *made

    def layer(self, i: int, x: Float[Tensor, "f c h w"], given: Context) -> Tensor:
        """Run residual block i with what belongs to it."""
        attends = i - self.middle if self.attention else -1
        if self.middle and attends >= 0:  # in the middle attention stands first
            x = self.temp_attentions[attends](self.attentions[attends](x, given), given)
        x = self.temp_convs[i](self.resnets[i](x, given), given)
        if not self.middle and attends >= 0:
            x = self.temp_attentions[attends](self.attentions[attends](x, given), given)
        return x

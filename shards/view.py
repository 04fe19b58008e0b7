"""What a reader sees of a sample: which sequences and frames, at which size, over what colour."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from PIL import Image
from pydantic import Field

from shards.config import Config
from shards.errors import SampleError
from shards.sample import Frames, SampleMeta, SequenceMeta, decode_sequence

Level = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=1)]
Colour = tuple[Level, Level, Level]

_NAMED: dict[str, Colour] = {
    "white": (1.0, 1.0, 1.0),
    "grey": (0.5, 0.5, 0.5),
    "black": (0.0, 0.0, 0.0),
}


Shapes = Mapping[str, tuple[int, int, int, int]]
Room = Callable[[str, Shapes], Mapping[str, np.ndarray]]


class ViewConfig(Config):
    """How a stored sample becomes arrays."""

    sequences: tuple[str, ...] = Field(default=("static", "orbit", "front"), min_length=1)
    frames: int | None = Field(default=None, ge=1, description="T to take; none: all that fit")
    stride: int = Field(default=1, ge=1, description="take every n-th image")
    size: Side | tuple[Side, Side] | None = Field(
        default=None, description="side, or (height, width), pixels; none: as stored"
    )
    background: Literal["white", "grey", "black"] | Colour | None = Field(
        default="white", description="sRGB in [0, 1] laid under; none: straight-alpha RGBA"
    )
    dtype: Literal["float32", "float16", "uint8"] = Field(
        default="float32", description="floats in [0, 1]; uint8 in 0..255"
    )

    @property
    def channels(self) -> str:
        """Name of the image array: ``rgb``, or ``rgba`` without a background."""
        return "rgba" if self.background is None else "rgb"


@dataclass(frozen=True, slots=True)
class SequenceView:
    """Images and cameras of one sequence; entry i of each array belongs to image i.

    ``images`` (t, h, w, c) is sRGB: c is 3, or 4 with straight alpha where no background was asked
    for. ``K`` is in pixels of ``images``; ``c2w`` has OpenCV axes; ``times_s`` counts from the
    start of the clip.
    """

    images: Shaped[np.ndarray, "t h w c"]
    K: Float32[np.ndarray, "t 3 3"]
    c2w: Float32[np.ndarray, "t 4 4"]
    times_s: Float32[np.ndarray, " t"]
    azimuth_deg: Float32[np.ndarray, " t"]
    elevation_deg: Float32[np.ndarray, " t"]


@dataclass(frozen=True, slots=True)
class SampleView:
    """A sample as a reader asked for it.

    ``motion_magnitude`` is the stored ``pixel_sum`` of the whole sample at its stored size (NaN
    where none was measured). ``stand_in_for`` names the broken sample whose place this one takes;
    empty for a sample in its own place.
    """

    meta: SampleMeta
    sequences: dict[str, SequenceView]
    channels: str
    stand_in_for: str = ""

    @property
    def key(self) -> str:
        """Name of the sample."""
        return self.meta.key

    @property
    def motion_magnitude(self) -> float:
        """Diffusion4D's m as stored, or NaN."""
        magnitude = self.meta.motion_magnitude
        return magnitude.pixel_sum if magnitude else float("nan")

    def shapes(self) -> Shapes:
        """Return the size of each sequence's images, (t, h, w, c)."""
        shapes: dict[str, Any] = {name: v.images.shape for name, v in self.sequences.items()}
        return shapes

    def as_dict(self) -> dict[str, Any]:
        """Return what torch's default collate takes: strings, floats and arrays by name.

        ``key``, ``stand_in_for``, ``motion_magnitude``, and per sequence a dict of ``rgb`` or
        ``rgba``, ``K``, ``c2w``, ``times_s``, ``azimuth_deg`` and ``elevation_deg``.
        """
        tree: dict[str, Any] = {
            "key": self.key,
            "stand_in_for": self.stand_in_for,
            "motion_magnitude": self.motion_magnitude,
        }
        for name, view in self.sequences.items():
            tree[name] = {
                self.channels: view.images,
                "K": view.K,
                "c2w": view.c2w,
                "times_s": view.times_s,
                "azimuth_deg": view.azimuth_deg,
                "elevation_deg": view.elevation_deg,
            }
        return tree


def shapes_of(meta: SampleMeta, config: ViewConfig) -> Shapes:
    """Say how large a sample's images come out: sequence -> (t, h, w, c).

    Raises:
        SampleError: if a sequence is missing or has too few images.
    """
    depth = 4 if config.background is None else 3
    shapes: dict[str, tuple[int, int, int, int]] = {}
    for name in config.sequences:
        if name not in meta.sequences:
            raise SampleError(
                f"sample {meta.key!r} has sequences {sorted(meta.sequences)}, not {name!r}"
            )
        about = meta.sequences[name]
        taken = _taken(about, config, f"sample {meta.key!r}: {name}")
        shapes[name] = (len(range(about.frames)[taken]), *_size(config, about), depth)
    return shapes


def view_sample(
    meta: SampleMeta,
    members: Mapping[str, bytes],
    config: ViewConfig,
    stand_in_for: str = "",
    room: Room | None = None,
) -> SampleView:
    """Decode a sample as asked.

    Args:
        meta: the sample's document.
        members: its tar members.
        config: what is asked.
        stand_in_for: the broken sample whose place this one takes.
        room: optionally gives, for a key and its shapes, C-contiguous arrays to put the images in.

    Raises:
        SampleError: if a sequence is missing, damaged or has too few images.
    """
    shapes = shapes_of(meta, config)
    places = room(meta.key, shapes) if room else {}
    views: dict[str, SequenceView] = {}
    for name, (_, height, width, _) in shapes.items():
        about = meta.sequences[name]
        taken = _taken(about, config, f"sample {meta.key!r}: {name}")
        zoom = np.array([[width / about.width], [height / about.height], [1.0]])
        views[name] = SequenceView(
            images=_images(meta, members, name, config, places.get(name)),
            K=(np.array(about.K[taken]) * zoom).astype(np.float32),
            c2w=np.array(about.c2w[taken], np.float32),
            times_s=np.array(about.times_s[taken], np.float32),
            azimuth_deg=np.array(about.azimuth_deg[taken], np.float32),
            elevation_deg=np.array(about.elevation_deg[taken], np.float32),
        )
    return SampleView(meta, views, config.channels, stand_in_for)


def _images(
    meta: SampleMeta,
    members: Mapping[str, bytes],
    name: str,
    config: ViewConfig,
    out: np.ndarray | None,
) -> Shaped[np.ndarray, "t h w c"]:
    about = meta.sequences[name]
    size = _size(config, about)
    taken = _taken(about, config, f"sample {meta.key!r}: {name}")
    whole = range(about.frames)[taken] == range(about.frames)
    as_stored = config.background is None and config.dtype == "uint8"
    as_stored = as_stored and size == (about.height, about.width)
    stored = decode_sequence(meta, members, name, out if whole and as_stored else None)
    if whole and as_stored:
        return stored
    frames = stored if whole else stored[taken]
    images = frames if as_stored else render_view(frames, size, config)
    if out is None:
        return images
    out[:] = images
    return out


def _taken(about: SequenceMeta, config: ViewConfig, where: str) -> slice:
    count = config.frames or -(-about.frames // config.stride)
    needed = (count - 1) * config.stride + 1
    if needed > about.frames:
        raise SampleError(
            f"{where} has {about.frames} images; frames={count} at stride={config.stride} need "
            f"{needed}"
        )
    return slice(0, needed, config.stride)


def _size(config: ViewConfig, about: SequenceMeta) -> tuple[int, int]:
    if config.size is None:
        return about.height, about.width
    return (config.size, config.size) if isinstance(config.size, int) else config.size


def render_view(
    frames: Frames, size: tuple[int, int], config: ViewConfig
) -> Shaped[np.ndarray, "t h w c"]:
    """Resize stored frames and lay them over the background, on sRGB values as displayed.

    Alpha is multiplied in before resizing, so hidden colour never bleeds into an edge. Whole
    factors downwards are exact means over boxes of pixels; others are Pillow's bilinear filter,
    which averages when it shrinks.

    Args:
        frames: straight-alpha RGBA, uint8.
        size: (height, width) wanted.
        config: background and dtype.

    Returns:
        RGB, or straight-alpha RGBA without a background, in the dtype asked for.
    """
    if config.background is None and frames.shape[1:3] == size:
        if config.dtype == "uint8":
            return frames
        scaled = np.multiply(frames, np.float32(1 / 255), dtype=np.float32)
        return scaled.astype(config.dtype, copy=False)
    out = np.empty((len(frames), *size, len(config.channels)), config.dtype)
    image = np.empty(out.shape[1:], np.float32)
    for frame, place in zip(frames, out, strict=True):  # one at a time stays in the cache
        _render_frame(frame, config, image)
        if config.dtype == "uint8":
            np.rint(np.multiply(image, 255, out=image), out=image)
        place[:] = image
    return out


def _render_frame(
    frame: UInt8[np.ndarray, "h w 4"], config: ViewConfig, out: Float32[np.ndarray, "H W c"]
) -> None:
    # Plane by plane: three times faster than broadcasting alpha over the last, short axis.
    size = out.shape[0], out.shape[1]
    alpha = frame[..., 3] * np.float32(1 / 255)
    small_alpha = _resize(alpha, size)
    weights = alpha * np.float32(1 / 255)  # takes the colours to [0, 1] as well
    colours = (_resize(frame[..., channel] * weights, size) for channel in range(3))
    if config.background is None:
        visible = small_alpha > 0
        undo = np.divide(1, small_alpha, out=np.zeros_like(small_alpha), where=visible)
        for channel, colour in enumerate(colours):
            np.minimum(colour * undo, 1, out=out[..., channel])
        out[..., 3] = small_alpha
    else:
        behind = 1 - small_alpha
        for channel, (colour, under) in enumerate(zip(colours, background_of(config), strict=True)):
            np.add(colour, behind * np.float32(under), out=out[..., channel])


def background_of(config: ViewConfig) -> Colour:
    """Return the background as sRGB in [0, 1]; black where none was asked for."""
    if isinstance(config.background, str):
        return _NAMED[config.background]
    return config.background or _NAMED["black"]


def _resize(plane: Float32[np.ndarray, "h w"], size: tuple[int, int]) -> Float32[np.ndarray, "H W"]:
    height, width = plane.shape
    if (height, width) == size:
        return plane
    if height % size[0] == 0 and width % size[1] == 0:
        return _box_mean(plane, height // size[0], width // size[1])
    shape = (size[1], size[0])
    return np.asarray(Image.fromarray(plane).resize(shape, Image.Resampling.BILINEAR))


def _box_mean(
    plane: Float32[np.ndarray, "h w"], down: int, across: int
) -> Float32[np.ndarray, "H W"]:
    # Rows, then columns by strided sums: ten times faster than one mean over both short axes.
    height, width = plane.shape
    rows = np.add.reduce(plane.reshape(height // down, down, width), axis=1)
    boxes = rows[:, ::across].copy()
    for column in range(1, across):
        boxes += rows[:, column::across]
    boxes *= np.float32(1 / (down * across))
    return boxes

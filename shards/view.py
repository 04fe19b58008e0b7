"""What a reader sees of a sample: which sequences and frames, at which size, over what colour."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from jaxtyping import Float32, Int64, Shaped
from PIL import Image, ImageOps
from pydantic import Field, model_validator

from shards.config import Config
from shards.errors import ConfigError, SampleError
from shards.pixels import nearest, render_frame
from shards.sample import (
    ArrayMeta,
    Frames,
    SampleMeta,
    SequenceMeta,
    decode_sequence,
    decode_stored,
)
from shards.seeding import rng_for

Level = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=1)]
Colour = tuple[Level, Level, Level]

_NAMED: dict[str, Colour] = {
    "white": (1.0, 1.0, 1.0),
    "grey": (0.5, 0.5, 0.5),
    "black": (0.0, 0.0, 0.0),
}


_IMAGES = {".jpg", ".jpeg", ".png", ".webp"}

# real values, though a sample that holds nothing but zeros stores them at scale 1, like counts
_REAL = {"depth", "flow", "normal"}


@dataclass(frozen=True, slots=True)
class ArrayForm:
    """Shape and dtype of an array that a sample comes out as."""

    shape: tuple[int, ...]
    dtype: str


Forms = Mapping[str, ArrayForm]  # "orbit": its images, "orbit.depth": a pass of it
Room = Callable[[str, Forms], Mapping[str, np.ndarray]]


class ViewConfig(Config):
    """How a stored sample becomes arrays."""

    sequences: tuple[str, ...] = Field(default=("static", "orbit", "front"), min_length=1)
    passes: tuple[str, ...] = Field(
        default=(), description="further arrays of each sequence, at its size: depth, normal, ..."
    )
    frames: int | None = Field(default=None, ge=1, description="T to take; none: all that fit")
    stride: int = Field(default=1, ge=1, description="take every n-th image")
    first_view: Literal["stored", "random"] = Field(
        default="stored",
        description="where a turn around the object begins; random turns all sequences of a sample "
        "that go around alike, and in those that move, time runs on from its start after its end",
    )
    size: Side | tuple[Side, Side] | None = Field(
        default=None, description="side, or (height, width), pixels; none: as stored"
    )
    background: Literal["white", "grey", "black"] | Colour | None = Field(
        default="white", description="sRGB in [0, 1] laid under; none: straight-alpha RGBA"
    )
    backgrounds: Path | None = Field(
        default=None, description="folder of images to lay under, one drawn per sample and epoch"
    )
    dtype: Literal["float32", "float16", "uint8"] = Field(
        default="float32", description="floats in [0, 1]; uint8 in 0..255"
    )

    @model_validator(mode="after")
    def _one_background(self) -> Self:
        if self.backgrounds is not None and self.background is None:
            raise ValueError("backgrounds are laid under; background may not be none as well")
        return self

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
    passes: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ViewedAs:
    """Whose place a sample takes, and what its random choices are seeded with beside its key."""

    stand_in_for: str = ""
    seed: int = 0
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class SampleView:
    """A sample as a reader asked for it.

    ``motion_magnitude`` is the stored ``pixel_sum`` of the whole sample at its stored size (NaN
    where none was measured). ``stand_in_for`` names the sample, broken or taken down, whose place
    this one takes; empty for a sample in its own place.
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

    def forms(self) -> Forms:
        """Return shape and dtype of each sequence's images (t, h, w, c) and passes (t, ...)."""
        arrays: dict[str, np.ndarray] = {}
        for name, view in self.sequences.items():
            arrays[name] = view.images
            arrays |= {f"{name}.{kind}": array for kind, array in view.passes.items()}
        return {name: ArrayForm(array.shape, str(array.dtype)) for name, array in arrays.items()}

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
                **view.passes,
            }
        return tree


def forms_of(meta: SampleMeta, config: ViewConfig) -> Forms:
    """Say in which shape and dtype a sample's images and passes come out.

    Raises:
        SampleError: if a sequence or a pass is missing, or has too few images.
    """
    depth = 4 if config.background is None else 3
    forms: dict[str, ArrayForm] = {}
    for name in config.sequences:
        if name not in meta.sequences:
            raise SampleError(
                f"sample {meta.key!r} has sequences {sorted(meta.sequences)}, not {name!r}"
            )
        about = meta.sequences[name]
        taken = _taken(about, config, f"sample {meta.key!r}: {name}", None)
        size = _size(config, about)
        forms[name] = ArrayForm((len(taken), *size, depth), config.dtype)
        for kind in config.passes:
            stored = _array_meta(meta, f"{name}.{kind}")
            each = (*size, *stored.shape[3:]) if _is_images(stored.shape) else stored.shape[1:]
            forms[f"{name}.{kind}"] = ArrayForm((len(taken), *each), _pass_dtype(kind, stored))
    return forms


def _array_meta(meta: SampleMeta, name: str) -> ArrayMeta:
    if name not in meta.arrays:
        raise SampleError(
            f"sample {meta.key!r} has arrays {sorted(meta.arrays)}, not {name!r}; render with "
            "render.passes to have more"
        )
    return meta.arrays[name]


def _is_images(shape: tuple[int, ...]) -> bool:
    return len(shape) >= 3  # others are lists per image: which tracks it sees


def _pass_dtype(kind: str, stored: ArrayMeta) -> str:
    return "float32" if kind in _REAL or stored.scale != 1.0 else stored.dtype


def view_sample(
    meta: SampleMeta,
    members: Mapping[str, bytes],
    config: ViewConfig,
    about: ViewedAs | None = None,
    room: Room | None = None,
) -> SampleView:
    """Decode a sample as asked.

    Args:
        meta: the sample's document.
        members: its tar members.
        config: what is asked.
        about: whose place it takes, and where its random choices come from.
        room: optionally gives, for a key and its forms, C-contiguous arrays to put them in.

    Raises:
        SampleError: if a sequence is missing, damaged or has too few images.
    """
    about = about or ViewedAs()
    forms = forms_of(meta, config)
    places = room(meta.key, forms) if room else {}
    rng = rng_for(about.seed, "view", about.epoch, meta.key)
    turn = float(rng.random()) if config.first_view == "random" else 0.0
    behind = _draw_background(config, rng)
    views = {
        name: _view_sequence(meta, members, name, config, turn, behind, places)
        for name in config.sequences
    }
    return SampleView(meta, views, config.channels, about.stand_in_for)


def _view_sequence(  # noqa: PLR0913 - what one sample's sequences share, and the sequence
    meta: SampleMeta,
    members: Mapping[str, bytes],
    name: str,
    config: ViewConfig,
    turn: float,
    behind: Image.Image | None,
    places: Mapping[str, np.ndarray],
) -> SequenceView:
    about, out = meta.sequences[name], places.get(name)
    taken = _taken(about, config, f"sample {meta.key!r}: {name}", turn)
    height, width = size = _size(config, about)
    zoom = np.array([[width / about.width], [height / about.height], [1.0]])
    whole = taken.tolist() == list(range(about.frames))
    as_stored = config.background is None and config.dtype == "uint8"
    as_stored = as_stored and size == (about.height, about.width)
    images = decode_sequence(meta, members, name, out if whole and as_stored else None)
    if not (whole and as_stored):
        images = images if whole else images[taken]
        images = images if as_stored else render_view(images, size, config, behind)
        if out is not None:
            out[:] = images
            images = out
    return SequenceView(
        images=images,
        K=(np.array(about.K)[taken] * zoom).astype(np.float32),
        c2w=np.array(about.c2w)[taken].astype(np.float32),
        times_s=np.array(about.times_s, np.float32)[taken],
        azimuth_deg=np.array(about.azimuth_deg, np.float32)[taken],
        elevation_deg=np.array(about.elevation_deg, np.float32)[taken],
        passes={
            kind: _view_pass(meta, members, (name, kind), taken, size, places)
            for kind in config.passes
        },
    )


def _view_pass(
    meta: SampleMeta,
    members: Mapping[str, bytes],
    of: tuple[str, str],
    taken: Int64[np.ndarray, " t"],
    size: tuple[int, int],
    places: Mapping[str, np.ndarray],
) -> np.ndarray:
    name = ".".join(of)
    stored = _array_meta(meta, name)
    values = decode_stored(meta, members, name)[taken]
    values = nearest(values, size) if _is_images(stored.shape) else values
    out = places.get(name)
    if out is None:
        out = np.empty(values.shape, _pass_dtype(of[1], stored))
    if out.dtype == np.float32:
        np.multiply(values, np.float32(stored.scale), out=out, dtype=np.float32, casting="unsafe")
    else:
        out[:] = values
    return out


def _taken(
    about: SequenceMeta, config: ViewConfig, where: str, turn: float | None
) -> Int64[np.ndarray, " t"]:
    count = config.frames or -(-about.frames // config.stride)
    needed = (count - 1) * config.stride + 1
    if needed > about.frames:
        raise SampleError(
            f"{where} has {about.frames} images; frames={count} at stride={config.stride} need "
            f"{needed}"
        )
    goes_round = len(set(about.azimuth_deg)) > 1
    start = int((turn or 0.0) * about.frames) if goes_round else 0
    return (start + np.arange(count) * config.stride) % about.frames


def _size(config: ViewConfig, about: SequenceMeta) -> tuple[int, int]:
    if config.size is None:
        return about.height, about.width
    return (config.size, config.size) if isinstance(config.size, int) else config.size


def _draw_background(config: ViewConfig, rng: np.random.Generator) -> Image.Image | None:
    if config.backgrounds is None:
        return None
    found = _images_in(config.backgrounds)
    return Image.open(found[int(rng.integers(len(found)))]).convert("RGB")


@functools.cache
def _images_in(folder: Path) -> tuple[Path, ...]:
    found = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _IMAGES)
    if not (paths := tuple(found)):
        raise ConfigError(f"{folder}: no images to lay under; expected files of {sorted(_IMAGES)}")
    return paths


def render_view(
    frames: Frames, size: tuple[int, int], config: ViewConfig, behind: Image.Image | None = None
) -> Shaped[np.ndarray, "t h w c"]:
    """Resize stored frames and lay them over the background, on sRGB values as displayed.

    Alpha is multiplied in before resizing, so hidden colour never bleeds into an edge. Whole
    factors downwards are exact means over boxes of pixels; others are Pillow's bilinear filter,
    which averages when it shrinks.

    Args:
        frames: straight-alpha RGBA, uint8.
        size: (height, width) wanted.
        config: background and dtype.
        behind: an RGB image to lay under instead of the config's colour; cut to fit.

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
    under = _under(config, behind, size)
    for frame, place in zip(frames, out, strict=True):  # one at a time stays in the cache
        render_frame(frame, under, image)
        if config.dtype == "uint8":
            np.rint(np.multiply(image, 255, out=image), out=image)
        place[:] = image
    return out


def _under(
    config: ViewConfig, behind: Image.Image | None, size: tuple[int, int]
) -> tuple[Any, ...] | None:
    """Return what lies under each of R, G, B: a level, or a plane of levels."""
    if config.background is None:
        return None
    if behind is None:
        return tuple(np.float32(level) for level in background_of(config))
    cut = np.asarray(ImageOps.fit(behind, (size[1], size[0]), Image.Resampling.BILINEAR))
    return tuple(cut[..., channel] * np.float32(1 / 255) for channel in range(3))


def background_of(config: ViewConfig) -> Colour:
    """Return the background as sRGB in [0, 1]; black where none was asked for."""
    if isinstance(config.background, str):
        return _NAMED[config.background]
    return config.background or _NAMED["black"]

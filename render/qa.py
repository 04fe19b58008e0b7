"""Check what was rendered before it is kept: is it the clip, whole, and without artefacts.

A check is a pure function of images, or of what was counted while they were developed. It returns
a ``Finding``: the measured value beside its limit, the unit, and a sentence. A clip whose value
exceeds a limit is a fault of the asset or of the renderer, and no sample. To add one: write it
here, list it in ``findings``, give it a setting in ``QaConfig`` and a column in the ledger.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from pydantic import Field

from render.paths import Views
from shards.config import Config
from shards.sample import Frames

_SOLID, _TOUCHED = 128, 8  # alpha of a pixel that is mostly covered; of one that is met at all
_BLACK_LEVEL = 8  # no channel of a black pixel is brighter
_FLAT_LEVELS = 3  # an image whose channels span less has one colour
_TIPS_PX = 4.0  # of an object's length: both ends may be too thin for any sample to meet them
_SAME_LEVELS = 1  # pixels this close count as equal
# Blender paints a missing texture (1, 0, 1): under white light red and blue stay equal, and green
# is what the gloss adds.
_MAGENTA_VALUE, _MAGENTA_GREEN, _MAGENTA_APART = 96, 0.4, 0.06
_FIREFLY_RATIO, _FIREFLY_ABOVE = 8.0, 2.0  # times the brightest neighbour; linear, white is 1


class QaConfig(Config):
    """Limits of the checks on rendered images. A clip beyond one is rejected."""

    empty_share_max: float = Field(
        default=0.5, ge=0, le=1, description="share of images that show nothing"
    )
    black_share_max: float = Field(
        default=0.5, ge=0, le=1, description="share of images that are black where they show it"
    )
    flat_share_max: float = Field(
        default=0.9, ge=0, le=1, description="share of images of one single colour; 1: any"
    )
    frozen_share_max: float = Field(
        default=0.99, ge=0, le=1,
        description="share of image pairs, same camera and another time, that are equal; 1: any",
    )  # fmt: skip
    same_view_share_max: float = Field(
        default=0.99, ge=0, le=1, description="share of orbit images equal to the first; 1: any"
    )
    unreadable_textures_max: int = Field(
        default=0, ge=0, description="textures in use without pixels; Blender paints them magenta"
    )
    magenta_share_max: float = Field(
        default=0.3, ge=0, le=1, description="visible pixels in Blender's missing-texture colour"
    )
    not_finite_max: int = Field(default=0, ge=0, description="rendered pixels with NaN or infinity")
    border_images_max: int = Field(
        default=0, ge=0, description="images whose border cuts the object off"
    )
    firefly_share_max: float = Field(
        default=5e-3, ge=0, le=1, description="visible pixels far brighter than all neighbours"
    )
    outside_max_px: float = Field(
        default=2.0, ge=0, description="how far an image may reach beyond the projected geometry"
    )
    missing_share_max: float = Field(
        default=0.4, ge=0, le=1,
        description="how much of the projected geometry's width or height may stay unseen, where "
        "nothing is see-through",
    )  # fmt: skip


# Of every check, the gravest first: the setting that limits it, and the unit of what it measures.
LIMITS: dict[str, tuple[str, str]] = {
    "qa_not_finite": ("not_finite_max", "pixels"),
    "blank_images": ("empty_share_max", "share of images"),
    "qa_black": ("black_share_max", "share of images"),
    "qa_texture": ("unreadable_textures_max", "textures"),
    "qa_magenta": ("magenta_share_max", "share of visible pixels"),
    "qa_flat": ("flat_share_max", "share of images"),
    "qa_same_views": ("same_view_share_max", "share of images"),
    "qa_frozen": ("frozen_share_max", "share of image pairs"),
    "qa_border": ("border_images_max", "images"),
    "qa_outside": ("outside_max_px", "px"),
    "qa_missing": ("missing_share_max", "share of the box's side"),
    "qa_fireflies": ("firefly_share_max", "share of visible pixels"),
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What only the road from linear pixels to images can tell.

    Attributes:
        not_finite: rendered pixels with a NaN or infinite channel.
        fireflies: see ``count_fireflies``.
        visible: rendered pixels that show anything.
        boxes: (t, 4) of each sequence: left, top, right, bottom of the projected geometry in
            pixels; NaN where there is none, or some of it lies behind the camera.
        complete: whether that geometry is all that is drawn (no hair, no volumes).
        opaque: whether no material lets anything through.
        unreadable: textures in use that have no pixels.
    """

    not_finite: int
    fireflies: int
    visible: int
    boxes: dict[str, Float64[np.ndarray, "t 4"]]
    complete: bool
    opaque: bool
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was measured, and what it is held against.

    Attributes:
        rule: stable name of the verdict.
        value: in ``unit``; NaN where there was nothing to measure.
        limit: the largest value that passes.
    """

    rule: str
    value: float
    limit: float
    unit: str
    sentence: str

    @property
    def is_fault(self) -> bool:
        """Tell whether the value exceeds its limit; what cannot be measured is no fault."""
        return self.value > self.limit


def findings(
    images: dict[str, Frames],
    views: dict[str, Views],
    evidence: Evidence,
    config: QaConfig,
    follows: bool,
) -> list[Finding]:
    """Run all checks on a clip, the gravest faults first.

    Args:
        images: RGBA of each sequence.
        views: their cameras and times.
        evidence: counted while they were developed.
        config: limits.
        follows: the camera goes along with the object. What only travels then stands still in
            the picture, and equal images are no fault.
    """
    every = [image for frames in images.values() for image in frames]
    return [
        not_finite(evidence, config),
        empty(every, config),
        black(every, config),
        texture(evidence, config),
        magenta(every, config),
        flat(every, config),
        same_views(images.get("orbit"), config),
        frozen(images, views, config, follows),
        border(images, evidence, config),
        bounds_outside(images, evidence, config),
        bounds_missing(images, evidence, config),
        fireflies(evidence, config),
    ]


def not_finite(evidence: Evidence, config: QaConfig) -> Finding:
    """NaN and infinity come of broken geometry and shaders, and survive no filter."""
    count = evidence.not_finite
    return Finding(
        "qa_not_finite", count, config.not_finite_max, "pixels",
        f"{count} rendered pixels are NaN or infinite",
    )  # fmt: skip


def empty(images: list[np.ndarray], config: QaConfig) -> Finding:
    """Nothing to see, as with a material that is all clear."""
    share = _share(images, lambda image: not image[..., 3].any())
    return Finding(
        "blank_images", share, config.empty_share_max, "share of images",
        f"{share:.0%} of the images show nothing",
    )  # fmt: skip


def black(images: list[np.ndarray], config: QaConfig) -> Finding:
    """No light reaches it, or its normals and materials are broken."""
    share = _share_of_shown(
        images, lambda colours: bool(np.percentile(colours.max(axis=1), 99) <= _BLACK_LEVEL)
    )
    return Finding(
        "qa_black", share, config.black_share_max, "share of images",
        f"{share:.0%} of the images are black where they show the object",
    )  # fmt: skip


def flat(images: list[np.ndarray], config: QaConfig) -> Finding:
    """One colour without shading or texture: a silhouette, and no picture of anything."""
    share = _share_of_shown(
        images, lambda colours: bool(np.ptp(colours, axis=0).max() < _FLAT_LEVELS)
    )
    return Finding(
        "qa_flat", share, config.flat_share_max, "share of images",
        f"{share:.0%} of the images have one single colour",
    )  # fmt: skip


def texture(evidence: Evidence, config: QaConfig) -> Finding:
    """A texture is there, but cannot be decoded. Missing files are done without before."""
    names = ", ".join(evidence.unreadable)
    return Finding(
        "qa_texture", len(evidence.unreadable), config.unreadable_textures_max, "textures",
        f"textures without pixels are painted magenta: {names}",
    )  # fmt: skip


def magenta(images: list[np.ndarray], config: QaConfig) -> Finding:
    """Blender's colour for a texture that it could not read, however that came about.

    Things may be magenta: a purple wall or a neon effect has up to a seventh of such pixels in
    real assets, so the limit lies well above.
    """
    shown = np.concatenate([_colours(image) for image in images])
    if len(shown) == 0:
        share = float("nan")
    else:
        red, green, blue = shown.T.astype(np.float32)
        brightest = np.maximum(red, blue)
        share = float(
            np.mean(
                (brightest >= _MAGENTA_VALUE)
                & (np.abs(red - blue) <= _MAGENTA_APART * brightest)
                & (green <= _MAGENTA_GREEN * brightest)
            )
        )
    return Finding(
        "qa_magenta", share, config.magenta_share_max, "share of visible pixels",
        f"{share:.1%} of what is seen has the colour of a missing texture",
    )  # fmt: skip


def same_views(orbit: Frames | None, config: QaConfig) -> Finding:
    """All around the object and always the same picture: camera and clip stood still."""
    share = float("nan")
    if orbit is not None and len(orbit) > 1:
        share = float(np.mean([_equal(orbit[0], image) for image in orbit[1:]]))
    return Finding(
        "qa_same_views", share, config.same_view_share_max, "share of images",
        f"{share:.0%} of the orbit's images are equal to its first",
    )  # fmt: skip


def frozen(
    images: dict[str, Frames], views: dict[str, Views], config: QaConfig, follows: bool
) -> Finding:
    """The clip moves, and no picture shows it: static and orbit are equal, and fixed cameras."""
    first: dict[tuple[float, float, float], tuple[int, np.ndarray]] = {}
    equal: list[bool] = []
    for name in sorted(images, key=lambda name: name != "static"):  # its times are all the start
        for key, image in zip(views[name].image_keys(), images[name], strict=True):
            azimuth, elevation, time, distance = key
            start, before = first.setdefault((azimuth, elevation, distance), (time, image))
            if start != time:
                equal.append(_equal(before, image))
    share = float(np.mean(equal)) if equal and not follows else float("nan")
    return Finding(
        "qa_frozen", share, config.frozen_share_max, "share of image pairs",
        f"{share:.0%} of the images equal those of the same camera at another time",
    )  # fmt: skip


def border(images: dict[str, Frames], evidence: Evidence, config: QaConfig) -> Finding:
    """The object is seen at the outermost row or column, and reaches beyond.

    The pixel filter smears an object that ends just inside the frame over its border, the more so
    the smaller the image is. So what counts is whether the geometry leaves the frame; where that
    cannot be told (hair), whether border pixels are mostly covered.
    """
    count, total = 0, 0
    for name, frames in images.items():
        height, width = frames.shape[1:3]
        for box, image in zip(evidence.boxes[name], frames, strict=True):
            total += 1
            inside = (box[:2] >= 0).all() and box[2] <= width and box[3] <= height
            if inside and evidence.complete:
                continue
            alpha = image[..., 3]
            edges = (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1])
            least = _TOUCHED if evidence.complete else _SOLID
            count += any(int(edge.max()) >= least for edge in edges)
    return Finding(
        "qa_border", count, config.border_images_max, "images",
        f"in {count} of {total} images the object is cut off by the border",
    )  # fmt: skip


def fireflies(evidence: Evidence, config: QaConfig) -> Finding:
    """Single pixels of noise that shine like lamps."""
    share = evidence.fireflies / evidence.visible if evidence.visible else float("nan")
    return Finding(
        "qa_fireflies", share, config.firefly_share_max, "share of visible pixels",
        f"{evidence.fireflies} rendered pixels are far brighter than all their neighbours",
    )  # fmt: skip


def bounds_outside(images: dict[str, Frames], evidence: Evidence, config: QaConfig) -> Finding:
    """Something is drawn where no geometry is: the wrong pose, time or camera."""
    worst = float("nan")
    if evidence.complete:
        for box, seen in _boxes(images, evidence, _SOLID):
            over = np.concatenate([box[:2] - seen[:2], seen[2:] - box[2:]]).max()
            worst = float(np.fmax(worst, max(over, 0.0)))
    return Finding(
        "qa_outside", worst, config.outside_max_px, "px",
        f"the picture reaches {worst:.1f} px beyond the projected geometry",
    )  # fmt: skip


def bounds_missing(images: dict[str, Frames], evidence: Evidence, config: QaConfig) -> Finding:
    """Geometry that should fill the picture is not drawn. Only told where all is opaque.

    The value is a share of the box's width or height, less what thin tips may lack.
    """
    worst = float("nan")
    if evidence.complete and evidence.opaque:
        for box, seen in _boxes(images, evidence, 1):
            size = np.maximum(box[2:] - box[:2], 1.0)
            short = size - (np.minimum(seen[2:], box[2:]) - np.maximum(seen[:2], box[:2]))
            worst = float(np.fmax(worst, max(((short - _TIPS_PX) / size).max(), 0.0)))
    return Finding(
        "qa_missing", worst, config.missing_share_max, "share of the box's side",
        f"{worst:.0%} of the projected geometry's width or height is not in the picture",
    )  # fmt: skip


def count_fireflies(linear: Float32[np.ndarray, "h w 4"]) -> int:
    """Count rendered pixels that are much brighter than each of their eight neighbours.

    A highlight covers more than one pixel of an image that is rendered twice as fine as it will
    be; a firefly is one sample's. Only pixels amid the object count: a spark is one pixel, too.
    """
    brightest = linear[..., :3].max(axis=-1)
    solid = linear[..., 3] >= _SOLID / 255
    rows, columns = np.nonzero(solid & (brightest > _FIREFLY_ABOVE))
    light = np.pad(np.where(solid, brightest, np.inf), 1, constant_values=np.inf)
    around = [
        light[1 + dy + rows, 1 + dx + columns] for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx
    ]
    return int((brightest[rows, columns] > _FIREFLY_RATIO * np.maximum.reduce(around)).sum())


def _boxes(
    images: dict[str, Frames], evidence: Evidence, alpha_min: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pair each image's projected box, clipped to the image, with the box of what is seen."""
    pairs = []
    for name, frames in images.items():
        height, width = frames.shape[1:3]
        for box, image in zip(evidence.boxes[name], frames, strict=True):
            solid = image[..., 3] >= alpha_min
            rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
            if len(rows) == 0 or not np.isfinite(box).all():
                continue
            seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)
            pairs.append((np.clip(box, 0, [width, height, width, height]), seen))
    return pairs


def _colours(image: np.ndarray) -> np.ndarray:
    return image[image[..., 3] >= _SOLID][:, :3]


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return int(np.abs(one.astype(np.int16) - other).max()) <= _SAME_LEVELS


def _share(images: list[np.ndarray], holds: Callable[[np.ndarray], bool]) -> float:
    return float(np.mean([holds(image) for image in images]))


def _share_of_shown(images: list[np.ndarray], holds: Callable[[np.ndarray], bool]) -> float:
    """Return the share of images with the property, of those that show anything solid."""
    shown = [colours for colours in map(_colours, images) if len(colours)]
    return _share(shown, holds) if shown else float("nan")

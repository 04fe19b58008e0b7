"""Small pictures of kept clips: reads samples where the index says they lie, makes sprite strips.

A strip is one WebP with ``STRIP_FRAMES`` square frames side by side, a row per sequence. The
page shows one frame of it and steps through the others, so an animated preview costs one image and
no script.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from shards import index
from shards.errors import SampleError, ShardError
from shards.files import write_atomic
from shards.mirror import read_sample_bytes
from shards.sample import SampleMeta, decode_sequence, members_of

STRIP_FRAMES = 12  # the page's CSS steps() says the same number
STRIP_SIZE_PX = 96
_QUALITY = 78  # of lossy WebP; 5-20 kB a strip
PREFERRED = ("orbit", "front", "static")  # rows of a strip


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample in memory, its sheets still encoded."""

    meta: SampleMeta
    members: Mapping[str, bytes]

    def frames(self, sequence: str) -> UInt8[np.ndarray, "t h w 4"]:
        """Decode one sequence."""
        return decode_sequence(self.meta, self.members, sequence)


def read_sample(run: Path, entry: index.IndexEntry) -> Sample:
    """Read one sample at the place the index gives.

    Raises:
        ShardError: if the tar is not there.
        SampleError: if these bytes of it are not that sample.
    """
    try:
        data = read_sample_bytes(run, entry)
    except OSError as error:
        raise ShardError(f"{entry.shard}.tar: cannot be read: {error.strerror}") from error
    where = f"{entry.shard}.tar: sample {entry.key!r}"
    if len(data) != entry.length:
        raise SampleError(f"{where}: {len(data)} of {entry.length} bytes are there; it was cut off")
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise SampleError(f"{where}: its bytes do not have the sha256 of the index")
    members = members_of(data, where)
    document = members.get(f"{entry.key}.json")
    if document is None:
        raise SampleError(f"{where}: found {sorted(members)} in its place")
    meta = SampleMeta.parse(document, where)
    if meta.key != entry.key:  # keys name files, so only a checked one may leave here
        raise SampleError(f"{where}: its metadata says {meta.key!r}")
    return Sample(meta, members)


def spread(frames: int, wanted: int) -> list[int]:
    """Choose frames evenly over a sequence, the first among them; short ones repeat."""
    return [place * frames // wanted for place in range(wanted)]


def shrink(frame: UInt8[np.ndarray, "h w 4"], size_px: int) -> Image.Image:
    """Fit a straight-alpha frame into a transparent square.

    Scaled with premultiplied colour: straight alpha would pull the black of invisible pixels into
    the outline.
    """
    height, width = frame.shape[:2]
    scale = size_px / max(height, width)
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(frame).convert("RGBa")
    image = image.resize(target, Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BICUBIC)
    square = Image.new("RGBA", (size_px, size_px))
    square.paste(image.convert("RGBA"), ((size_px - target[0]) // 2, (size_px - target[1]) // 2))
    return square


def strip(sequences: Sequence[UInt8[np.ndarray, "t h w 4"]]) -> bytes:
    """Make the sprite strip of one or more sequences, a row each, as WebP bytes."""
    size = (STRIP_FRAMES * STRIP_SIZE_PX, len(sequences) * STRIP_SIZE_PX)
    sheet = Image.new("RGBA", size)
    for row, frames in enumerate(sequences):
        for place, frame in enumerate(spread(len(frames), STRIP_FRAMES)):
            at = place * STRIP_SIZE_PX, row * STRIP_SIZE_PX
            sheet.paste(shrink(frames[frame], STRIP_SIZE_PX), at)
    return bytes(
        imagecodecs.webp_encode(np.asarray(sheet), level=_QUALITY, lossless=False, method=4)
    )


@dataclass(frozen=True, slots=True)
class Look:
    """What the page shows of a kept clip.

    Attributes:
        strip: WebP with one row of frames per name in ``rows``.
        activity: (times_s, change) of the fixed view: how much each image differs from the one
            before, mean over its pixels of the absolute difference over white, 0 to 1. None
            without ``front``, or with a single image.
        cameras: sequence -> (azimuth_deg, elevation_deg) of every image.
        versions: of what made the sample.
    """

    strip: bytes
    rows: tuple[str, ...]
    activity: tuple[list[float], list[float]] | None
    cameras: dict[str, list[tuple[float, float]]]
    versions: dict[str, str]


def look_of(run: Path, entry: index.IndexEntry) -> Look:
    """Look at a kept clip: ``orbit``, ``front`` and ``static``, or else whichever it has.

    Raises:
        ShardError: if its shard is not there.
        SampleError: if the sample is damaged.
    """
    sample = read_sample(run, entry)
    present = [name for name in PREFERRED if name in sample.meta.sequences]
    rows = tuple(present or sorted(sample.meta.sequences)[:1])
    if not rows:
        raise SampleError(f"sample {entry.key!r} has no image sequence")
    frames = {name: sample.frames(name) for name in rows}
    front = frames.get("front")
    activity = None
    if front is not None and len(front) > 1:
        times_s = sample.meta.sequences["front"].times_s
        change = [round(value, 5) for value in changes(front)]
        activity = [round(time, 4) for time in times_s[1:]], change
    cameras = {
        name: [
            (round(azimuth, 1), round(elevation, 1))
            for azimuth, elevation in zip(one.azimuth_deg, one.elevation_deg, strict=True)
        ]
        for name, one in sample.meta.sequences.items()
    }
    return Look(strip(list(frames.values())), rows, activity, cameras, sample.meta.versions)


def changes(frames: UInt8[np.ndarray, "t h w 4"]) -> list[float]:
    """Measure how much each image differs from the one before: mean over pixels and colours.

    Returns:
        t - 1 values, 0 to 1; straight alpha is composited over white first.
    """
    found: list[float] = []
    before: np.ndarray | None = None
    for frame in frames:
        alpha = frame[..., 3:].astype(np.float32) / 255
        seen = frame[..., :3].astype(np.float32) / 255 * alpha + (1 - alpha)
        if before is not None:
            found.append(float(np.abs(seen - before).mean()))
        before = seen
    return found


class Previews:
    """The strips of one page: inside it while they are small together, else files beside it.

    All of them go one way, so that the page either needs nothing or needs its folder.
    """

    def __init__(self, folder: Path, inline_limit_bytes: int) -> None:
        self.folder = folder
        self.inline_limit_bytes = inline_limit_bytes
        self.inline = True
        self._strips: dict[str, bytes] = {}  # emptied when they move to files
        self._total = 0
        self.keys: list[str] = []

    def add(self, key: str, data: bytes) -> None:
        """Take the strip of a sample."""
        self.keys.append(key)
        self._strips[key] = data
        self._total += len(data) * 4 // 3
        if self.inline and self._total <= self.inline_limit_bytes:
            return
        self.inline = False
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, strip_bytes in self._strips.items():
            write_atomic(self.folder / f"{name}.webp", strip_bytes)
        self._strips.clear()

    def sources(self) -> dict[str, str]:
        """Return the image source of each sample: a data URI or a path relative to the page."""
        if not self.inline:
            return {key: f"{self.folder.name}/{key}.webp" for key in self.keys}
        return {
            key: "data:image/webp;base64," + base64.b64encode(data).decode()
            for key, data in self._strips.items()
        }

    def clear_stale(self) -> None:
        """Remove strips that an earlier page left and this one does not show."""
        wanted = set() if self.inline else {f"{key}.webp" for key in self.keys}
        for path in self.folder.glob("*.webp"):
            if path.name not in wanted:
                path.unlink()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

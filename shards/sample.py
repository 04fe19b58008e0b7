"""The sample: one kept clip as a metadata document and one image sheet per sequence and pass.

In a shard a sample is a run of tar members that share the key ``<uid>-<clip index>``:
``KEY.json`` (``SampleMeta``), then ``KEY.<sequence>.<pass>.<ext>``; the extension names the codec
(``shards.codec``). ``shards/SCHEMA.md`` documents all of it. A new field or
another meaning raises ``SCHEMA_VERSION``; older documents are read with the defaults of new fields.
"""

import io
import json
import re
import tarfile
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from jaxtyping import UInt8
from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from shards.arrays import ARRAY_EXT, decode_array
from shards.codec import Codec, decode_frames, encode_frames
from shards.config import Config
from shards.errors import SampleError
from shards.files import dump_json

SCHEMA_VERSION = 3

_IF_SAID = ("name", "tags", "geometry")  # fields that are left out where they say nothing
_KEY = re.compile(r"[A-Za-z0-9_-]+-[0-9]{3,}")

Vector3 = tuple[float, float, float]
Matrix3 = tuple[Vector3, Vector3, Vector3]
Vector4 = tuple[float, float, float, float]
Matrix4 = tuple[Vector4, Vector4, Vector4, Vector4]
Frames = UInt8[np.ndarray, "t h w 4"]


def sample_key(uid: str, clip_index: int) -> str:
    """Name a sample. Keys hold no dot: WebDataset splits member names at the first one."""
    return f"{uid}-{clip_index:03d}"


class AssetMeta(Config):
    """Where the geometry came from and on which terms."""

    uid: str
    path: str = Field(description="as given, relative to the input root")
    source: str = Field(description="'local', 'objaverse', ...")
    format: str = Field(description="'glb', 'fbx', ...")
    sha256: str
    licence: str = "unknown"
    attribution: str = ""
    name: str = Field(default="", description="as the source calls it; left out where empty")
    tags: str = Field(default="", description="likewise; separated by semicolons")

    geometry: str = Field(
        default="", description="what copies of the shape are known by: shards.likeness.Sketch"
    )

    @model_serializer(mode="wrap")
    def _said(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = serialize(self)
        return {key: v for key, v in document.items() if v or key not in _IF_SAID}


class ClipMeta(Config):
    """One animation of the asset, and the stretch of it that was sampled."""

    index: int = Field(ge=0)
    name: str
    duration_s: float = Field(ge=0)
    window_start_s: float
    window_stop_s: float


class WorldMeta(Config):
    """World and asset coordinates, both z up; drift(t) is zero where none is listed.

    ``keep`` and ``follow``: world = (asset + offset) * scale, asset = world / scale - offset.
    ``remove``: world = (asset + offset) * scale - drift(t), so the object's own path is put back by
    asset = (world + drift(t)) / scale - offset, and a camera at time t by adding drift(t) to the
    translation of its ``c2w``, which makes it the camera that ``follow`` has.
    """

    scale: float = Field(gt=0)
    offset: Vector3
    root_motion: Literal["keep", "remove", "follow"] = Field(
        default="keep",
        description="keep: cameras look at the origin; remove: the world moves so that the object "
        "stays at the origin; follow: cameras look at drift(t)",
    )
    drift_times_s: tuple[float, ...] = Field(
        default=(), description="each time that some image shows; seconds, as in times_s"
    )
    drift: tuple[Vector3, ...] = Field(
        default=(), description="centre of the object at those times, smoothed; world units"
    )

    @model_validator(mode="after")
    def _drift_has_times(self) -> Self:
        if len(self.drift) != len(self.drift_times_s):
            raise ValueError(f"{len(self.drift)} drifts for {len(self.drift_times_s)} times")
        return self


class SequenceMeta(Config):
    """T images; entry i of every list belongs to image i."""

    frames: int = Field(ge=1)
    width: int = Field(ge=1, description="of one image, pixels")
    height: int = Field(ge=1)
    layout: tuple[int, int] = Field(description="rows, columns of a sheet, filled row by row")
    passes: tuple[str, ...] = Field(description="the members KEY.<sequence>.<pass>.<ext>")
    times_s: tuple[float, ...] = Field(description="seconds from the start of the clip")
    azimuth_deg: tuple[float, ...] = Field(
        description="0 = the front, counter-clockwise from above"
    )
    elevation_deg: tuple[float, ...]
    K: tuple[Matrix3, ...] = Field(description="pixels; (0, 0) is the top left corner")
    c2w: tuple[Matrix4, ...] = Field(description="camera to world, OpenCV axes")

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        for name in ("times_s", "azimuth_deg", "elevation_deg", "K", "c2w"):
            found = len(getattr(self, name))
            if found != self.frames:
                raise ValueError(f"{name} has {found} entries for {self.frames} frames")
        if self.layout[0] * self.layout[1] < self.frames:
            raise ValueError(f"layout {self.layout} holds fewer than {self.frames} frames")
        return self


class MotionMagnitude(Config):
    """How much ``orbit`` differs from ``static`` (Diffusion4D, eq. 1).

    ``pixel_sum`` is the mean over frames of the sum over pixels and RGB of the squared
    difference, colours in [0, 1] over the stated background. The paper states no unit; to compare
    image sizes divide by 3 * width * height.
    """

    pixel_sum: float = Field(ge=0)
    background: Literal["white"] = "white"


class ArrayMeta(Config):
    """One array member ``KEY.<name>.npy.zst``; real values are ``stored * scale``."""

    dtype: str
    shape: tuple[int, ...]
    unit: str = Field(description="of the real values, or what the numbers mean")
    scale: float = 1.0


class JointsMeta(Config):
    """The skeleton; entry i of ``joints.points`` is the head of bone i."""

    names: tuple[str, ...]
    parents: tuple[int, ...] = Field(description="index of the parent, -1 = a root")


class SampleMeta(Config):
    """The document ``KEY.json``."""

    schema_version: int = SCHEMA_VERSION
    key: str
    asset: AssetMeta
    clip: ClipMeta
    world: WorldMeta
    sequences: dict[str, SequenceMeta]
    arrays: dict[str, ArrayMeta] = Field(
        default_factory=dict,
        description="further members: '<sequence>.<pass>', 'tracks.<name>', 'joints.points'",
    )
    objects: tuple[str, ...] = Field(default=(), description="names behind '<sequence>.index'")
    materials: tuple[str, ...] = Field(default=(), description="names behind '<sequence>.index'")
    joints: JointsMeta | None = None
    time_axis_s: tuple[float, ...] = Field(
        default=(), description="seconds; the first axis of 'tracks.points' and 'joints.points'"
    )
    motion_magnitude: MotionMagnitude | None = None
    scores: dict[str, float | None] = Field(default_factory=dict, description="see the ledger")
    captions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = Field(default=(), description="missing textures, hidden objects")
    lights: tuple[dict[str, float | str], ...] = ()
    colour: dict[str, str] = Field(
        default={"space": "sRGB", "view_transform": "Standard", "alpha": "straight"}
    )
    versions: dict[str, str] = Field(default_factory=dict)
    fingerprint: str = ""

    @model_validator(mode="after")
    def _key_is_valid(self) -> Self:
        if not _KEY.fullmatch(self.key):
            raise ValueError(
                f"key {self.key!r} is not <uid>-<clip index>, letters, digits, - and _"
            )
        return self

    @classmethod
    def parse(cls, data: bytes, where: str) -> Self:
        """Read ``KEY.json``.

        Raises:
            SampleError: naming the place, the field and what is wrong with it.
        """
        try:
            meta = cls.model_validate_json(data)
        except ValidationError as error:
            _refuse_newer(data, where)  # new fields fail first; the version is what to name
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise SampleError(f"{where}: metadata field {field!r}: {first['msg']}") from error
        if meta.schema_version > SCHEMA_VERSION:
            _refuse_newer(data, where)
        return meta


def _refuse_newer(data: bytes, where: str) -> None:
    try:
        document = json.loads(data)
        version = document["schema_version"] if isinstance(document, dict) else None
    except (ValueError, KeyError):
        return
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise SampleError(
            f"{where}: schema version {version}, this orbit4d reads up to {SCHEMA_VERSION}; "
            "install a newer orbit4d"
        )


def motion_magnitude(orbit: Frames, static: Frames) -> MotionMagnitude:
    """Measure eq. 1 of Diffusion4D between two sequences with the same cameras."""
    total = 0.0
    for moving, frozen in zip(orbit, static, strict=True):  # a frame at a time: bounded memory
        difference = over_white(moving) - over_white(frozen)
        total += float(np.square(difference).sum())
    return MotionMagnitude(pixel_sum=total / len(orbit))


def over_white(image: UInt8[np.ndarray, "*n 4"]) -> np.ndarray:
    """Lay straight-alpha images over white: float64 RGB in [0, 1]."""
    alpha = image[..., 3:] / 255.0
    return image[..., :3] / 255.0 * alpha + (1.0 - alpha)


def encode_members(
    sequences: Mapping[str, Frames], codec: Codec
) -> tuple[dict[str, bytes], dict[str, tuple[int, int]]]:
    """Encode the RGBA sequences of a sample.

    Returns:
        ``"<sequence>.rgba.<ext>"`` -> bytes, as ``sample_to_tar`` takes them, and name -> layout.
    """
    members: dict[str, bytes] = {}
    layouts: dict[str, tuple[int, int]] = {}
    for name, frames in sequences.items():
        parts, layouts[name] = encode_frames(frames, codec)
        members |= {f"{name}.rgba.{ext}": data for ext, data in parts.items()}
    return members, layouts


def sample_to_tar(meta: SampleMeta, sheets: Mapping[str, bytes]) -> bytes:
    """Write a sample as a run of tar members without the end-of-archive blocks.

    Concatenating such runs and two zero blocks gives a valid tar. Headers carry no time, owner or
    machine, so equal samples are equal bytes.

    Args:
        meta: the document.
        sheets: ``"<sequence>.<pass>.<ext>"`` -> bytes; exactly those that ``meta`` lists. Without
            an extension they are WebP sheets.

    Raises:
        SampleError: if the sheets and the document do not agree.
    """
    expected = {f"{name}.{kind}" for name, seq in meta.sequences.items() for kind in seq.passes}
    expected |= set(meta.arrays)
    named = {name if name.count(".") > 1 else f"{name}.webp": sheets[name] for name in sheets}
    if expected != {".".join(name.split(".")[:2]) for name in named}:
        raise SampleError(
            f"sample {meta.key!r}: sheets {sorted(sheets)}, but its metadata lists "
            f"{sorted(expected)}"
        )
    members = {f"{meta.key}.json": dump_json(meta.model_dump(mode="json"))}
    members |= {f"{meta.key}.{name}": named[name] for name in sorted(named)}
    chunks: list[bytes] = []
    for name, data in members.items():
        info = tarfile.TarInfo(name)
        info.size = len(data)
        chunks.append(info.tobuf(tarfile.PAX_FORMAT))
        chunks.append(data + bytes(-len(data) % tarfile.BLOCKSIZE))
    return b"".join(chunks)


def members_of(run: bytes, where: str) -> dict[str, bytes]:
    """Split a sample's tar run into its members.

    Raises:
        SampleError: if it is not a whole run of one sample.
    """
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(run), mode="r:") as archive:
            for info in archive:
                if info.isreg():  # cut out: reading through the archive copies three times
                    members[info.name] = run[info.offset_data : info.offset_data + info.size]
            end = archive.offset  # tarfile takes a damaged later header for the end
    except (tarfile.TarError, ValueError) as error:
        raise SampleError(f"{where}: not a tar run: {error}") from error
    if end != len(run):
        raise SampleError(f"{where}: {len(run)} bytes, but its tar run ends at byte {end}")
    if len({name.partition(".")[0] for name in members}) != 1:
        raise SampleError(f"{where}: expected the members of one sample, found {sorted(members)}")
    return members


def parts_of(members: Mapping[str, bytes], key: str, sequence: str, kind: str) -> dict[str, bytes]:
    """Find the members of one sequence and pass: extension -> bytes."""
    prefix = f"{key}.{sequence}.{kind}."
    return {name[len(prefix) :]: data for name, data in members.items() if name.startswith(prefix)}


def decode_stored(meta: SampleMeta, members: Mapping[str, bytes], name: str) -> np.ndarray:
    """Decode an array member as it is stored; multiply by ``meta.arrays[name].scale``.

    Args:
        meta: the document.
        members: of the sample.
        name: ``"<sequence>.<pass>"``, ``"tracks.<name>"`` or ``"joints.points"``.

    Raises:
        SampleError: if the sample has no such array or its bytes are damaged.
    """
    file = f"{meta.key}.{name}.{ARRAY_EXT}"
    if name not in meta.arrays or file not in members:
        raise SampleError(
            f"sample {meta.key!r} has arrays {sorted(meta.arrays)}, not {name!r}; "
            "render with render.passes to have more"
        )
    values = decode_array(members[file], f"sample {meta.key!r}, {name}")
    about = meta.arrays[name]
    if (str(values.dtype), values.shape) != (about.dtype, about.shape):
        raise SampleError(
            f"sample {meta.key!r}: {name} holds {values.dtype} {values.shape}, its metadata says "
            f"{about.dtype} {about.shape}"
        )
    return values


def decode_pass(meta: SampleMeta, members: Mapping[str, bytes], name: str) -> np.ndarray:
    """Decode an array member to real values: float32, but integers and flags as they are.

    Raises:
        SampleError: as ``decode_stored``.
    """
    values, scale = decode_stored(meta, members, name), meta.arrays[name].scale
    return values if scale == 1.0 else values * np.float32(scale)


def decode_sequence(
    meta: SampleMeta, members: Mapping[str, bytes], sequence: str, out: np.ndarray | None = None
) -> Frames:
    """Decode one RGBA sequence of a sample, whatever its codec.

    Args:
        meta: the sample's document.
        members: its tar members.
        sequence: which.
        out: optional C-contiguous array (frames, height, width, 4) to decode into.

    Raises:
        SampleError: if the sample has no such sequence or its sheet is damaged.
    """
    parts = parts_of(members, meta.key, sequence, "rgba")
    if sequence not in meta.sequences or not parts:
        raise SampleError(
            f"sample {meta.key!r} has sequences {sorted(meta.sequences)}, not {sequence!r}"
        )
    about = meta.sequences[sequence]
    try:
        shape = (about.frames, about.height, about.width)
        return decode_frames(parts, shape, about.layout, out)
    except SampleError as error:
        raise SampleError(f"sample {meta.key!r}: {sequence}: {error}") from error

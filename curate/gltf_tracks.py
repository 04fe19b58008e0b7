"""glTF animation tracks, sampled at any times as Blender plays them.

What is measured must be what is rendered, so three things differ from the glTF specification.
Blender turns each number of a track into a curve of its own, so rotations run along the chord of
their arc and are normalised, not along the arc (slerp). Its importer drops the tangents of splines
and lets Blender draw the smoothest curve through the keys, level at both ends. And times are frames
of 1/24 s in single precision: a key that falls on a sample is met exactly.

A character has a hundred tracks a clip, so tracks with the same keys are read and sampled together.
"""

from dataclasses import dataclass

import numpy as np

from curate.gltf_parts import INTERPOLATIONS, PATHS, Channels, GltfParts, HandOver
from curate.gltf_values import read_together

FPS = 24.0  # Blender's default scene, into which glTF is imported
_NEAR_WHOLE = 1e-4  # frames this close to a whole one are that one: see render.blender.pose
_NEAR_KEY = 1e-4  # and this close to a key, Blender takes the key
_MERGED = np.float32(0.01)  # keys this close become one
_SPLINE_KEYS_MAX = 100_000
_NUMBERS_MAX = 30_000_000  # in all tracks of a clip: 240 MB
_COMPONENTS = {"translation": 3, "rotation": 4, "scale": 3, "weights": 1}


@dataclass(frozen=True, slots=True)
class Tracks:
    """Tracks of one property of several nodes that have their keys at the same times.

    Attributes:
        path: ``translation``, ``rotation``, ``scale`` or ``weights``.
        nodes: glTF nodes, (g,).
        frames: (n,) when the keys stand, ascending.
        values: (g, n, c) at the keys.
        slopes: (g, n, c) per frame at the keys; None unless they are splines.
        stepped: whether a value holds until the next key.
    """

    path: str
    nodes: np.ndarray
    frames: np.ndarray
    values: np.ndarray
    slopes: np.ndarray | None
    stepped: bool

    @property
    def constant(self) -> int:
        """How many of them always have one value."""
        return int((self.values == self.values[:, :1]).all(axis=(1, 2)).sum())


@dataclass(frozen=True, slots=True)
class _Keys:
    """When the keys of a sampler stand: how many, their frames, and which are kept (None: all)."""

    count: int
    frames: np.ndarray
    kept: np.ndarray | None


def frames_of(times_s: np.ndarray) -> np.ndarray:
    """Turn seconds into the frames that Blender is sent to."""
    frames = np.asarray(times_s, np.float64) * FPS
    whole = np.round(frames)
    return np.where(np.abs(frames - whole) < _NEAR_WHOLE, whole, frames).astype(np.float32)


def read_tracks(parts: GltfParts, clip: int) -> list[Tracks]:
    """Read a clip's tracks. Of several for one property the first counts.

    Raises:
        HandOver: keys out of order, or their number does not fit: Blender is asked.
    """
    channels, accessors = parts.clips[clip], parts.accessors
    output = channels.output
    if (accessors.count[output] * accessors.components[output]).sum() > _NUMBERS_MAX:
        raise HandOver("a clip has very many keys")
    property_of = channels.node * len(PATHS) + channels.path
    _, first = np.unique(property_of, return_index=True)
    if len(first) < len(property_of):
        channels = channels.of(np.sort(first))
    if len(channels.node) and int(channels.node.max()) >= len(parts.nodes.mesh):
        raise HandOver("an animation points at a node that is not there")
    inputs, number = np.unique(channels.input, return_inverse=True)
    keys, same = _read_keys(parts, inputs)
    kind = (same[number] * len(PATHS) + channels.path) * len(INTERPOLATIONS)
    kind += channels.interpolation
    morphs = channels.path == PATHS.index("weights")
    if morphs.any():  # meshes differ in their number of targets
        length = np.where(morphs, accessors.count[channels.output], 0)
        kind = kind * (int(length.max()) + 1) + length
    _, first, group = np.unique(kind, return_index=True, return_inverse=True)
    return [
        _read_alike(parts, channels.of(np.flatnonzero(group == at)), keys[same[number[first[at]]]])
        for at in np.argsort(first).tolist()
    ]


def _read_keys(parts: GltfParts, inputs: np.ndarray) -> tuple[list[_Keys], np.ndarray]:
    """Read when the keys of samplers (s,) stand: the different ones, and which each has, (s,)."""
    different: list[_Keys] = []
    known: dict[bytes, int] = {}
    same = np.zeros(len(inputs), np.int64)
    counts = parts.accessors.count[inputs]
    for count in np.unique(counts).tolist():
        some = np.flatnonzero(counts == count)
        frames = (read_together(parts, inputs[some], 1)[..., 0] * FPS).astype(np.float32)
        for at, row in zip(some.tolist(), frames, strict=True):
            name = row.tobytes()
            if name not in known:
                known[name] = len(different)
                different.append(_merged(row))
            same[at] = known[name]
    return different, same


def _merged(frames: np.ndarray) -> _Keys:
    """Of several keys at the same time the first's time and the last's value hold.

    The same means within a hundredth of a frame; a whole frame is preferred to the first's time.
    """
    steps = np.diff(frames)
    if not len(frames) or (steps < 0).any():
        raise HandOver("keyframe times are missing or out of order")
    if not (steps <= _MERGED).any():
        return _Keys(len(frames), frames.astype(np.float64), None)
    kept, at = [0], [frames[0]]
    for i, frame in enumerate(frames[1:], 1):
        if frame - at[-1] > _MERGED:
            kept.append(i)
            at.append(frame)
        else:
            kept[-1] = i
            at[-1] = frame if frame == np.floor(frame) else at[-1]
    return _Keys(len(frames), np.array(at, np.float64), np.array(kept))


def _read_alike(parts: GltfParts, channels: Channels, keys: _Keys) -> Tracks:
    """Read the tracks of channels with the same path, interpolation and keys."""
    path = PATHS[channels.path[0]]
    interpolation = INTERPOLATIONS[channels.interpolation[0]]
    outputs = channels.output
    spline = interpolation == "CUBICSPLINE"
    count = keys.count * (3 if spline else 1)
    width = int(parts.accessors.count[outputs[0]]) // count if path == "weights" else 1
    if not width or (parts.accessors.count[outputs] != count * width).any():
        raise HandOver("a track's values do not fit its times")
    values = read_together(parts, outputs, _COMPONENTS[path])
    values = values.reshape(len(outputs), keys.count, 3 if spline else 1, -1)[:, :, int(spline)]
    values = values if keys.kept is None else values[:, keys.kept]
    slopes = None
    if spline:
        if path == "rotation":  # the shorter way round, from key to key
            turned = np.einsum("gni,gni->gn", values[:, 1:], values[:, :-1]) < 0
            values[:, 1:] *= np.where(np.cumsum(turned, axis=1) % 2, -1.0, 1.0)[..., None]
        slopes = _slopes(keys.frames, values)
    return Tracks(path, channels.node, keys.frames, values, slopes, interpolation == "STEP")


def _slopes(frames: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Slopes (g, n, c) of continuous acceleration, 0 at both ends: clamped cubic splines."""
    steps = np.diff(frames)
    if len(frames) > _SPLINE_KEYS_MAX:
        raise HandOver("a spline has very many keys")
    slopes = np.zeros_like(values)
    right = np.diff(values, axis=1) / steps[:, None] ** 2
    shares = np.zeros(len(frames))  # Thomas' algorithm on the tridiagonal system
    for i in range(1, len(frames) - 1):
        before, after = 1 / steps[i - 1], 1 / steps[i]
        pivot = 2 * (before + after) - before * shares[i - 1]
        shares[i] = after / pivot
        rise = 3 * (right[:, i - 1] + right[:, i])
        slopes[:, i] = (rise - before * slopes[:, i - 1]) / pivot
    for i in range(len(frames) - 2, 0, -1):
        slopes[:, i] -= shares[i] * slopes[:, i + 1]
    return slopes


_Place = tuple[np.ndarray, np.ndarray, np.ndarray]  # keys before and after, share between them


def sample_all(tracks: list[Tracks], frames: np.ndarray) -> list[np.ndarray]:
    """Sample tracks at frames (k,): values (g, k, c) of each; rotations are not normalised."""
    places: dict[int, _Place] = {}  # tracks often share their keys
    found: list[np.ndarray] = []
    for group in tracks:
        if id(group.frames) not in places:
            places[id(group.frames)] = _place(group.frames, frames.astype(np.float64))
        found.append(_sample(group, places[id(group.frames)]))
    return found


def _sample(tracks: Tracks, place: _Place) -> np.ndarray:
    before, after, share = place
    low = tracks.values[:, before]
    if tracks.stepped or len(tracks.frames) == 1:
        return low
    high = tracks.values[:, after]
    s = share[:, None]
    if tracks.slopes is not None:
        span = (tracks.frames[after] - tracks.frames[before])[:, None]
        leaving, arriving = tracks.slopes[:, before] * span, tracks.slopes[:, after] * span
        s2, s3 = s * s, s * s * s
        return (
            (2 * s3 - 3 * s2 + 1) * low + (s3 - 2 * s2 + s) * leaving
            + (3 * s2 - 2 * s3) * high + (s3 - s2) * arriving
        )  # fmt: skip
    if tracks.path == "rotation":  # the shorter way round
        high = np.where(np.einsum("gki,gki->gk", low, high)[..., None] < 0, -high, high)
    return low + (high - low) * s


def _place(keys: np.ndarray, frames: np.ndarray) -> _Place:
    """Find the keys before and after each frame, and how far between them it lies."""
    after = np.searchsorted(keys, frames + _NEAR_KEY, side="right")
    before = np.clip(after - 1, 0, len(keys) - 1)
    after = np.clip(after, 0, len(keys) - 1)
    span = keys[after] - keys[before]
    share = np.where(span > 0, (frames - keys[before]) / np.where(span > 0, span, 1.0), 0.0)
    return before, after, np.clip(share, 0.0, 1.0)

"""glTF animation tracks, sampled at any times as Blender plays them.

What is measured must be what is rendered, so three things differ from the glTF specification.
Blender turns each number of a track into a curve of its own, so rotations run along the chord of
their arc and are normalised, not along the arc (slerp). Its importer drops the tangents of splines
and lets Blender draw the smoothest curve through the keys, level at both ends. And times are frames
of 1/24 s in single precision: a key that falls on a sample is met exactly.
"""

from dataclasses import dataclass

import numpy as np

from curate.gltf_parts import Channel, GltfParts, HandOver
from curate.gltf_values import finite_floats

FPS = 24.0  # Blender's default scene, into which glTF is imported
_NEAR_WHOLE = 1e-4  # frames this close to a whole one are that one: see render.blender.pose
_NEAR_KEY = 1e-4  # and this close to a key, Blender takes the key
_MERGED = np.float32(0.01)  # keys this close become one
_SPLINE_KEYS_MAX = 100_000
_NUMBERS_MAX = 30_000_000  # in all tracks of a clip: 240 MB
_COMPONENTS = {"translation": 3, "rotation": 4, "scale": 3, "weights": 1}


@dataclass(frozen=True, slots=True)
class Track:
    """One animated property with its keys.

    Attributes:
        node: glTF node.
        path: ``translation``, ``rotation``, ``scale`` or ``weights``.
        frames: (n,) when the keys stand, ascending.
        values: (n, c) at the keys.
        slopes: (n, c) per frame at the keys; None unless the track is a spline.
        stepped: whether a value holds until the next key.
    """

    node: int
    path: str
    frames: np.ndarray
    values: np.ndarray
    slopes: np.ndarray | None
    stepped: bool

    @property
    def constant(self) -> bool:
        """Whether the track always has one value."""
        return bool((self.values == self.values[:1]).all())


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


def read_tracks(parts: GltfParts, clip: int) -> list[Track]:
    """Read a clip's tracks. Of several for one property the first counts.

    Raises:
        HandOver: keys out of order, or their number does not fit: Blender is asked.
    """
    outputs = [channel.output for channel in parts.clips[clip]]
    numbers = parts.accessors.count[outputs] * parts.accessors.components[outputs]
    if numbers.sum() > _NUMBERS_MAX:
        raise HandOver("a clip has very many keys")
    found: dict[tuple[int, str], Track] = {}
    keys: dict[int, _Keys] = {}
    for channel in parts.clips[clip]:
        if (channel.node, channel.path) in found:
            continue
        if channel.node >= len(parts.nodes.mesh):
            raise HandOver("an animation points at a node that is not there")
        if channel.input not in keys:
            keys[channel.input] = _read_keys(parts, channel.input)
        found[channel.node, channel.path] = _read_track(parts, channel, keys[channel.input])
    return list(found.values())


def _read_keys(parts: GltfParts, index: int) -> _Keys:
    """Read when keys stand. Of several at the same time the first's time and the last's value hold.

    The same means within a hundredth of a frame; a whole frame is preferred to the first's time.
    """
    frames = (finite_floats(parts, index, 1)[:, 0] * FPS).astype(np.float32)
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


def _read_track(parts: GltfParts, channel: Channel, keys: _Keys) -> Track:
    values = finite_floats(parts, channel.output, _COMPONENTS[channel.path])
    spline = channel.interpolation == "CUBICSPLINE"
    count = keys.count * (3 if spline else 1)
    width = 1
    if channel.path == "weights":
        width = len(values) // count
    if len(values) != count * width or not width:
        raise HandOver("a track's values do not fit its times")
    slopes = None
    values = values.reshape(keys.count, 3 if spline else 1, -1)[:, 1 if spline else 0]
    values = values if keys.kept is None else values[keys.kept]
    frames = keys.frames
    if spline:
        if channel.path == "rotation":  # the shorter way round, from key to key
            turned = np.einsum("ni,ni->n", values[1:], values[:-1]) < 0
            values[1:] *= np.where(np.cumsum(turned) % 2, -1.0, 1.0)[:, None]
        slopes = _slopes(frames, values)
    stepped = channel.interpolation == "STEP"
    return Track(channel.node, channel.path, frames, values, slopes, stepped)


def _slopes(frames: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Slopes (n, c) that make acceleration continuous, 0 at both ends: a clamped cubic spline."""
    steps = np.diff(frames)
    if len(frames) > _SPLINE_KEYS_MAX:
        raise HandOver("a spline has very many keys")
    slopes = np.zeros_like(values)
    rises = np.diff(values, axis=0)
    right = rises / steps[:, None] ** 2
    shares = np.zeros(len(frames))  # Thomas' algorithm on the tridiagonal system
    for i in range(1, len(frames) - 1):
        before, after = 1 / steps[i - 1], 1 / steps[i]
        pivot = 2 * (before + after) - before * shares[i - 1]
        shares[i] = after / pivot
        slopes[i] = (3 * (right[i - 1] + right[i]) - before * slopes[i - 1]) / pivot
    for i in range(len(frames) - 2, 0, -1):
        slopes[i] -= shares[i] * slopes[i + 1]
    return slopes


def sample(tracks: list[Track], frames: np.ndarray) -> list[np.ndarray]:
    """Sample tracks at frames (k,): values (k, c) each; rotations are not normalised."""
    places: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    found = []
    for track in tracks:
        key = id(track.frames)
        if key not in places:
            places[key] = _place(track.frames, frames.astype(np.float64))
        found.append(_sample(track, *places[key]))
    return found


def _place(keys: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the keys before and after each frame, and how far between them it lies."""
    after = np.searchsorted(keys, frames + _NEAR_KEY, side="right")
    before = np.clip(after - 1, 0, len(keys) - 1)
    after = np.clip(after, 0, len(keys) - 1)
    span = keys[after] - keys[before]
    share = np.where(span > 0, (frames - keys[before]) / np.where(span > 0, span, 1.0), 0.0)
    return before, after, np.clip(share, 0.0, 1.0)


def _sample(track: Track, before: np.ndarray, after: np.ndarray, share: np.ndarray) -> np.ndarray:
    low = track.values[before]
    if track.stepped or len(track.frames) == 1:
        return low
    high = track.values[after]
    s = share[:, None]
    if track.slopes is not None:
        span = (track.frames[after] - track.frames[before])[:, None]
        leaving, arriving = track.slopes[before] * span, track.slopes[after] * span
        s2, s3 = s * s, s * s * s
        return (
            (2 * s3 - 3 * s2 + 1) * low + (s3 - 2 * s2 + s) * leaving
            + (3 * s2 - 2 * s3) * high + (s3 - s2) * arriving
        )  # fmt: skip
    if track.path == "rotation":  # the shorter way round
        high = np.where(np.einsum("ki,ki->k", low, high)[:, None] < 0, -high, high)
    return low + (high - low) * s

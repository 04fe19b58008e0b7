"""glTF animations: samplers, channels, keyframes, and how long each clip lasts."""

from dataclasses import dataclass

import numpy as np

from curate.gltf_accessors import FLOAT, Accessors
from curate.gltf_file import Document, Row, mapping, references, rows
from curate.gltf_meshes import Meshes
from curate.gltf_scene import Nodes
from curate.inspect_types import ClipHeader, clean_text, fault, show

_KEYS_PER_TIME = {"LINEAR": 1, "STEP": 1, "CUBICSPLINE": 3}  # a spline key has two tangents
_COMPONENTS = {"translation": 3, "rotation": 4, "scale": 3, "weights": 1}


@dataclass(frozen=True, slots=True)
class _Clip:
    """One animation: samplers' accessors and keys per time, int64 (s,); channels' samplers (c,)."""

    name: str
    inputs: np.ndarray
    outputs: np.ndarray
    keys: np.ndarray
    channels: np.ndarray


def read_clips(
    doc: Document, accessors: Accessors, nodes: Nodes, meshes: Meshes
) -> tuple[ClipHeader, ...]:
    """Check all animations and measure them.

    A clip runs from t = 0 to the last keyframe of any of its channels, which is how importers
    place it; a clip without channels, or with all its keys before 0, lasts 0 s.

    Raises:
        AssetError: rules ``bad_schema``, ``bad_reference``, ``bad_interpolation``,
            ``bad_accessor``, ``keyframe_count``, ``non_finite_keyframes``, ``too_many_clips``.
    """
    table = rows(doc.json, "animations")
    if len(table) > doc.limits.clips_max:
        raise fault(
            "too_many_clips",
            f"the file has {len(table):,} animations, the limit is {doc.limits.clips_max:,}; "
            "split the asset.",
        )
    targets = np.array([meshes.targets[m] if m >= 0 else 0 for m in nodes.mesh], np.int64)
    clips = [_read_clip(row, f"animation {i}", accessors, targets) for i, row in enumerate(table)]
    if not clips:
        return ()
    inputs = np.unique(np.concatenate([clip.inputs for clip in clips]))
    outputs = np.unique(np.concatenate([clip.outputs for clip in clips]))
    bad = accessors.non_finite(np.union1d(inputs, outputs))
    if len(bad):
        raise fault(
            "non_finite_keyframes",
            f"accessor {bad[0]} holds keyframes that are NaN or infinite; "
            "clean the animation and export it again.",
        )
    last_s, disordered = _key_times(accessors, inputs)
    headers: list[ClipHeader] = []
    for number, clip in enumerate(clips):
        used = np.searchsorted(inputs, clip.inputs[np.unique(clip.channels)])
        what = f"animation {number} ({show(clip.name)})"
        duration_s = max(float(last_s[used].max()), 0.0) if len(used) else 0.0
        if disordered[used].any():
            doc.folder.warn(f"{what}: keyframe times do not increase from 0 on")
        headers.append(ClipHeader(number, clip.name, duration_s))
    return tuple(headers)


def _read_clip(row: Row, what: str, accessors: Accessors, targets: np.ndarray) -> _Clip:
    samplers = rows(row, "samplers", what)
    inputs = references(samplers, "input", f"{what} sampler", len(accessors), required=True)
    outputs = references(samplers, "output", f"{what} sampler", len(accessors), required=True)
    wrong = (accessors.components[inputs] != 1) | (accessors.kind[inputs] != FLOAT)
    if wrong.any():
        raise fault(
            "bad_accessor",
            f"{what}: accessor {inputs[wrong][0]} holds times that are not single floats.",
        )
    keys = _keys_per_time(samplers, what)
    channels = rows(row, "channels", what)
    used = references(channels, "sampler", f"{what} channel", len(samplers), required=True)
    clip = _Clip(clean_text(row.get("name")), inputs, outputs, keys, used)
    _check_channels(channels, clip, what, accessors, targets)
    return clip


def _keys_per_time(samplers: list[Row], what: str) -> np.ndarray:
    names = [sampler.get("interpolation", "LINEAR") for sampler in samplers]
    for number, name in enumerate(names):
        if not isinstance(name, str) or name not in _KEYS_PER_TIME:
            raise fault(
                "bad_interpolation",
                f"{what} sampler {number}: interpolation is {show(name)}, expected LINEAR, STEP "
                "or CUBICSPLINE; export it again.",
            )
    return np.array([_KEYS_PER_TIME[name] for name in names], np.int64)


def _check_channels(
    channels: list[Row], clip: _Clip, what: str, accessors: Accessors, targets: np.ndarray
) -> None:
    """Check that every channel's output has the shape and the length that its path needs."""
    aims = [mapping(channel, "target", f"{what} channel") for channel in channels]
    node = references(aims, "node", f"{what} channel target", len(targets))
    paths = [aim.get("path") for aim in aims]
    if not set(map(type, paths)) <= {str}:
        raise fault("bad_schema", f"{what}: a channel's target has no path; export it again.")
    aimed = node >= 0
    # Channels without a node are legal (extensions aim them elsewhere); only their length counts.
    components = np.array([_COMPONENTS.get(str(path), 0) for path in paths], np.int64) * aimed
    output = clip.outputs[clip.channels]
    wrong = (components > 0) & (components != accessors.components[output])
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise fault(
            "bad_accessor",
            f"{what} channel {at}: output has {accessors.components[output[at]]} numbers per key, "
            f"{show(paths[at])} needs {components[at]}; export it again.",
        )
    width = np.ones(len(channels), np.int64)
    morphs = aimed & np.array([path == "weights" for path in paths], bool)
    width[morphs] = np.maximum(targets[node[morphs]], 1)
    needed = accessors.count[clip.inputs[clip.channels]] * clip.keys[clip.channels] * width
    short = np.flatnonzero(accessors.count[output] < needed)
    if len(short):
        at = int(short[0])
        raise fault(
            "keyframe_count",
            f"{what} channel {at} has {accessors.count[output[at]]:,} values, its times call for "
            f"{needed[at]:,}; export it again.",
        )


def _key_times(accessors: Accessors, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Last time in seconds, float64 (n,), and whether times fail to increase from 0 on, bool."""
    last_s = np.zeros(len(inputs))
    disordered = np.zeros(len(inputs), bool)
    for at, index in enumerate(inputs.tolist()):
        times = accessors.resolved(index)[:, 0]
        if len(times):
            last_s[at] = times.max()
            disordered[at] = times[0] < 0 or bool((times[1:] <= times[:-1]).any())
    return last_s, disordered

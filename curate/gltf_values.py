"""Accessors as numbers: sparse values in place, normalised integers scaled."""

import numpy as np

from curate.gltf_accessors import FLOAT
from curate.gltf_file import rows
from curate.gltf_parts import GltfParts, HandOver

_SCALES = {5120: 127.0, 5121: 255.0, 5122: 32767.0, 5123: 65535.0}


def read_floats(parts: GltfParts, index: int) -> np.ndarray:
    """Read an accessor, float64 (count, components); integers that are not normalised as they are.

    Raises:
        HandOver: its data lies in a buffer that only an extension could fill.
    """
    accessors = parts.accessors
    view = int(accessors.view[index])
    if view >= 0 and parts.doc.buffers[int(accessors.views.buffer[view])] is None:
        raise HandOver("a buffer is compressed")
    kind = int(accessors.kind[index])
    if kind != FLOAT and accessors.stride[index] % (1 if kind < 5122 else 2 if kind < 5124 else 4):
        raise HandOver("an accessor is not aligned")
    values = accessors.resolved(index).astype(np.float64)
    if kind in _SCALES and rows(parts.doc.json, "accessors")[index].get("normalized") is True:
        values = np.maximum(values / _SCALES[kind], -1.0)
    return values


def finite_floats(parts: GltfParts, index: int, components: int) -> np.ndarray:
    """Read an accessor that must have so many components, all finite.

    Raises:
        HandOver: it has not; what Blender makes of it is not followed.
    """
    if int(parts.accessors.components[index]) != components:
        raise HandOver(f"accessor {index} has an unexpected shape")
    values = read_floats(parts, index)
    if not np.isfinite(values).all():
        raise HandOver(f"accessor {index} holds NaN or infinity")
    return values


def read_integers(parts: GltfParts, index: int) -> np.ndarray:
    """Read an accessor of unsigned integers, int64 (count, components)."""
    view = int(parts.accessors.view[index])
    if view >= 0 and parts.doc.buffers[int(parts.accessors.views.buffer[view])] is None:
        raise HandOver("a buffer is compressed")
    return parts.accessors.resolved(index).astype(np.int64)


def read_together(parts: GltfParts, indices: np.ndarray, components: int) -> np.ndarray:
    """Read accessors (g,) of equal length at once, float64 (g, count, components), all finite.

    Raises:
        HandOver: a shape is unexpected, or the data is not there.
    """
    accessors, views = parts.accessors, parts.accessors.views
    view = accessors.view[indices]
    plain = (
        (accessors.kind[indices] == FLOAT)
        & (accessors.components[indices] == components)
        & (view >= 0)
        & (accessors.stride[indices] == 4 * components)
    )
    if plain.all() and accessors.sparse.keys().isdisjoint(indices.tolist()):
        buffers = views.buffer[view]
        first = views.start[view] + accessors.offset[indices]
        data = parts.doc.buffers[int(buffers[0])]
        if data is not None and (buffers == buffers[0]).all() and not (first % 4).any():
            words = data[: len(data) // 4 * 4].view("<f4")
            length = int(accessors.count[indices[0]]) * components
            found = words[first[:, None] // 4 + np.arange(length)].astype(np.float64)
            if not np.isfinite(found).all():
                raise HandOver("a track holds NaN or infinity")
            return found.reshape(len(indices), -1, components)
    return np.stack([finite_floats(parts, int(index), components) for index in indices])

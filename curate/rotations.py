"""Transforms as arrays: matrices from translation, rotation, scale, and back.

Quaternions are x y z w, as in glTF; matrices act on columns. Any leading axes.
"""

import numpy as np

_SINGULAR = 1e-5  # of the box that the columns span: less is rounding, in single precision
_SMALLEST = 1e-30  # volume: about where single precision ends


def normalised(quaternions: np.ndarray) -> np.ndarray:
    """Scale quaternions (..., 4) to length 1; zeros become half a turn about x, as in Blender."""
    length = np.sqrt(np.einsum("...i,...i->...", quaternions, quaternions))[..., None]
    safe = np.where(length > 0, length, 1.0)
    return np.where(length > 0, quaternions / safe, np.array([1.0, 0.0, 0.0, 0.0]))


def compose(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Build matrices (..., 4, 4) from (..., 3), (..., 4) of any length, and (..., 3)."""
    found = np.zeros((*translation.shape[:-1], 4, 4))
    found[..., :3, :] = np.moveaxis(affine(translation, rotation, scale), (0, 1), (-2, -1))
    found[..., 3, 3] = 1.0
    return found


def affine(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Build the upper three rows of such matrices, (3, 4, ...): each number in one stretch."""
    x, y, z, w = np.ascontiguousarray(np.moveaxis(rotation, -1, 0))
    square = x * x + y * y + z * z + w * w
    nowhere = square == 0
    if nowhere.any():  # half a turn about x, as in Blender
        x, square = np.where(nowhere, 1.0, x), np.where(nowhere, 1.0, square)
    twice = 2.0 / square
    x2, y2, z2 = x * twice, y * twice, z * twice
    xx, yy, zz, xy, xz, yz = x * x2, y * y2, z * z2, x * y2, x * z2, y * z2
    wx, wy, wz = w * x2, w * y2, w * z2
    sx, sy, sz = np.ascontiguousarray(np.moveaxis(scale, -1, 0))
    found = np.empty((3, 4, *translation.shape[:-1]))
    found[0, 0] = (1 - (yy + zz)) * sx
    found[1, 0] = (xy + wz) * sx
    found[2, 0] = (xz - wy) * sx
    found[0, 1] = (xy - wz) * sy
    found[1, 1] = (1 - (xx + zz)) * sy
    found[2, 1] = (yz + wx) * sy
    found[0, 2] = (xz + wy) * sz
    found[1, 2] = (yz - wx) * sz
    found[2, 2] = (1 - (xx + yy)) * sz
    found[:, 3] = np.moveaxis(translation, -1, 0)
    return found


def decompose(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take matrices (n, 4, 4) apart: translation (n, 3), rotation (n, 4), scale (n, 3).

    As Blender does it: columns are normalised, a mirrored matrix is negated as a whole, and shear
    is lost.
    """
    linear = matrices[:, :3, :3]
    lengths = np.linalg.norm(linear, axis=1)  # of columns
    unit = linear / np.where(lengths > 0, lengths, 1.0)[:, None, :]
    sign = np.where(np.linalg.det(linear) < 0, -1.0, 1.0)
    return matrices[:, :3, 3], _quaternions(unit * sign[:, None, None]), lengths * sign[:, None]


def singular(linear: np.ndarray) -> np.ndarray:
    """Tell which matrices (n, 3, 3) cannot be inverted; how small they are does not matter."""
    box = np.linalg.norm(linear, axis=1).prod(axis=1)
    return np.abs(np.linalg.det(linear)) <= np.maximum(_SINGULAR * box, _SMALLEST)


def _quaternions(m: np.ndarray) -> np.ndarray:
    """Turn rotation matrices (n, 3, 3) into quaternions, by the largest of four components."""
    xx, yy, zz = m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]
    yz, zx, xy = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    sym_xy, sym_zx, sym_yz = (
        m[:, 0, 1] + m[:, 1, 0],
        m[:, 2, 0] + m[:, 0, 2],
        m[:, 1, 2] + m[:, 2, 1],
    )
    candidates = np.stack(
        [
            np.stack([1 + xx - yy - zz, sym_xy, sym_zx, yz], axis=-1),
            np.stack([sym_xy, 1 - xx + yy - zz, sym_yz, zx], axis=-1),
            np.stack([sym_zx, sym_yz, 1 - xx - yy + zz, xy], axis=-1),
            np.stack([yz, zx, xy, 1 + xx + yy + zz], axis=-1),
        ],
        axis=1,
    )  # (n, 4, 4): row i is right where component i is not small
    best = np.argmax(np.einsum("nii->ni", candidates), axis=1)
    return normalised(candidates[np.arange(len(m)), best])

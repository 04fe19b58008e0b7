"""Arrays as tar members: NumPy's file format inside Zstandard, both readable with stock tools.

Members end in ``.npy.zst``. Real values are stored as integers times a scale that the metadata
states; see ``SCHEMA.md``.
"""

import io
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np

from shards.errors import SampleError

ARRAY_EXT = "npy.zst"
_LEVEL = 6  # size against time


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array as it is written.

    Attributes:
        values: any shape and dtype.
        unit: of ``values * scale``, or what the numbers mean.
        scale: what stored numbers are multiplied with; 1 for arrays that are stored as they are.
    """

    values: np.ndarray
    unit: str
    scale: float = 1.0


def quantised(values: np.ndarray, dtype: Any, unit: str, limit: float | None = None) -> StoredArray:
    """Store real values as integers, with the finest scale that holds the largest of them.

    Args:
        values: finite; the largest absolute value decides the scale unless ``limit`` does.
        dtype: integer type to use in full.
        unit: of the values.
        limit: largest absolute value that may occur; then the scale does not rest on the data.
    """
    largest = float(np.abs(values).max()) if limit is None and values.size else limit or 0.0
    scale = largest / np.iinfo(dtype).max or 1.0
    return StoredArray(np.round(values / scale).astype(dtype), unit, scale)


def encode_array(values: np.ndarray) -> bytes:
    """Write an array; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values), allow_pickle=False)
    return bytes(imagecodecs.zstd_encode(buffer.getvalue(), level=_LEVEL))


def decode_array(data: bytes, where: str) -> np.ndarray:
    """Read an array.

    Raises:
        SampleError: the bytes are damaged or hold something else.
    """
    try:
        return np.load(io.BytesIO(imagecodecs.zstd_decode(data)), allow_pickle=False)
    except (imagecodecs.ZstdError, ValueError, EOFError, OSError) as error:
        raise SampleError(f"{where}: {len(data)} bytes hold no array: {error}") from error

"""An image sequence as bytes: one lossless WebP sheet, frames stacked from top to bottom.

A sheet opens in any viewer, and its decoded rows are the frames in order, so reading needs no copy.
WebP's side limit is 16383 pixels; taller stacks become a grid that is filled row by row. The
layout (rows, columns) is written in the sample's metadata.
"""

import imagecodecs
import numpy as np
from jaxtyping import UInt8

from shards.errors import SampleError

_SIDE_MAX_PX = 16383  # of the WebP format
_METHOD, _QUALITY = 4, 75  # size against time; measured in tests/bench


def sheet_layout(frames: int, height: int, width: int) -> tuple[int, int]:
    """Choose (rows, columns) of a sheet: one column where it fits, else the narrowest grid.

    Raises:
        SampleError: if no grid of this many images fits the format.
    """
    for columns in range(1, frames + 1):
        rows = -(-frames // columns)
        if rows * height <= _SIDE_MAX_PX and columns * width <= _SIDE_MAX_PX:
            return rows, columns
    raise SampleError(
        f"{frames} frames of {height}x{width} px fit no sheet of {_SIDE_MAX_PX} px a side; "
        "render fewer or smaller frames"
    )


def clear_hidden_colour(frames: UInt8[np.ndarray, "t h w 4"]) -> UInt8[np.ndarray, "t h w 4"]:
    """Set RGB to 0 where alpha is 0: invisible, and WebP does not keep it."""
    return frames * (frames[..., 3:] > 0)


def encode_sheet(frames: UInt8[np.ndarray, "t h w 4"]) -> tuple[bytes, tuple[int, int]]:
    """Encode straight-alpha RGBA frames without loss.

    Returns:
        The WebP bytes and the (rows, columns) layout.
    """
    count, height, width, _ = frames.shape
    rows, columns = sheet_layout(count, height, width)
    padded = np.zeros((rows * columns, height, width, 4), np.uint8)
    padded[:count] = clear_hidden_colour(frames)
    sheet = padded.reshape(rows, columns, height, width, 4).swapaxes(1, 2)
    sheet = np.ascontiguousarray(sheet.reshape(rows * height, columns * width, 4))
    data = imagecodecs.webp_encode(sheet, level=_QUALITY, lossless=True, method=_METHOD)
    return bytes(data), (rows, columns)


def decode_sheet(
    data: bytes, frames: int, layout: tuple[int, int], out: np.ndarray | None = None
) -> UInt8[np.ndarray, "t h w 4"]:
    """Decode a sheet into its frames.

    Args:
        data: WebP bytes.
        frames: how many of the sheet's places are filled.
        layout: (rows, columns).
        out: optional C-contiguous uint8 array (rows * h, columns * w, 4) to decode into.

    Raises:
        SampleError: if the bytes are no WebP image or its size does not fit the layout.
    """
    rows, columns = layout
    try:
        sheet = imagecodecs.webp_decode(data, hasalpha=True, out=out)
    except (imagecodecs.WebpError, ValueError, RuntimeError) as error:
        raise SampleError(
            f"an image sheet of {len(data)} bytes cannot be decoded: {error}"
        ) from error
    if sheet.shape[0] % rows or sheet.shape[1] % columns or frames > rows * columns:
        raise SampleError(
            f"an image sheet of {sheet.shape[0]}x{sheet.shape[1]} px does not divide into "
            f"{rows} rows and {columns} columns with {frames} frames"
        )
    height, width = sheet.shape[0] // rows, sheet.shape[1] // columns
    grid = sheet.reshape(rows, height, columns, width, 4).swapaxes(1, 2)
    return grid.reshape(rows * columns, height, width, 4)[:frames]

"""An image sequence as bytes; the member's extension says how, so readers need no setting.

``webp`` (the default) is one lossless WebP sheet, frames stacked from top to bottom: it opens in
any viewer, and its decoded rows are the frames in order, so reading needs no copy. WebP's side
limit is 16383 pixels; taller stacks become a grid that is filled row by row. ``lossy`` is the same
sheet with lossy colour and exact alpha. ``fast`` is the raw frames under zstd: a third larger, five
times faster to read. ``png`` is one PNG per image, for other people's tools. The layout (rows,
columns) is written in the sample's metadata. To add a codec: a case in ``encode_frames`` and in
``decode_frames``; ``tests/shards/test_codec.py`` runs its laws over ``CODECS``.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import imagecodecs
import numpy as np
from jaxtyping import UInt8

from shards.errors import SampleError

Codec = Literal["webp", "fast", "png", "lossy"]
CODECS: tuple[Codec, ...] = get_args(Codec)
LOSSY_QUALITY = 95  # see tests/bench/RESULTS.md for its PSNR

_ZSTD_LEVEL = 9  # higher levels take much longer and save little
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
    sheet, layout = _sheet_of(frames)
    data = imagecodecs.webp_encode(sheet, level=_QUALITY, lossless=True, method=_METHOD)
    return bytes(data), layout


def _sheet_of(
    frames: UInt8[np.ndarray, "t h w 4"],
) -> tuple[UInt8[np.ndarray, "y x 4"], tuple[int, int]]:
    count, height, width, _ = frames.shape
    rows, columns = sheet_layout(count, height, width)
    padded = np.zeros((rows * columns, height, width, 4), np.uint8)
    padded[:count] = clear_hidden_colour(frames)
    sheet = padded.reshape(rows, columns, height, width, 4).swapaxes(1, 2)
    return np.ascontiguousarray(sheet.reshape(rows * height, columns * width, 4)), (rows, columns)


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


def encode_frames(
    frames: UInt8[np.ndarray, "t h w 4"], codec: Codec = "webp"
) -> tuple[dict[str, bytes], tuple[int, int]]:
    """Encode straight-alpha RGBA frames. Colour under alpha 0 becomes black.

    Returns:
        What follows ``KEY.<sequence>.<pass>.`` -> bytes, and the (rows, columns) layout.
    """
    if codec == "webp":
        data, layout = encode_sheet(frames)
        return {"webp": data}, layout
    if codec == "lossy":
        sheet, layout = _sheet_of(frames)
        data = imagecodecs.webp_encode(sheet, level=LOSSY_QUALITY, lossless=False, method=_METHOD)
        return {"webp": bytes(data)}, layout
    clear: Any = clear_hidden_colour(frames)  # the stubs do not know that an array is a buffer
    layout = (len(frames), 1)
    if codec == "fast":
        return {"zst": bytes(imagecodecs.zstd_encode(clear, level=_ZSTD_LEVEL))}, layout
    return {f"{i:03d}.png": bytes(imagecodecs.png_encode(f)) for i, f in enumerate(clear)}, layout


def decode_frames(
    parts: Mapping[str, bytes],
    shape: tuple[int, int, int],
    layout: tuple[int, int],
    out: UInt8[np.ndarray, "t h w 4"] | None = None,
) -> UInt8[np.ndarray, "t h w 4"]:
    """Decode what ``encode_frames`` made.

    Args:
        parts: extension -> bytes.
        shape: frames, height and width as the metadata states them.
        layout: (rows, columns) of a sheet.
        out: optional C-contiguous array of that shape to decode into; it is returned.

    Raises:
        SampleError: if the bytes are damaged, of an unknown kind, or not of that shape.
    """
    frames, height, width = shape
    (kind, *more) = sorted({name.rpartition(".")[2] for name in parts}) or [""]
    if more or kind not in ("webp", "zst", "png"):
        raise SampleError(f"members with extensions {sorted(parts)}; expected webp, zst or png")
    if kind == "webp":
        in_place = out is not None and layout == (frames, 1)
        given = out.reshape(frames * height, width, 4) if out is not None and in_place else None
        decoded = decode_sheet(parts["webp"], frames, layout, given)
        if decoded.shape != (*shape, 4):
            raise _other_size(decoded.shape[1:3], shape)
        if out is None or in_place:
            return decoded
        out[:] = decoded
        return out
    out = np.empty((*shape, 4), np.uint8) if out is None else out
    (_zstd_into if kind == "zst" else _pngs_into)(out, parts)
    return out


def psnr_db(
    truth: UInt8[np.ndarray, "t h w 4"], other: UInt8[np.ndarray, "t h w 4"]
) -> float | None:
    """Measure colour where the object is (alpha above 0) in dB; none if nothing differs."""
    visible = truth[..., 3] > 0
    difference = truth[visible][:, :3].astype(np.int32) - other[visible][:, :3]
    error = float(np.square(difference).mean()) if difference.size else 0.0
    return 10 * float(np.log10(255**2 / error)) if error else None


def _zstd_into(out: np.ndarray, parts: Mapping[str, bytes]) -> None:
    flat: Any = out.reshape(-1)
    try:
        size = len(imagecodecs.zstd_decode(parts["zst"], out=flat))
    except (imagecodecs.ZstdError, ValueError, RuntimeError) as error:
        raise SampleError(f"{len(parts['zst'])} bytes of zstd do not fit: {error}") from error
    if size != out.size or not parts["zst"]:
        raise SampleError(f"zstd images hold {size} bytes, expected {out.size} for {out.shape}")


def _pngs_into(out: np.ndarray, parts: Mapping[str, bytes]) -> None:
    names = [f"{i:03d}.png" for i in range(len(out))]
    if sorted(names) != sorted(parts):
        raise SampleError(f"{len(parts)} PNG members, expected {len(out)} from 000.png on")
    for image, name in zip(out, names, strict=True):
        try:
            decoded = imagecodecs.png_decode(parts[name])
        except (imagecodecs.PngError, ValueError, RuntimeError) as error:
            raise SampleError(f"{name} cannot be decoded: {error}") from error
        if decoded.shape != image.shape:
            raise _other_size(decoded.shape[:2], out.shape[:3])
        image[:] = decoded


def _other_size(found: tuple[int, ...], expected: tuple[int, ...]) -> SampleError:
    return SampleError(
        f"images are {found[0]}x{found[1]} px, its metadata says {expected[1]}x{expected[2]}"
    )

"""Image sizes from their headers: a picture is measured, never decoded.

Standard library only: the gate asks before Blender starts, and Blender before it decodes what the
gate cannot see. To add a format: a function ``bytes -> (width, height) | None`` and a line in
``_READERS``.
"""

import re
import struct
from collections.abc import Callable

Size = tuple[int, int]  # width, height in pixels
HEAD_MAX = 1 << 24  # bytes of an image that are looked at
PIXELS_MAX = 16384 * 8192  # of one image
PIXELS_TOTAL_MAX = 4 * PIXELS_MAX  # of all images of an asset: 2 GiB once decoded to RGBA8
_HEAD = 65_536  # formats with a free-form header are searched this far


def image_size(data: bytes) -> Size | None:
    """Read an image's size from its header.

    Returns:
        Width and height in pixels, or None when the content is of no known kind or is cut off.

    Raises:
        ValueError: a size hidden behind more than ``HEAD_MAX`` bytes.
    """
    for magic, start, read in _READERS:
        if data.startswith(magic, start):
            try:
                size = read(data)
            except struct.error:
                size = None
            if size is None and len(data) >= HEAD_MAX:
                raise ValueError(
                    f"an image gives no size in its first {HEAD_MAX:,} bytes; "
                    "save it again without metadata."
                )
            return size
    return _tga(data)


def _png(data: bytes) -> Size | None:
    return struct.unpack_from(">II", data, 16) if data[12:16] == b"IHDR" else None


def _jpeg(data: bytes) -> Size | None:
    position = 2
    while position < HEAD_MAX:
        position = data.find(b"\xff", position)  # decoders skip stray bytes between segments
        if position < 0:
            return None
        marker = data[position + 1] if position + 1 < len(data) else 0
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD9:  # no payload
            position += 1 if marker == 0xFF else 2
        else:
            position += 2 + max(struct.unpack_from(">H", data, position + 2)[0], 2)
    return None


def _webp(data: bytes) -> Size | None:
    if data[8:12] != b"WEBP":
        return None
    kind = data[12:16]
    if kind == b"VP8X":
        a, b = struct.unpack_from("<I", data, 23)[0], struct.unpack_from("<I", data, 26)[0]
        return (a >> 8) + 1, (b >> 8) + 1  # 24 bits each, read with the byte before them
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _bmp(data: bytes) -> Size | None:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # OS/2 header
        return struct.unpack_from("<HH", data, 18)
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)  # a negative height means top-down rows


def _tiff(data: bytes) -> Size | None:
    order = "<" if data.startswith(b"II") else ">"
    start = struct.unpack_from(order + "I", data, 4)[0]
    size = {256: 0, 257: 0}
    for entry in range(struct.unpack_from(order + "H", data, start)[0]):
        at = start + 2 + 12 * entry
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag in size:
            size[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, at + 8)[0]
    return size[256], size[257]


def _exr(data: bytes) -> Size | None:
    at = data.find(b"dataWindow\0box2i\0", 0, _HEAD)
    if at < 0:
        return None
    x0, y0, x1, y1 = struct.unpack_from("<4i", data, at + 21)
    return max(x1 - x0 + 1, 0), max(y1 - y0 + 1, 0)


def _hdr(data: bytes) -> Size | None:
    line = re.search(rb"\n[+-]([XY]) (\d{1,9}) [+-][XY] (\d{1,9})\n", data[:_HEAD])
    if line is None:
        return None
    first, second = int(line[2]), int(line[3])
    return (second, first) if line[1] == b"Y" else (first, second)


def _avif(data: bytes) -> Size | None:
    at = data.find(b"ispe", 0, _HEAD)
    return None if at < 0 else struct.unpack_from(">II", data, at + 8)


def _jp2(data: bytes) -> Size | None:
    at = data.find(b"ihdr", 0, _HEAD)
    if at < 0:
        return None
    height, width = struct.unpack_from(">II", data, at + 4)
    return width, height


def _fixed(layout: str, offset: int, *, height_first: bool = False) -> Callable[[bytes], Size]:
    """Reader of a size that stands at a fixed offset."""

    def read(data: bytes) -> Size:
        first, second = struct.unpack_from(layout, data, offset)
        return (second, first) if height_first else (first, second)

    return read


def _tga(data: bytes) -> Size | None:
    """Targa has no magic: take what Blender's own heuristic takes."""
    if len(data) < 18 or data[1] > 1 or data[2] not in (1, 2, 3, 9, 10, 11):
        return None
    if data[16] not in (8, 15, 16, 24, 32):
        return None
    return struct.unpack_from("<HH", data, 12)


_READERS: tuple[tuple[bytes, int, Callable[[bytes], Size | None]], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, _png),
    (b"\xff\xd8\xff", 0, _jpeg),
    (b"RIFF", 0, _webp),
    (b"GIF8", 0, _fixed("<HH", 6)),
    (b"BM", 0, _bmp),
    (b"DDS ", 0, _fixed("<II", 12, height_first=True)),
    (b"\xabKTX 20\xbb", 0, _fixed("<II", 20)),
    (b"8BPS", 0, _fixed(">II", 14, height_first=True)),
    (b"II*\0", 0, _tiff),
    (b"MM\0*", 0, _tiff),
    (b"\x76\x2f\x31\x01", 0, _exr),
    (b"#?", 0, _hdr),
    (b"ftypavif", 4, _avif),
    (b"\0\0\0\x0cjP  ", 0, _jp2),
)

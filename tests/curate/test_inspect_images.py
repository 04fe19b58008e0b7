"""Image sizes read from headers agree with what the encoder wrote."""

import io
import struct
from typing import Any

import pytest
from PIL import Image

from curate.inspect_images import HEAD_MAX, image_size
from shards.errors import AssetError


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"icc_profile": b"x" * 200_000}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TGA", {}),
        ("DDS", {}),
        ("AVIF", {}),
        ("JPEG2000", {}),
    ],
)
def test_image_size_agrees_with_the_encoder(format: str, options: dict[str, Any]) -> None:
    stream = io.BytesIO()
    image = Image.effect_noise((37, 23), 50).convert("RGB")
    image.save(stream, format, **options)
    assert image_size(stream.getvalue()) == (37, 23)


@pytest.mark.parametrize(
    "data",
    [
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 23 +X 37\n",
        b"\x76\x2f\x31\x01\2\0\0\0dataWindow\0box2i\0" + struct.pack("<i4i", 16, 10, 10, 46, 32),
        b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HII", 3, 23, 37),
        b"\xabKTX 20\xbb\r\n\x1a\n" + struct.pack("<4I", 0, 1, 37, 23),
        b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, 37, -23),
        b"\xff\xd8\xff\xe0\0\x04ab" + b"stray" + b"\xff\xff\xc2\0\x11\x08\0\x17\0\x25\3",
    ],
    ids=["hdr", "exr", "psd", "ktx2", "top-down bmp", "jpeg with stray bytes"],
)
def test_image_size_of_other_kinds(data: bytes) -> None:
    assert image_size(data) == (37, 23)


def test_every_prefix_of_an_image_is_survived() -> None:
    for format in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "DDS", "JPEG2000", "AVIF"):
        stream = io.BytesIO()
        Image.new("RGB", (37, 23)).save(stream, format)
        for length in range(min(len(stream.getvalue()), 400)):
            assert image_size(stream.getvalue()[:length]) in (None, (37, 23), (0, 0), (37, 0))


def test_size_hidden_behind_padding_is_refused() -> None:
    padding = b"\xff\xfe\xff\xff" + b"\0" * 65_533
    data = b"\xff\xd8" + padding * (HEAD_MAX // len(padding) + 1)
    with pytest.raises(AssetError, match="gives no size in its first") as caught:
        image_size(data + b"\xff\xc0\0\x11\x08\xff\xff\xff\xff\3")
    assert caught.value.rule == "bad_image"

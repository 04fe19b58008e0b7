import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shards.codec import (
    CODECS,
    Codec,
    clear_hidden_colour,
    decode_frames,
    decode_sheet,
    encode_frames,
    encode_sheet,
    psnr_db,
    sheet_layout,
)
from shards.errors import SampleError
from tests.make_shards import make_sample

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.just(4))


@given(hnp.arrays(np.uint8, SHAPES))
@settings(max_examples=40, deadline=None)
def test_frames_round_trip_but_for_hidden_colour(frames: np.ndarray) -> None:
    data, layout = encode_sheet(frames)
    np.testing.assert_array_equal(
        decode_sheet(data, len(frames), layout), clear_hidden_colour(frames)
    )


@pytest.mark.parametrize(
    ("frames", "height", "width", "layout"),
    [
        (24, 256, 256, (24, 1)),
        (1, 16383, 1, (1, 1)),
        (24, 1024, 1024, (12, 2)),
        (5, 8000, 4, (2, 3)),
    ],
)
def test_a_sheet_is_one_column_where_it_fits(
    frames: int, height: int, width: int, layout: tuple[int, int]
) -> None:
    assert sheet_layout(frames, height, width) == layout


def test_a_grid_sheet_round_trips_with_empty_places() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 8000, 4, 4), np.uint8)
    frames[..., 3] |= 1
    data, layout = encode_sheet(frames)
    assert layout == (2, 3)
    np.testing.assert_array_equal(decode_sheet(data, 5, layout), frames)


def test_too_many_pixels_for_any_sheet_are_refused() -> None:
    with pytest.raises(SampleError, match="fit no sheet of 16383 px"):
        sheet_layout(2, 16383, 16383)


def test_decoding_in_place_fills_the_given_array() -> None:
    frames = np.full((2, 3, 4, 4), 200, np.uint8)
    data, layout = encode_sheet(frames)
    out = np.zeros((6, 4, 4), np.uint8)
    decoded = decode_sheet(data, 2, layout, out=out)
    assert np.shares_memory(decoded, out)
    np.testing.assert_array_equal(out.reshape(2, 3, 4, 4), frames)


@pytest.mark.parametrize("cut", [0, 1, 12, 30])
def test_a_cut_sheet_is_refused(cut: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 4), np.uint8)
    data, layout = encode_sheet(frames)
    with pytest.raises(SampleError, match="cannot be decoded"):
        decode_sheet(data[:cut], 2, layout)


@pytest.mark.parametrize(("frames", "layout"), [(2, (3, 1)), (2, (1, 1)), (2, (2, 3))])
def test_a_layout_that_does_not_fit_is_refused(frames: int, layout: tuple[int, int]) -> None:
    data, _ = encode_sheet(np.full((2, 4, 4, 4), 9, np.uint8))
    with pytest.raises(SampleError, match="does not divide"):
        decode_sheet(data, frames, layout)


@given(frames=hnp.arrays(np.uint8, SHAPES), codec=st.sampled_from(CODECS), in_place=st.booleans())
@settings(max_examples=80, deadline=None)
def test_every_codec_keeps_alpha_and_lossless_ones_all(
    frames: np.ndarray, codec: Codec, in_place: bool
) -> None:
    parts, layout = encode_frames(frames, codec)
    out = np.full(frames.shape, 7, np.uint8) if in_place else None
    count, height, width, _ = frames.shape
    decoded = decode_frames(parts, (count, height, width), layout, out)
    assert out is None or np.shares_memory(decoded, out)
    np.testing.assert_array_equal(decoded[..., 3], frames[..., 3])
    if codec != "lossy":
        np.testing.assert_array_equal(decoded, clear_hidden_colour(frames))


def test_a_grid_sheet_decodes_into_a_given_array() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 8000, 4, 4), np.uint8)
    parts, layout = encode_frames(frames)
    out = np.zeros_like(frames)
    assert decode_frames(parts, (5, 8000, 4), layout, out) is out
    np.testing.assert_array_equal(out, clear_hidden_colour(frames))


def test_lossy_colour_is_near_and_its_error_is_measured() -> None:
    frames = make_sample("blob00", 0, frames=3, size=64)[1]["orbit"]
    parts, layout = encode_frames(frames, "lossy")
    decoded = decode_frames(parts, (3, 64, 64), layout)
    measured = psnr_db(frames, decoded)
    assert measured is not None
    assert 25 < measured < 60
    assert psnr_db(frames, frames) is None
    off = frames.copy()
    off[..., :3] ^= 1
    assert psnr_db(frames, off) == pytest.approx(20 * np.log10(255))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("cut", [0, 1, 20])
def test_cut_bytes_are_refused_by_every_codec(codec: Codec, cut: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 4), np.uint8)
    parts, layout = encode_frames(frames, codec)
    with pytest.raises(SampleError):
        decode_frames({name: data[:cut] for name, data in parts.items()}, (2, 16, 16), layout)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shape", [(2, 8, 16), (3, 16, 16), (2, 16, 8)])
def test_another_shape_than_stated_is_refused(codec: Codec, shape: tuple[int, int, int]) -> None:
    parts, layout = encode_frames(np.full((2, 16, 16, 4), 9, np.uint8), codec)
    with pytest.raises(SampleError):
        decode_frames(parts, shape, layout if shape[0] == 2 else (3, 1))


def test_unknown_and_mixed_members_are_refused() -> None:
    for parts in ({}, {"jpg": b"x"}, {"webp": b"x", "zst": b"y"}):
        with pytest.raises(SampleError, match="expected webp, zst or png"):
            decode_frames(parts, (1, 1, 1), (1, 1))

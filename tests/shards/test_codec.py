import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shards.codec import clear_hidden_colour, decode_sheet, encode_sheet, sheet_layout
from shards.errors import SampleError

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

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from shards.arrays import encode_array
from shards.errors import ConfigError, SampleError
from shards.sample import ArrayMeta, members_of, over_white
from shards.view import SampleView, ViewConfig, ViewedAs, render_view, view_sample
from tests.make_shards import make_sample, pack_sample

META, IMAGES = make_sample("blob00", 0, frames=6, size=16)
MEMBERS = members_of(pack_sample(META, IMAGES), "here")
FRAMES = hnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(6), st.just(4), st.just(4)))


def view(**settings: Any) -> SampleView:
    return view_sample(META, MEMBERS, ViewConfig(**settings))


def test_the_default_is_all_sequences_over_white_as_stored() -> None:
    made = view()
    assert list(made.sequences) == ["static", "orbit", "front"]
    for name, frames in IMAGES.items():
        got = made.sequences[name]
        assert got.images.dtype == np.float32
        np.testing.assert_allclose(got.images, over_white(frames), atol=1e-6)
        np.testing.assert_allclose(got.K, np.array(META.sequences[name].K), rtol=1e-6)
        np.testing.assert_allclose(got.c2w, np.array(META.sequences[name].c2w), atol=1e-6)
        np.testing.assert_allclose(got.times_s, META.sequences[name].times_s, atol=1e-6)
        np.testing.assert_allclose(got.azimuth_deg, META.sequences[name].azimuth_deg)
    assert META.motion_magnitude is not None
    assert made.motion_magnitude == META.motion_magnitude.pixel_sum


@given(FRAMES)
@settings(max_examples=20, deadline=None)
def test_straight_rgba_keeps_every_value(frames: np.ndarray) -> None:
    same = render_view(frames, (6, 4), ViewConfig(background=None, dtype="uint8"))
    np.testing.assert_array_equal(same, frames)
    floats = render_view(frames, (6, 4), ViewConfig(background=None))
    np.testing.assert_allclose(floats, frames / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("background", "expected"),
    [("white", 1.0), ("grey", 0.5), ("black", 0.0), ((0.2, 0.2, 0.2), 0.2)],
)
@pytest.mark.parametrize("size", [None, 8, 4, 5, 32])
def test_the_background_shows_where_nothing_is(
    background: Any, expected: float, size: int | None
) -> None:
    images = view(background=background, size=size).sequences["front"].images
    np.testing.assert_allclose(images[:, 0, 0], expected, atol=1e-3)  # a filter reaches far


@given(FRAMES, st.sampled_from([(3, 2), (6, 2), (2, 4), (1, 1)]))
@settings(max_examples=30, deadline=None)
def test_whole_factors_are_means_of_composited_pixels(
    frames: np.ndarray, size: tuple[int, int]
) -> None:
    small = render_view(frames, size, ViewConfig())
    boxes = over_white(frames).reshape(len(frames), size[0], 6 // size[0], size[1], 4 // size[1], 3)
    np.testing.assert_allclose(small, boxes.mean((2, 4)), atol=1e-5)


@given(FRAMES, st.sampled_from([(3, 2), (4, 3), (9, 8)]))
@settings(max_examples=30, deadline=None)
def test_resized_rgba_laid_over_white_is_resized_rgb(
    frames: np.ndarray, size: tuple[int, int]
) -> None:
    rgba = render_view(frames, size, ViewConfig(background=None))
    rgb = render_view(frames, size, ViewConfig(background="white"))
    alpha = rgba[..., 3:]
    np.testing.assert_allclose(rgba[..., :3] * alpha + 1 - alpha, rgb, atol=1e-5)
    assert rgba.min() >= 0
    assert rgba.max() <= 1 + 1e-6


def test_hidden_colour_does_not_bleed_into_edges() -> None:
    frames = np.zeros((1, 4, 4, 4), np.uint8)
    frames[..., 1] = 255  # green everywhere, but only a red pixel is visible
    frames[0, 0, 0] = (255, 0, 0, 255)
    for size in ((2, 2), (3, 3)):
        rgba = render_view(frames, size, ViewConfig(background=None))
        assert rgba[..., 1].max() == 0
        np.testing.assert_allclose(rgba[0, 0, 0, 0], 1, atol=1e-6)


@pytest.mark.parametrize("size", [8, 5, 32, (4, 12)])
def test_cameras_follow_the_image_size(size: Any) -> None:
    height, width = (size, size) if isinstance(size, int) else size
    whole, small = view().sequences["orbit"], view(size=size).sequences["orbit"]
    assert small.images.shape == (6, height, width, 3)
    np.testing.assert_allclose(small.K[:, 0], whole.K[:, 0] * width / 16)
    np.testing.assert_allclose(small.K[:, 1], whole.K[:, 1] * height / 16)
    np.testing.assert_array_equal(small.K[:, 2], whole.K[:, 2])


@pytest.mark.parametrize(
    ("frames", "stride", "taken"),
    [
        (None, 1, range(6)),
        (None, 2, (0, 2, 4)),
        (None, 4, (0, 4)),
        (2, 3, (0, 3)),
        (3, 1, range(3)),
    ],
)
def test_frames_and_stride_choose_images_with_their_cameras(
    frames: int | None, stride: int, taken: Any
) -> None:
    some, every = view(frames=frames, stride=stride), view()
    for name in ("images", "K", "c2w", "times_s", "azimuth_deg", "elevation_deg"):
        np.testing.assert_array_equal(
            getattr(some.sequences["orbit"], name),
            getattr(every.sequences["orbit"], name)[list(taken)],
        )


@pytest.mark.parametrize(("dtype", "step"), [("float16", 1e-3), ("uint8", 0.5 / 255 + 1e-6)])
def test_other_dtypes_are_the_same_images(dtype: Any, step: float) -> None:
    images = view(dtype=dtype).sequences["static"].images
    assert images.dtype == dtype
    scale = 255 if dtype == "uint8" else 1
    np.testing.assert_allclose(images / scale, view().sequences["static"].images, atol=step)


def test_the_dict_names_images_by_their_channels() -> None:
    tree = view(sequences=("front",)).as_dict()
    assert set(tree) == {"key", "stand_in_for", "motion_magnitude", "front"}
    assert set(tree["front"]) == {"rgb", "K", "c2w", "times_s", "azimuth_deg", "elevation_deg"}
    assert "rgba" in view(background=None).as_dict()["front"]


def test_too_few_images_or_no_such_sequence_are_named() -> None:
    with pytest.raises(SampleError, match=r"orbit has 6 images; frames=4 at stride=2 need 7"):
        view(sequences=("orbit",), frames=4, stride=2)
    with pytest.raises(SampleError, match="not 'grid'"):
        view(sequences=("grid",))


@pytest.mark.parametrize(
    "wrong",
    [{"sequences": []}, {"frames": 0}, {"size": 0}, {"size": [0, 4]}, {"background": [0, 2, 0]}],
)
def test_senseless_views_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ViewConfig.build(wrong)


def seeded(epoch: int = 0, **settings: Any) -> SampleView:
    about = ViewedAs(seed=3, epoch=epoch)
    return view_sample(META, MEMBERS, ViewConfig(**settings), about)


def test_a_random_first_view_turns_what_goes_round_and_keeps_cameras_with_images() -> None:
    stored = view()
    starts: set[float] = set()
    for epoch in range(12):
        turned = seeded(epoch, first_view="random")
        first = turned.sequences["orbit"].azimuth_deg[0]
        starts.add(float(first))
        assert turned.sequences["static"].azimuth_deg[0] == first
        for name, got in turned.sequences.items():
            by_time_and_place = {
                (t, a): image
                for t, a, image in zip(
                    stored.sequences[name].times_s,
                    stored.sequences[name].azimuth_deg,
                    stored.sequences[name].images,
                    strict=True,
                )
            }
            for t, a, image in zip(got.times_s, got.azimuth_deg, got.images, strict=True):
                np.testing.assert_array_equal(image, by_time_and_place[t, a])
        np.testing.assert_array_equal(
            turned.sequences["front"].times_s, stored.sequences["front"].times_s
        )
    assert len(starts) > 3
    again = seeded(5, first_view="random").sequences["orbit"].azimuth_deg
    np.testing.assert_array_equal(
        again, seeded(5, first_view="random").sequences["orbit"].azimuth_deg
    )


def test_images_lie_under_the_object_and_change_with_the_epoch(tmp_path: Path) -> None:
    for level in (0, 100, 200):
        Image.new("RGB", (30, 20), (level, 10, 20)).save(tmp_path / f"{level}.png")
    met: set[int] = set()
    for epoch in range(12):
        images = seeded(epoch, backgrounds=tmp_path, dtype="uint8").sequences["orbit"].images
        met.add(int(images[0, 0, 0, 0]))
        assert (images[:, 0, 0] == images[0, 0, 0]).all()
        assert images[0, 0, 0, 1:].tolist() == [10, 20]
    assert met == {0, 100, 200}
    with pytest.raises(ConfigError, match="background may not be none"):
        ViewConfig.build({"backgrounds": str(tmp_path), "background": None})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no images to lay under"):
        seeded(backgrounds=tmp_path / "empty")


def test_passes_come_with_their_images_at_any_size() -> None:
    depth = np.arange(6 * 16 * 16, dtype=np.uint16).reshape(6, 16, 16)
    meta = META.model_copy(
        update={
            "arrays": {
                "orbit.depth": ArrayMeta(dtype="uint16", shape=depth.shape, unit="m", scale=0.5)
            }
        }
    )
    members = MEMBERS | {f"{META.key}.orbit.depth.npy.zst": encode_array(depth)}
    config = ViewConfig(sequences=("orbit",), passes=("depth",), stride=2)
    got = view_sample(meta, members, config).sequences["orbit"].passes["depth"]
    np.testing.assert_allclose(got, depth[::2] * 0.5)
    small = view_sample(meta, members, config.model_copy(update={"size": 4}))
    np.testing.assert_allclose(small.as_dict()["orbit"]["depth"], depth[::2, 2::4, 2::4] * 0.5)

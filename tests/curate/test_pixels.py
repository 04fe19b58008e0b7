"""Diffusion4D's rules on rendered images: scores of made-up images, and of clips that are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate import ledger
from curate.build import Options, build
from curate.config import BuildConfig, CurateConfig, PixelConfig
from curate.pixels import (
    asks_for_images,
    border_frames,
    first_pose_frame,
    front_views,
    moving_orbit,
    ssim_scores,
)
from curate.presets import preset
from render.config import RenderConfig
from render.paths import views
from shards.camera import intrinsics, world_to_camera
from shards.errors import ConfigError
from tests.render.make_gltf import Gltf

SMALL = PixelConfig(size_px=32)


def disc(shift_px: int = 0, alpha: int = 255) -> np.ndarray:
    """A red disc in a clear picture of 32x32 px: (32, 32, 4) uint8."""
    y, x = np.mgrid[:32, :32] - 15.5
    image = np.zeros((32, 32, 4), np.uint8)
    image[np.hypot(x - shift_px, y) < 8] = [200, 30, 30, alpha]
    return image


def test_equal_views_score_one_and_each_pair_has_its_own_score() -> None:
    quarter, half = ssim_scores(np.stack([disc(), disc(), disc(6)]), SMALL)
    assert quarter == pytest.approx(1.0, abs=1e-6)
    assert -1 <= half < 0.5  # six pixels off, nothing fits


def test_the_further_it_moves_the_lower_the_score() -> None:
    scores = [ssim_scores(np.stack([disc(), disc(d), disc(d)]), SMALL)[0] for d in (1, 3, 6)]
    assert scores == sorted(scores, reverse=True)


def naive_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Wang et al. 2004, eq. 13, pixel by pixel where the 11x11 window fits."""
    at = np.arange(11) - 5.0
    weights = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    found = []
    for y in range(5, len(a) - 5):
        for x in range(5, len(a) - 5):
            p, q = (image[y - 5 : y + 6, x - 5 : x + 6] for image in (a, b))
            mean_p, mean_q = (weights * p).sum(), (weights * q).sum()
            var_p = (weights * (p - mean_p) ** 2).sum()
            var_q = (weights * (q - mean_q) ** 2).sum()
            cov = (weights * (p - mean_p) * (q - mean_q)).sum()
            similar = (2 * mean_p * mean_q + 1e-4) * (2 * cov + 9e-4)
            found.append(similar / ((mean_p**2 + mean_q**2 + 1e-4) * (var_p + var_q + 9e-4)))
    return float(np.mean(found))


def test_it_is_the_similarity_of_its_authors() -> None:
    pair = [disc(), disc(4)]
    over_white = [
        (image[..., :3] / 255) * (image[..., 3:] / 255) + 1 - image[..., 3:] / 255 for image in pair
    ]
    expected = np.mean([naive_ssim(over_white[0][..., c], over_white[1][..., c]) for c in range(3)])
    found, _ = ssim_scores(np.stack([*pair, disc()]), SMALL)
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"ssim_window": "uniform"},
        {"ssim_window_px": 7},
        {"colour": "grey"},
        {"background": "black"},
    ],
)
def test_every_setting_of_the_similarity_counts(change: dict[str, Any]) -> None:
    frames = np.stack([disc(), disc(3), disc(3)])
    other = PixelConfig.model_validate(SMALL.model_dump() | change)
    assert ssim_scores(frames, other)[0] != pytest.approx(ssim_scores(frames, SMALL)[0], abs=1e-4)


def test_what_is_clear_does_not_count() -> None:
    hidden = disc()
    hidden[hidden[..., 3] == 0, :3] = 99  # no one sees these colours
    assert ssim_scores(np.stack([disc(), hidden, hidden]), SMALL) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize(
    ("at", "alpha", "touches"),
    [((0, 5), 255, 1), ((31, 31), 2, 1), ((5, 31), 1, 0), ((1, 1), 255, 0), ((30, 30), 255, 0)],
)
def test_the_border_is_one_pixel_wide(at: tuple[int, int], alpha: int, touches: int) -> None:
    frames = np.stack([disc(), disc()])
    frames[1, at[0], at[1], 3] = alpha
    assert border_frames(frames, SMALL) == touches


def test_a_wider_border_and_a_higher_alpha_are_settings() -> None:
    frames = disc()[None].copy()
    frames[0, 2, 2, 3] = 100
    assert border_frames(frames, PixelConfig(size_px=32, border_px=3)) == 1
    assert border_frames(frames, PixelConfig(size_px=32, border_px=3, alpha_min=101)) == 0


def test_the_views_are_the_papers() -> None:
    front, orbit = front_views(PixelConfig()).sequences, moving_orbit(PixelConfig()).sequences
    seen = views(front, "list")
    np.testing.assert_array_equal(seen.time_index, [0, 6, 12])
    np.testing.assert_array_equal(seen.azimuth_deg, 0)
    assert len(views(orbit, "orbit").azimuth_deg) == 24
    paper = RenderConfig.build(preset("diffusion4d")["render"]).sequences
    for sequences in (front, orbit):
        assert (sequences.width, sequences.height) == (paper.width, paper.height)
        camera = sequences.camera
        assert camera.distance == paper.camera.distance
        assert camera.fov_deg == paper.camera.fov_deg
        assert camera.elevation_deg == paper.camera.elevation_deg


def test_only_the_first_pose_is_normalised() -> None:
    box = np.array([[-1, -2, 3], [1, 2, 7]], float)
    away = box + np.array([30, 0, 0])
    frame = first_pose_frame(np.stack([box, away]), PixelConfig())
    placed = (np.stack([box, away]) + frame.offset) * frame.scale
    np.testing.assert_allclose(placed[0], [[-0.25, -0.5, -0.5], [0.25, 0.5, 0.5]])
    pose = frame.base_poses(views(moving_orbit(PixelConfig()).sequences, "orbit"))[0]
    local = world_to_camera(placed[1], pose)
    k = intrinsics(39.6, 256, 256)
    assert (local[:, 0] / local[:, 2] * k[0, 0] > 128).all()  # it has left the picture


def test_what_grows_from_nothing_is_normalised_by_all_its_poses() -> None:
    points = np.array([[[1, 1, 1], [1, 1, 1]], [[0, 0, 0], [4, 2, 2]]], float)
    assert first_pose_frame(points, PixelConfig()).scale == 0.25


def test_images_are_rendered_only_where_rules_ask() -> None:
    assert not asks_for_images(CurateConfig())
    assert asks_for_images(CurateConfig.load(None, ["rules=diffusion4d"]))
    assert asks_for_images(CurateConfig.load(None, ["pixels.enabled=true"]))


@pytest.mark.parametrize("setting", ["ssim_window_px=10", "ssim_window_px=301", "border_px=128"])
def test_windows_and_borders_must_fit(setting: str) -> None:
    with pytest.raises(ConfigError, match=setting.partition("=")[0]):
        PixelConfig.load(None, [setting])


# what the renderer shows

LOOK = {"size_px": 48, "frames": 8}


def judged(folder: Path, offsets: list[tuple[float, float, float]], **curate: Any) -> Any:
    """Build one cube of side 1 that visits places evenly over one second; return its row."""
    (folder / "in").mkdir()
    gltf = Gltf()
    node = gltf.node("cube", gltf.cube())
    times = np.linspace(0.0, 1.0, len(offsets)).tolist()
    gltf.animate("go", {node: (times, offsets)})
    sequences = {"names": ["front"], "width": 16, "height": 16, "frames": 3}
    render = {"sequences": sequences, "engine": {"samples": 1}}
    pixels = LOOK | curate.pop("pixels", {})
    config = BuildConfig.build({"render": render, "curate": curate | {"pixels": pixels}})
    build([gltf.save(folder / "in" / "cube.gltf")], folder / "run", config, Options())
    (row,) = ledger.load(folder / "run")
    assert row["verdict"] != "failed", row["error"]
    return row


def small_and_far(x: float) -> dict[str, Any]:
    return {"rules": "diffusion4d", "pixels": {"distance": x}}


@pytest.mark.blender
def test_a_cube_that_hardly_moves_is_too_still_and_its_orbit_is_not_rendered(
    tmp_path: Path,
) -> None:
    row = judged(tmp_path, [(0, 0, 0), (1e-3, 0, 0)], rules="diffusion4d")
    assert (row["rule"], row["stage"], row["limit"]) == ("ssim_too_still", "probe", 0.95)
    assert row["value"] == min(row["ssim_quarter"], row["ssim_half"]) > 0.95
    assert row["border_frames"] is None
    assert row["motion"] is not None  # our scores stand beside


@pytest.mark.blender
def test_a_cube_that_drives_out_of_the_papers_picture_is_rejected(tmp_path: Path) -> None:
    row = judged(tmp_path, [(0, 0, 0), (3, 0, 0)], **small_and_far(4.0))
    assert (row["rule"], row["unit"]) == ("alpha_at_border", "images")
    assert row["border_frames"] == row["value"] > 0
    assert row["margin_px"] >= 0  # while the sample's cameras would have held it


@pytest.mark.blender
def test_a_cube_that_moves_and_stays_is_kept_with_all_scores(tmp_path: Path) -> None:
    row = judged(tmp_path, [(0, 0, 0), (0.3, 0, 0), (0, 0, 0)], **small_and_far(4.0))
    assert row["verdict"] == "kept"
    assert row["ssim_quarter"] < 0.95
    assert row["border_frames"] == 0


@pytest.mark.blender
def test_the_papers_views_do_not_see_what_moves_after_half_the_time(tmp_path: Path) -> None:
    late = [(0, 0, 0), (0, 0, 0), (0, 0, 0), (0.3, 0, 0), (0, 0, 0)]
    row = judged(tmp_path, late, **small_and_far(4.0))
    assert (row["rule"], row["value"]) == ("ssim_too_still", 1.0)
    assert row["drift"] > 0.1  # our scores see it


@pytest.mark.blender
def test_our_rules_go_first_and_images_cost_nothing_unless_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    still = [(0.0, 0.0, 0.0), (1e-3, 0.0, 0.0)]
    row = judged(tmp_path / "a", still, pixels={"enabled": True})
    assert (row["rule"], row["ssim_half"]) == ("too_still", None)
    moves = [(0.0, 0.0, 0.0), (0.3, 0.0, 0.0)]
    row = judged(tmp_path / "b", moves)
    assert (row["verdict"], row["ssim_half"]) == ("kept", None)

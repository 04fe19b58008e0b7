"""Each check finds the fault that it is for, and nothing in sound images."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from render.paths import SequenceConfig, Views, views
from render.qa import (
    LIMITS,
    Evidence,
    Finding,
    QaConfig,
    count_fireflies,
    findings,
)
from shards.camera import intrinsics, project, projected_box

T, SIZE = 6, 32
SEQUENCES = SequenceConfig(frames=T, width=SIZE, height=SIZE)
LEFT, TOP, RIGHT, BOTTOM = 8, 10, 24, 22
Images = dict[str, np.ndarray]
RED_TO_BLUE = np.linspace(40, 200, SIZE).astype(np.uint8)


def paint(at: int, shift: int) -> np.ndarray:
    """A textured block on nothing, coloured by its view and moved by its time."""
    image = np.zeros((SIZE, SIZE, 4), np.uint8)
    block = image[TOP:BOTTOM, LEFT:RIGHT]
    block[..., 0], block[..., 1], block[..., 3] = RED_TO_BLUE[LEFT:RIGHT], 90, 255
    block[..., 2] = 20 * at
    block[shift : shift + 3, :4, :3] = 250
    return image


def layout() -> dict[str, Views]:
    return {name: views(SEQUENCES, name, None) for name in SEQUENCES.names}


def sound() -> Images:
    return {
        "static": np.stack([paint(i, 0) for i in range(T)]),
        "orbit": np.stack([paint(i, i) for i in range(T)]),
        "front": np.stack([paint(0, i) for i in range(T)]),
    }


BOX = np.array([LEFT, TOP, RIGHT, BOTTOM], float)
EVIDENCE = Evidence(0, 0, 10_000, {name: np.tile(BOX, (T, 1)) for name in sound()}, True, True)


def boxes(bottom: float) -> dict[str, np.ndarray]:
    return {name: np.tile([LEFT, TOP, RIGHT, bottom], (T, 1)) for name in sound()}


def faults(
    images: Images, evidence: Evidence = EVIDENCE, config: QaConfig | None = None,
    follows: bool = False,
) -> list[Finding]:  # fmt: skip
    found = findings(images, layout(), evidence, config or QaConfig(), follows)
    return [one for one in found if one.is_fault]


def each(change: Callable[[np.ndarray], object]) -> Images:
    images = sound()
    for frames in images.values():
        for image in frames:
            change(image)
    return images


def shown(image: np.ndarray) -> np.ndarray:
    return image[..., 3] > 0


def recolour(*rgb: int) -> Callable[[np.ndarray], None]:
    def change(image: np.ndarray) -> None:
        image[..., :3][shown(image)] = rgb

    return change


def half_magenta(image: np.ndarray) -> None:
    image[TOP : TOP + 6, LEFT:RIGHT, :3] = (243, 60, 240)


def touch(image: np.ndarray) -> None:
    image[SIZE - 1, LEFT + 2] = 90, 90, 90, 20


def add_speck(image: np.ndarray) -> None:
    image[TOP, RIGHT + 4] = 90, 90, 90, 255


def hide_most(image: np.ndarray) -> None:
    image[:, LEFT + 4 :] = 0


def standing() -> Images:
    still = sound()["static"]
    return {"static": still, "orbit": still, "front": np.stack([still[0]] * T)}


def turning() -> Images:
    one = np.stack([paint(0, 0)] * T)
    return {"static": one, "orbit": one, "front": sound()["front"]}


FAULTS: dict[str, tuple[Images, Evidence]] = {
    "blank_images": (each(lambda image: image.fill(0)), EVIDENCE),
    "qa_black": (each(recolour(3, 4, 3)), EVIDENCE),
    "qa_flat": (each(recolour(120, 80, 90)), EVIDENCE),
    "qa_magenta": (each(half_magenta), EVIDENCE),
    "qa_texture": (sound(), replace(EVIDENCE, unreadable=("paint/skin.png",))),
    "qa_border": (each(touch), replace(EVIDENCE, boxes=boxes(bottom=SIZE + 1.0))),
    "qa_outside": (each(add_speck), EVIDENCE),
    "qa_missing": (each(hide_most), EVIDENCE),
    "qa_frozen": (standing(), EVIDENCE),
    "qa_same_views": (turning(), EVIDENCE),
    "qa_not_finite": (sound(), replace(EVIDENCE, not_finite=1)),
    "qa_fireflies": (sound(), replace(EVIDENCE, fireflies=100)),
}


def test_sound_images_pass_every_check() -> None:
    assert faults(sound()) == []


def test_every_check_has_its_fault_here() -> None:
    found = findings(sound(), layout(), EVIDENCE, QaConfig(), follows=False)
    assert {one.rule for one in found} == FAULTS.keys()


@pytest.mark.parametrize("rule", FAULTS)
def test_a_check_finds_its_fault(rule: str) -> None:
    images, evidence = FAULTS[rule]
    fault = next(one for one in faults(images, evidence) if one.rule == rule)
    assert fault.value > fault.limit
    assert fault.unit
    assert fault.sentence


@pytest.mark.parametrize(
    ("rule", "setting"),
    [
        ("qa_black", {"black_share_max": 1.0}),
        ("qa_border", {"border_images_max": 3 * T}),
        ("qa_magenta", {"magenta_share_max": 1.0}),
        ("qa_fireflies", {"firefly_share_max": 0.5}),
    ],
)
def test_a_limit_is_a_setting(rule: str, setting: dict[str, float]) -> None:
    images, evidence = FAULTS[rule]
    assert rule not in [one.rule for one in faults(images, evidence, QaConfig(**setting))]  # type: ignore[arg-type]


def test_a_camera_that_goes_along_may_see_the_same_all_the_time() -> None:
    assert "qa_frozen" not in [one.rule for one in faults(standing(), follows=True)]


def test_one_image_that_moves_is_no_frozen_clip() -> None:
    images = standing()
    images["front"][3] = paint(0, 5)
    assert "qa_frozen" not in [one.rule for one in faults(images)]


@pytest.mark.parametrize("rgb", [(200, 40, 120), (120, 30, 200), (250, 160, 245), (90, 0, 30)])
def test_purple_pink_and_violet_are_not_magenta(rgb: tuple[int, int, int]) -> None:
    assert "qa_magenta" not in [one.rule for one in faults(each(recolour(*rgb)))]


def test_what_is_see_through_or_no_mesh_may_stay_unseen_or_reach_further() -> None:
    missing, beyond = each(hide_most), each(add_speck)
    assert faults(missing, replace(EVIDENCE, opaque=False)) == []
    assert faults(beyond, replace(EVIDENCE, complete=False)) == []


@pytest.mark.parametrize(("alpha", "count"), [(20, 0), (200, 3 * T)])
def test_a_filter_that_smears_over_the_border_cuts_nothing_off(alpha: int, count: int) -> None:
    def touch_with(image: np.ndarray) -> None:
        image[SIZE - 1, LEFT + 2] = 90, 90, 90, alpha

    images = each(touch_with)
    inside = replace(EVIDENCE, boxes=boxes(bottom=SIZE - 0.3))
    assert faults(images, inside) == []
    (border,) = (
        one
        for one in findings(images, layout(), replace(inside, complete=False), QaConfig(), False)
        if one.rule == "qa_border"
    )
    assert border.value == count  # hair may end anywhere


def test_geometry_behind_the_camera_decides_nothing() -> None:
    unknown = {name: np.full((T, 4), np.nan) for name in sound()}
    assert faults(each(add_speck), replace(EVIDENCE, boxes=unknown)) == []


def test_fireflies_stand_alone() -> None:
    linear = np.zeros((16, 16, 4), np.float32)
    linear[4:12, 4:12] = 0.5, 0.4, 0.3, 1.0
    assert count_fireflies(linear) == 0
    linear[6:8, 6:8, :3] = 9.0  # a highlight has neighbours
    linear[10, 5:11, :3] = 9.0  # and so has a shining edge
    assert count_fireflies(linear) == 0
    linear[4, 11, :3] = 9.0  # nor is a spark beside nothing
    assert count_fireflies(linear) == 0
    linear[5, 9, :3] = 9.0
    linear[7, 10, 1] = 9.0
    assert count_fireflies(linear) == 2
    assert count_fireflies(linear * [0.1, 0.1, 0.1, 1.0]) == 0  # brighter than white only


def test_the_projected_box_is_that_of_all_points() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) * 0.2
    k = intrinsics(40.0, SIZE, SIZE)
    pose = layout()["orbit"].poses(2.0)[2]
    pixels, _ = project(points.astype(float), k, pose)
    box = projected_box(points, k, pose)
    np.testing.assert_allclose(box, [*pixels.min(axis=0), *pixels.max(axis=0)], atol=1e-3)
    assert np.isnan(projected_box(points * 40, k, pose)).all()
    assert np.isnan(projected_box(points[:0], k, pose)).all()


def test_every_check_is_listed_with_its_setting_and_unit() -> None:
    config = QaConfig()
    found = findings(sound(), layout(), EVIDENCE, config, follows=False)
    assert [one.rule for one in found] == list(LIMITS)
    for place, (one, (setting, unit)) in enumerate(zip(found, LIMITS.values(), strict=True)):
        assert one.unit == unit
        other = QaConfig.model_validate({setting: place % 2})
        again = findings(sound(), layout(), EVIDENCE, other, follows=False)
        assert again[place].limit == place % 2
        assert getattr(config, setting) == one.limit

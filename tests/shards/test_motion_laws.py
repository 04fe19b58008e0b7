"""Laws of the motion magnitude m on exact drawings of a moving solid."""

from dataclasses import replace

import numpy as np
import pytest

from shards.camera import intrinsics, orbit_pose
from shards.sample import motion_magnitude
from tests import make_shards
from tests.make_shards import DISTANCE, ELEVATION_DEG, FOV_DEG, Blob, draw_blob, make_blob

FRAMES, SIZE = 8, 24
K = intrinsics(FOV_DEG, SIZE, SIZE)


def orbit(blob: Blob, offset_deg: float = 0.0, *, frozen: bool = False) -> np.ndarray:
    return np.stack(
        [
            draw_blob(
                blob,
                0.0 if frozen else i / FRAMES,
                K,
                orbit_pose(offset_deg + 360 * i / FRAMES, ELEVATION_DEG, DISTANCE),
            )
            for i in range(FRAMES)
        ]
    )


def m(blob: Blob, offset_deg: float = 0.0) -> float:
    still = orbit(blob, offset_deg, frozen=True)
    return motion_magnitude(orbit(blob, offset_deg), still).pixel_sum


def test_a_frozen_object_has_none_though_its_views_differ() -> None:
    still = orbit(make_blob("still", 0), frozen=True)
    assert motion_magnitude(still, still).pixel_sum == 0
    # why frames are not compared with their neighbours
    assert motion_magnitude(still, np.roll(still, 1, axis=0)).pixel_sum > 10


def test_it_is_zero_in_the_first_frame() -> None:
    blob = make_blob("toy", 0)
    moving, still = orbit(blob), orbit(blob, frozen=True)
    assert motion_magnitude(moving[:1], still[:1]).pixel_sum == 0
    assert motion_magnitude(moving[2:3], still[2:3]).pixel_sum > 0


@pytest.mark.parametrize("uid", ["toy", "fox", "car"])
def test_it_grows_with_the_amplitude(uid: str) -> None:
    blob = make_blob(uid, 0)
    found = [m(replace(blob, swings=blob.swings * share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert found[0] == 0
    assert found == sorted(set(found))


def test_it_does_not_feel_where_the_orbit_begins_around_a_turned_solid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(make_shards, "_LIGHT", np.array([0.0, 0.0, 1.0]))
    jumping = Blob(
        homes=np.array([[0, 0, 0], [0, 0, 0.3]]),
        swings=np.array([[0, 0, 0], [0, 0, 0.15]]),
        radii=np.array([0.3, 0.15]),
        colours=np.array([[0.8, 0.2, 0.1], [0.1, 0.3, 0.9]]),
        phases=np.array([0.0, 0.0]),
        texture=0.0,
    )
    assert m(jumping, 77.0) == pytest.approx(m(jumping), rel=1e-3)
    lopsided = make_blob("toy", 0)
    assert m(lopsided, 77.0) != pytest.approx(m(lopsided), rel=1e-2)

"""Scores of geometry at rest, on shapes whose every number is known."""

import numpy as np
import pytest

from curate.quality import Still, survey

Mesh = tuple[np.ndarray, np.ndarray]
_CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
_FACES = np.array(
    [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
        [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ]
)  # fmt: skip


def cube(side: float = 1.0, at: tuple[float, float, float] = (0, 0, 0)) -> Mesh:
    return _CUBE * side + np.array(at), _FACES


def plane(side: float, z: float = -0.5) -> Mesh:
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * side / 2
    return corners + np.array([0, 0, z]), np.array([[0, 1, 2], [0, 2, 3]])


def still(*meshes: Mesh, opacity: float = 1.0) -> Still:
    before = np.cumsum([0, *(len(points) for points, _ in meshes)])
    triangles = [t + n for (_, t), n in zip(meshes, before, strict=False)]
    return Still(
        np.concatenate([points for points, _ in meshes]),
        np.concatenate(triangles),
        np.full(sum(map(len, triangles)), opacity),
    )


def split_up(one: Still) -> Still:
    """Give every triangle vertices of its own, as flat shading does in files."""
    corners = one.points[one.triangles].reshape(-1, 3)
    return Still(corners, np.arange(len(corners)).reshape(-1, 3), one.opacity)


def scores(one: Still) -> dict[str, float]:
    found = survey(one)
    assert found is not None
    return {name: getattr(found, name) for name in found.__slots__}


def test_a_cube_is_one_sound_part() -> None:
    assert scores(still(cube())) == {
        "parts": 1, "far_part_ratio": 1.0, "backdrop_share": 0.0, "degenerate_share": 0.0,
        "visible_share": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e7])
def test_places_make_parts_and_not_indices(scale: float) -> None:
    two = still(cube(), cube(at=(1.5, 0, 0)))
    for one in (two, split_up(two)):
        scaled = Still(one.points * scale + 3 * scale, one.triangles, one.opacity)
        assert scores(scaled)["parts"] == 2
    assert scores(split_up(still(cube(), cube(at=(1, 0, 0)))))["parts"] == 1  # they touch
    noise = np.random.default_rng(0).normal(size=(36, 3)) * 1e-7
    loose = split_up(still(cube()))
    assert scores(Still(loose.points + noise, loose.triangles, loose.opacity))["parts"] == 1


def test_many_parts_are_counted() -> None:
    many = still(*(cube(0.5, (i, j, 0)) for i in range(12) for j in range(9)))
    assert scores(split_up(many))["parts"] == 108


def test_a_long_chain_is_one_part_whatever_its_order() -> None:
    count = 3000
    points = np.array([[i / 2, i % 2, 0.1 * (i % 3)] for i in range(count + 2)])
    triangles = np.arange(count)[:, None] + np.arange(3)
    draw = np.random.default_rng(1)
    for order in (np.arange(count), draw.permutation(count)):
        mixed = Still(points, triangles[order], np.ones(count))
        assert scores(mixed)["parts"] == 1


def test_a_speck_far_off_is_told_from_a_large_part_far_off() -> None:
    speck = scores(still(cube(), cube(0.05, (19.95, 0, 0))))
    assert speck["far_part_ratio"] == pytest.approx(20.0)
    twin = scores(still(cube(), cube(1.0, (19, 0, 0))))
    assert twin["far_part_ratio"] == 1.0  # neither is the outlier
    swarm = scores(still(*(cube(0.1, (i, 0, 0)) for i in range(30))))
    assert swarm["far_part_ratio"] == 1.0  # equals are all large
    antenna = scores(still(cube(), cube(0.05, (0, 0, 1.25))))
    assert antenna["far_part_ratio"] == pytest.approx(1.3)


@pytest.mark.parametrize(("side", "share"), [(4.0, 16 / 22), (1.0, 1 / 7), (0.9, 0.0)])
def test_a_plane_as_long_as_the_rest_is_a_backdrop(side: float, share: float) -> None:
    found = scores(still(cube(), plane(side)))
    assert found["backdrop_share"] == pytest.approx(share)


def test_a_plane_alone_is_the_object() -> None:
    assert scores(still(plane(4.0)))["backdrop_share"] == 0.0


def test_a_turned_backdrop_is_one_too() -> None:
    one = still(cube(), plane(4.0))
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    turned = Still(one.points @ turn, one.triangles, one.opacity)
    assert scores(turned)["backdrop_share"] == pytest.approx(16 / 22)


def test_triangles_without_area_are_counted_and_change_nothing_else() -> None:
    points, triangles = cube()
    flat = np.array([[0, 0, 1], [2, 2, 2], [0, 1, 1], [5, 5, 7]])
    found = scores(still((points, np.concatenate([triangles, flat]))))
    assert found["degenerate_share"] == pytest.approx(0.25)
    assert (found["parts"], found["visible_share"]) == (1, 1.0)
    line = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], float), np.array([[0, 1, 2]])
    assert scores(still(line))["degenerate_share"] == 1.0


@pytest.mark.parametrize(
    ("opacity", "share"), [(1.0, 1.0), (0.0, 0.0), (0.5, 1.0), (1 / 255, 0.0), (0.01, 1.0)]
)
def test_what_is_wholly_clear_is_not_seen(opacity: float, share: float) -> None:
    assert scores(still(cube(), opacity=opacity))["visible_share"] == share


def test_the_seen_share_is_one_of_the_surface_and_not_of_triangles() -> None:
    two = still(cube(2.0), cube(1.0, (5, 0, 0)))
    clear = Still(two.points, two.triangles, np.repeat([1.0, 0.0], 12))
    assert scores(clear)["visible_share"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    "broken",
    [
        Still(np.zeros((0, 3)), np.zeros((0, 3), int), np.zeros(0)),
        Still(np.zeros((8, 3)), _FACES, np.ones(12)),  # in one point
        Still(np.full((8, 3), np.nan), _FACES, np.ones(12)),
        Still(np.full((8, 3), np.inf), _FACES, np.ones(12)),
    ],
)
def test_nothing_is_said_of_what_has_no_size(broken: Still) -> None:
    with np.errstate(invalid="ignore"):
        assert survey(broken) is None

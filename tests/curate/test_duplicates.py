"""Copies of files, shapes and motions: what is known again, and what is not taken for a copy."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.config_assets import DuplicateConfig
from curate.duplicates import Seen
from curate.quality import Still
from curate.sketch import clip_sketch, geometry_sketch
from shards.likeness import Leaders, Sketch
from tests.curate.copies import Made, judged, make
from tests.curate.gltf_builder import tiny

Rows = dict[str, list[dict[str, Any]]]
COPY = "duplicate_geometry_and_clip"


def dedupe(rows: Mapping[str, list[dict[str, Any]]], **settings: Any) -> Rows:
    seen = Seen(DuplicateConfig(**settings))
    return {name: seen.look(of_asset) for name, of_asset in rows.items()}


def words(rows: list[dict[str, Any]]) -> list[str]:
    return [row["rule"] for row in rows]


def pair(folder: Path, second: Made, **settings: Any) -> list[dict[str, Any]]:
    """Judge a file after the original; returns the second one's rows."""
    make(folder / "a.glb", Made())
    make(folder / "b.glb", second)
    found = dedupe(judged(folder), **settings)
    assert words(found["a"]) == ["score_only"] * 2
    assert {row["family"] for row in found["a"]} == {found["a"][0]["uid"]}
    return found["b"]


def test_the_same_bytes_under_another_name(tmp_path: Path) -> None:
    shutil.copy(make(tmp_path / "a.glb", Made()), tmp_path / "z.glb")
    found = dedupe(judged(tmp_path))
    assert words(found["z"]) == ["duplicate_bytes"] * 2
    first = found["a"][0]["uid"]
    assert [row["duplicate_of"] for row in found["z"]] == [f"{first}-000", f"{first}-001"]
    for row in found["z"]:
        assert (row["verdict"], row["stage"], row["value"]) == ("rejected", "curate", 0.0)
        assert row["duplicate_of"] in row["error"]


def test_equal_main_files_with_other_companions_are_no_copies(tmp_path: Path) -> None:
    for name, picture in (("a", b"red"), ("b", b"blue"), ("c", b"red")):
        made = tiny()
        made.doc["images"] = [{"uri": "skin.png"}]
        (tmp_path / name).mkdir()
        made.gltf(tmp_path / name / f"{name}.gltf")
        (tmp_path / name / "skin.png").write_bytes(picture)
    found = dedupe(judged(tmp_path), reject="bytes")
    assert len({row["sha256"] for rows in found.values() for row in rows}) == 1
    assert [words(rows) for rows in found.values()] == [
        ["score_only"], ["score_only"], ["duplicate_bytes"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "second",
    [
        Made(prefix="Other"),
        Made(backwards=True, prefix="Other"),
        Made(scale=100.0),
        Made(scale=0.01, at=(5.0, -3.0, 2.0)),
        Made(noise=1e-5),
        Made(noise=1e-5, backwards=True, scale=2.54, prefix="x"),
    ],
)
def test_renamed_reordered_rescaled_and_noisy_copies(second: Made, tmp_path: Path) -> None:
    rows = pair(tmp_path, second)
    assert words(rows) == [COPY] * 2
    assert [row["duplicate_of"][-3:] for row in rows] == ["000", "001"]
    assert all(0 <= row["value"] <= row["limit"] == 1e-3 for row in rows)


def test_clips_are_matched_by_motion_and_not_by_number(tmp_path: Path) -> None:
    rows = pair(tmp_path, Made(clips=("hop", "wave")))
    assert [row["duplicate_of"][-3:] for row in rows] == ["001", "000"]


@pytest.mark.parametrize("clip", ["wave_back", "hop_left"])
def test_another_clip_on_the_same_shape_is_kept_and_says_so(clip: str, tmp_path: Path) -> None:
    (row,) = pair(tmp_path, Made(clips=(clip,)))
    assert row["rule"] == "score_only"
    assert row["family"] != row["uid"]  # of the first's family
    assert (row["duplicate_of"], row["recolour_of"]) == (None, None)


def test_a_recolour_is_kept_and_named(tmp_path: Path) -> None:
    rows = pair(tmp_path, Made(colour=(0.1, 0.2, 1.0), prefix="Blue"))
    assert words(rows) == ["score_only"] * 2
    assert [row["recolour_of"][-3:] for row in rows] == ["000", "001"]
    assert rows[0]["family"] != rows[0]["uid"]


@pytest.mark.parametrize("second", [Made(shape=1), Made(mirror=True), Made(noise=0.05)])
def test_other_shapes_of_as_many_triangles_are_no_copies(second: Made, tmp_path: Path) -> None:
    rows = pair(tmp_path, second)
    assert words(rows) == ["score_only"] * 2
    assert {row["family"] for row in rows} == {rows[0]["uid"]}


def test_a_clip_that_stands_twice_in_a_file_is_kept_once(tmp_path: Path) -> None:
    make(tmp_path / "a.glb", Made(clips=("hop", "wave", "hop")))
    (rows,) = judged(tmp_path).values()  # the worker itself says so: nothing is rendered for it
    assert words(rows) == ["score_only", "score_only", COPY]
    assert rows[2]["duplicate_of"] == f"{rows[0]['uid']}-000"


@pytest.mark.parametrize(
    ("reject", "copied", "same_file", "same_shape"),
    [
        ("nothing", "score_only", "score_only", "score_only"),
        ("bytes", "score_only", "duplicate_bytes", "score_only"),
        ("clips", COPY, "duplicate_bytes", "score_only"),
        ("geometry", "duplicate_geometry", "duplicate_bytes", "duplicate_geometry"),
    ],
)
def test_the_setting_says_how_much_is_rejected(
    reject: str, copied: str, same_file: str, same_shape: str, tmp_path: Path
) -> None:
    make(tmp_path / "a.glb", Made())
    make(tmp_path / "b.glb", Made(prefix="Other"))
    shutil.copy(tmp_path / "a.glb", tmp_path / "c.glb")
    make(tmp_path / "d.glb", Made(clips=("hop_left",)))
    found = dedupe(judged(tmp_path), reject=reject)
    assert words(found["b"]) == [copied] * 2
    assert words(found["c"]) == [same_file] * 2
    assert words(found["d"]) == [same_shape]
    assert all(row["duplicate_of"] for row in found["b"] + found["c"])


def test_copies_of_what_is_not_kept_are_kept(tmp_path: Path) -> None:
    shutil.copy(make(tmp_path / "a.glb", Made()), tmp_path / "b.glb")
    rows = judged(tmp_path)
    for row in rows["a"]:
        row |= {"verdict": "failed", "rule": "blender_crashed"}
    assert words(dedupe(rows)["b"]) == ["score_only"] * 2


def test_what_has_no_sketch_is_like_nothing() -> None:
    blank = {"clip_index": 0, "verdict": "kept", "rule": "", "geometry": None, "clip_sketch": "?"}
    seen = Seen(DuplicateConfig(reject="geometry"))
    for uid in ("a", "b"):
        (row,) = seen.look([blank | {"uid": uid}])
        assert (row["verdict"], row["family"], row["duplicate_of"]) == ("kept", None, None)


# sketches


def cloud(count: int = 40, faces: int = 60) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(5)
    return draw.normal(size=(count, 3)) * [1, 2, 3], draw.integers(0, count, (faces, 3))


def shape(points: np.ndarray, triangles: np.ndarray) -> Sketch:
    found = geometry_sketch(Still(points, triangles, np.ones(len(triangles))))
    assert found is not None
    return found


def test_a_shape_is_known_again_turned_moved_scaled_and_mixed_up() -> None:
    points, triangles = cloud()
    before = shape(points, triangles)
    draw = np.random.default_rng(6)
    turn = np.linalg.qr(draw.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    mix = draw.permutation(len(points))
    other = np.roll(np.argsort(mix)[triangles][::-1], 1, axis=1)
    after = shape((points @ turn * 254.0 + [1, 2, 3])[mix], other)
    assert after.kind == before.kind
    np.testing.assert_allclose(after.values, before.values, atol=1e-9)


def test_triangles_without_area_change_no_sketch() -> None:
    points, triangles = cloud()
    more = np.concatenate([triangles, [[0, 0, 1], [3, 3, 3]]])
    np.testing.assert_allclose(shape(points, more).values, shape(points, triangles).values)
    assert shape(points, more).kind == shape(points, triangles).kind


def test_noise_moves_a_sketch_about_as_far_as_the_vertices() -> None:
    points, triangles = cloud()
    noise = np.random.default_rng(8).normal(size=points.shape)
    for amount in (1e-6, 1e-4):
        change = np.abs(shape(points + amount * noise, triangles).values - before_of(points))
        assert change.max() < 20 * amount  # most where mirrors are told apart


def before_of(points: np.ndarray) -> np.ndarray:
    return shape(points, cloud()[1]).values


def test_motions_are_told_apart_by_direction_and_time() -> None:
    points, _ = cloud()
    times = np.linspace(0, 1, 8)
    lean = np.maximum(points[:, :1], 0) * [0, 0.1, 0]
    sketches = []
    for amount in (times**2, times[::-1] ** 2, -(times**2), times):
        moved = clip_sketch(points + amount[:, None, None] * lean)
        assert moved is not None
        sketches.append(moved.values)
    for i, one in enumerate(sketches):
        for other in sketches[:i]:
            assert np.abs(one - other).max() > 5e-3  # of 0.1 sizes that half the shape moves


def test_a_sketch_survives_being_written_down() -> None:
    one = Sketch(1234, np.array([0.125, -3.5, 1e-3]))
    again = Sketch.decode(one.encode())
    assert again is not None
    assert again.kind == 1234
    np.testing.assert_allclose(again.values, one.values, atol=1e-6)
    for bad in ("", None, "x:AAAA", "3:", "3:????", "3:AACAfw=="):  # the last is infinite
        assert Sketch.decode(bad) is None


@given(st.integers(0, 2**32), st.floats(0, 0.99), st.integers(1, 8))
def test_what_is_within_the_tolerance_is_found_and_else_is_not(
    seed: int, nearness: float, dims: int
) -> None:
    draw = np.random.default_rng(seed)
    leaders = Leaders(1e-3)
    values = draw.uniform(-1, 1, (30, dims))
    for number, one in enumerate(values):
        if leaders.find(Sketch(1, one)) is None:
            leaders.add(Sketch(1, one), number)
    target = int(draw.integers(30))
    near = values[target] + draw.uniform(-1, 1, dims) * 1e-3 * nearness
    distances = np.abs(values - near).max(axis=1)
    found = leaders.find(Sketch(1, near))
    if distances.min() <= 1e-3 and dims > 2:  # so far apart that each is a leader
        assert found is not None
        assert found.distance == pytest.approx(distances[found.number])
    if found is not None:
        assert found.distance <= 1e-3
    assert leaders.find(Sketch(2, near)) is None
    assert leaders.find(Sketch(1, values[target] + 0.0021)) is None or dims < 3


@pytest.mark.parametrize(
    ("values", "later"),
    [((0.0, 1.8), 0.95), ((0.9, -0.9), 0.0), ((-0.9, 0.9), 0.0)],
    ids=["in one cell", "the other in the cell before", "the other in the cell after"],
)
def test_the_first_leader_of_several_is_followed(values: tuple[float, float], later: float) -> None:
    leaders = Leaders(1.0)
    for number, value in enumerate(values):
        leaders.add(Sketch(1, np.array([value])), number)
    found = leaders.find(Sketch(1, np.array([later])))
    assert found is not None
    assert (found.number, found.distance) == (0, abs(later - values[0]))

"""Poses of glTF clips: what Blender makes of the same file, vertex by vertex."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from curate.gltf_parts import HandOver
from curate.gltf_plain import importable
from curate.gltf_pose import GltfScene
from curate.inspect import inspect_file
from curate.motion import own_size
from render.config import LimitConfig
from render.runner import BlenderProcess, WorkerConfig
from render.session import BlenderSession, Probe
from tests.curate.agreement import compare
from tests.curate.gltf_builder import tiny
from tests.curate.gltf_zoo import ZOO, build

_ERROR_MAX = 1e-3  # of the asset's size
_REAL = (
    "alien-flyer-draco.glb", "bee.glb", "cannon.glb", "flag-frozen/flag-frozen.glb",
    "ghost-pointer.glb", "godot-robot.glb", "hatch/hatch.glb", "lever.glb", "morph-stress.gltf",
    "robot-alice.glb", "tentacle-84-skins.glb", "treasure-chest.glb",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("zoo")


@pytest.fixture(scope="module")
def session(folder: Path, request: pytest.FixtureRequest) -> Iterator[BlenderSession]:
    with BlenderProcess(WorkerConfig(), [folder]) as process:
        yield BlenderSession(process, LimitConfig())


@pytest.mark.blender
@pytest.mark.parametrize("name", ZOO)
def test_poses_are_those_of_blender(name: str, folder: Path, session: BlenderSession) -> None:
    found = compare(build(name, folder), session)
    assert found
    assert max(clip.error for clip in found) < _ERROR_MAX, found


@pytest.mark.parametrize("name", ["skin", "morphs", "lines"])
def test_the_outermost_vertices_bound_all(name: str, tmp_path: Path) -> None:
    parts = inspect_file(build(name, tmp_path)).parts
    assert parts is not None
    scene, times_s = GltfScene(parts), np.linspace(0, 1.7, 5)
    posed, extremes = scene.points(0, times_s, 1000), scene.extremes(0, times_s)
    points = posed.points[:, posed.place]
    np.testing.assert_allclose(extremes.min(axis=1), points.min(axis=1), atol=1e-5)
    np.testing.assert_allclose(extremes.max(axis=1), points.max(axis=1), atol=1e-5)
    few = max(scene.vertices // 3, 1)
    chosen = scene.picks(few).indices
    assert len(chosen) == few
    thin = scene.points(0, times_s, few)
    np.testing.assert_allclose(thin.points[:, thin.place], points[:, chosen], atol=1e-5)


def test_what_shows_nothing_has_an_empty_pose(tmp_path: Path) -> None:
    made = tiny()
    made.doc["nodes"] = [{}]
    parts = inspect_file(made.glb(tmp_path / "empty.glb")).parts
    assert parts is not None
    scene = GltfScene(parts)
    assert (scene.vertices, len(scene.still().points)) == (0, 0)
    posed = scene.points(0, np.array([0.0, 0.5]), 1000)
    assert (posed.points.shape, posed.weights.shape, posed.place.shape) == ((2, 0, 3), (0,), (0,))


def test_what_is_not_followed_is_handed_over(tmp_path: Path) -> None:
    path = build("one_key", tmp_path)
    parts = inspect_file(path).parts
    assert parts is not None
    parts.doc.buffers[0] = None  # as if only an extension could fill it
    with pytest.raises(HandOver, match="compressed"):
        GltfScene(parts)


def test_a_quantised_skin_is_put_to_ordinary_size_and_moves_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, times_s = build("quantised_skin", tmp_path), np.linspace(0, 1.7, 5)
    posed: list[np.ndarray] = []
    for as_it_is in (False, True):
        if as_it_is:
            monkeypatch.setattr("curate.gltf.unquantise", lambda *_: False)
        parts = inspect_file(path).parts
        assert parts is not None
        assert parts.doc.rewritten is not as_it_is
        skin = parts.doc.json["skins"][0]["inverseBindMatrices"]
        linear = parts.accessors.resolved(skin).reshape(-1, 4, 4)[:, :3, :3]
        assert np.linalg.norm(linear, axis=1).max() == pytest.approx(1e-8 if as_it_is else 0.01)
        posed += [GltfScene(parts).points(clip, times_s, 100).points for clip in (0, 1)]
    size = own_size(posed[0])
    np.testing.assert_allclose(posed[0], posed[2], atol=1e-5 * size)
    np.testing.assert_allclose(posed[1], posed[3], atol=1e-5 * size)


def test_a_joint_that_is_named_twice_is_left_to_blender(tmp_path: Path) -> None:
    path = build("skin_without_binds", tmp_path)
    parts = inspect_file(path).parts
    assert parts is not None
    parts.doc.json["skins"][0]["joints"] = [1, 2, 2]
    with pytest.raises(HandOver, match="twice"):
        GltfScene(parts)


@pytest.mark.blender
@pytest.mark.slow
def test_poses_of_real_assets_are_those_of_blender(assets_dir: Path) -> None:
    with BlenderProcess(WorkerConfig(), [assets_dir]) as process:
        session = BlenderSession(process, LimitConfig())
        found = [clip for name in _REAL for clip in compare(assets_dir / name, session, 2)]
    assert len(found) > len(_REAL)
    wrong = [clip for clip in found if clip.error >= _ERROR_MAX]
    assert not wrong


@pytest.mark.blender
@pytest.mark.parametrize("name", ZOO)
def test_blender_thins_to_the_same_vertices(
    name: str, folder: Path, session: BlenderSession
) -> None:
    path = build(name, folder)
    inspection = inspect_file(path)
    assert inspection.parts is not None
    assert inspection.clips is not None
    scene, times_s = GltfScene(inspection.parts), np.array([0.0, 0.5])
    if scene.vertices < 4:
        return
    few = scene.vertices // 2
    file = importable(path, inspection, session.process.scratch)
    session.open(*file, [clip.duration_s for clip in inspection.clips])
    posed = scene.points(0, times_s, few)
    ours = posed.points[:, posed.place]
    assert ours.shape[1] == few
    for picks in (None, scene.picks(few)):
        theirs = session.probe(0, times_s, 10_000, few, picks)
        assert isinstance(theirs, Probe)
        np.testing.assert_allclose(theirs.points, ours, atol=1e-3 * own_size(theirs.points))
        surface = np.bincount(posed.place, theirs.weights, len(posed.weights))
        np.testing.assert_allclose(surface, posed.weights, rtol=1e-3, atol=1e-3 * surface.mean())

"""Poses of glTF clips: what Blender makes of the same file, vertex by vertex."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from render.config import LimitConfig
from render.runner import BlenderProcess, WorkerConfig
from render.session import BlenderSession
from tests.curate.agreement import compare
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


@pytest.mark.blender
@pytest.mark.slow
def test_poses_of_real_assets_are_those_of_blender(assets_dir: Path) -> None:
    with BlenderProcess(WorkerConfig(), [assets_dir]) as process:
        session = BlenderSession(process, LimitConfig())
        found = [clip for name in _REAL for clip in compare(assets_dir / name, session, 2)]
    assert len(found) > len(_REAL)
    wrong = [clip for clip in found if clip.error >= _ERROR_MAX]
    assert not wrong

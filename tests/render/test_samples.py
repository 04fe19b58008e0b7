"""The sample assets are what their truth says: read by hand, and through Blender's importer."""

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from render import samples
from render.samples import SamplesError, make_samples
from shards.files import sha256_of

pytestmark = pytest.mark.blender
ROOT = Path(__file__).resolve().parents[2]
RULES = {"no_clips", "no_mesh", "too_short", "too_still", "teleport", "leaves_frame"}
Truth = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def truth(samples_dir: Path) -> Truth:
    head = json.loads((samples_dir / "samples.json").read_text())
    return {sample["name"]: sample for sample in head["samples"]}


@pytest.fixture(scope="session")
def probed(samples_dir: Path, truth: Truth) -> Truth:
    meshed = [n for n, t in truth.items() if t["clips"][0]["expected_rule"] != "no_mesh"]
    command = [sys.executable, "-m", "tests.render.probe_samples", str(samples_dir), *meshed]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(next(x for x in done.stdout.splitlines() if x.startswith("PROBE "))[6:])


class Glb:
    """A binary glTF, read by hand."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        (length,) = struct.unpack_from("<I", content, 12)
        self.json: dict[str, Any] = json.loads(content[20 : 20 + length])
        self.blob = content[28 + length :]

    def array(self, accessor: int) -> np.ndarray:
        entry = self.json["accessors"][accessor]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[entry["type"]]
        view = self.json["bufferViews"][entry["bufferView"]]
        assert entry["componentType"] == 5126
        start = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
        flat = np.frombuffer(self.blob, "<f4", entry["count"] * width, start)
        return flat.reshape(-1, width).astype(float)

    def keys(self, animation: int, node: str, path: str) -> np.ndarray:
        entry = self.json["animations"][animation]
        for channel in entry["channels"]:
            target = channel["target"]
            if self.json["nodes"][target["node"]]["name"] == node and target["path"] == path:
                return self.array(entry["samplers"][channel["sampler"]]["output"])
        raise AssertionError(f"clip {entry['name']!r} does not animate the {path} of {node!r}")

    def driven(self, animation: int) -> set[str]:
        channels = self.json["animations"][animation]["channels"]
        return {self.json["nodes"][c["target"]["node"]]["name"] for c in channels}


def amplitude_in_file(glb: Glb, animation: int, stated: dict[str, Any]) -> float:
    node, kind = stated["node"], stated["kind"]
    if kind in ("rotation", "turns"):
        keys = glb.keys(animation, node, "rotation")
        other = keys[:1] if kind == "rotation" else keys[:-1]
        cosines = np.abs(np.sum((keys if kind == "rotation" else keys[1:]) * other, axis=1))
        angles = np.rad2deg(2 * np.arccos(np.clip(cosines, 0, 1)))
        return float(angles.max() if kind == "rotation" else angles.sum())
    if kind == "translation":
        keys = glb.keys(animation, node, "translation")
        return float(np.linalg.norm(keys - keys[0], axis=1).max())
    if kind == "scale":
        keys = glb.keys(animation, node, "scale")
        return float((keys / keys[0]).max())
    mesh = next(n for n in glb.json["nodes"] if n["name"] == node)["mesh"]
    targets = glb.json["meshes"][mesh]["primitives"][0]["targets"]
    shapes = np.array([glb.array(t["POSITION"]) for t in targets])  # (keys, vertices, 3)
    weights = glb.keys(animation, node, "weights").reshape(-1, len(shapes))
    moved = np.tensordot(weights, shapes, axes=1)
    return float(np.linalg.norm(moved, axis=2).max())


def clips(truth: Truth, verdict: str) -> list[tuple[str, dict[str, Any]]]:
    rows = [(name, clip) for name, t in truth.items() for clip in t["clips"]]
    return [(name, clip) for name, clip in rows if clip["expected_verdict"] == verdict]


def test_the_set_is_large_and_covers_every_rule(truth: Truth) -> None:
    kept = clips(truth, "kept")
    several = [n for n in truth if sum(name == n for name, _ in kept) > 1]
    assert len(truth) >= 16
    assert len(kept) >= 20
    assert len(several) >= 6
    assert all(clip["expected_rule"] == "" for _, clip in kept)
    assert {clip["expected_rule"] for _, clip in clips(truth, "rejected")} == RULES


def test_truth_files_match_the_list_and_the_bytes(samples_dir: Path, truth: Truth) -> None:
    for name, entry in truth.items():
        assert json.loads((samples_dir / f"{name}.truth.json").read_text()) == entry
        assert sha256_of(samples_dir / entry["file"]) == entry["sha256"]
    assert not list(samples_dir.glob(".tmp-*"))


def test_names_indices_and_durations_are_those_in_the_file(samples_dir: Path, truth: Truth) -> None:
    for name, entry in truth.items():
        glb = Glb(samples_dir / entry["file"])
        animations = glb.json.get("animations", [])
        assert len(animations) == entry["animations"]
        for clip in entry["clips"]:
            if clip["index"] < 0:
                assert clip["expected_rule"] in ("no_clips", "no_mesh")
                continue
            animation = animations[clip["index"]]
            ends = [glb.array(s["input"]).max() for s in animation["samplers"]]
            assert animation["name"] == clip["name"], name
            assert max(ends) == pytest.approx(clip["duration_s"])
            assert clip["period_s"] is None or clip["period_s"] <= clip["duration_s"] + 1e-6


def test_amplitudes_are_true_of_the_file(samples_dir: Path, truth: Truth) -> None:
    stated = 0
    for name, entry in truth.items():
        glb = Glb(samples_dir / entry["file"])
        for clip in entry["clips"]:
            if clip["amplitude"]["kind"] == "none":
                continue
            found = amplitude_in_file(glb, clip["index"], clip["amplitude"])
            assert found == pytest.approx(clip["amplitude"]["value"], rel=0.01, abs=1e-3), (
                name,
                clip,
            )
            stated += 1
    assert stated >= 20


def test_files_carry_everything_in_themselves(samples_dir: Path, truth: Truth) -> None:
    for entry in truth.values():
        document = Glb(samples_dir / entry["file"]).json
        assert all("uri" not in b for b in document.get("buffers", []))
        assert all("bufferView" in i for i in document.get("images", []))
        assert not document.get("extensionsRequired")


def test_objects_of_a_machine_move_in_one_clip(samples_dir: Path, truth: Truth) -> None:
    def driven(name: str, clip: str) -> set[str]:
        index = next(c["index"] for c in truth[name]["clips"] if c["name"] == clip)
        return Glb(samples_dir / f"{name}.glb").driven(index)

    assert driven("windmill", "seek wind") == {"cap", "sails"}
    assert driven("windmill", "turn") == {"sails"}
    assert driven("excavator", "dig") == {"boom", "stick", "bucket"}
    wheels = {f"wheel.{k}.{side}" for k in range(3) for side in "LR"}
    assert driven("engine", "roll") >= wheels | {"engine", "rod.L", "rod.R"}
    assert driven("carousel", "ride") == {"platform", *(f"horse.{k}" for k in range(4))}


def test_the_prop_moves_in_one_clip_only(samples_dir: Path, truth: Truth, probed: Truth) -> None:
    glb = Glb(samples_dir / "pip.glb")
    users = {c["name"] for c in truth["pip"]["clips"] if "ball" in glb.driven(c["index"])}
    assert users == {"kick"}
    found = probed["pip"]["clips"]
    assert {name for name, clip in found.items() if "ball" in clip["driven"]} == {"kick"}


def test_the_animated_root_is_scaled_and_turned(samples_dir: Path) -> None:
    root = next(n for n in Glb(samples_dir / "engine.glb").json["nodes"] if n["name"] == "engine")
    assert root["scale"] == pytest.approx([0.01] * 3)
    assert abs(root["rotation"][1]) > 0.2


def test_the_teleport_is_held_and_then_jumps(samples_dir: Path) -> None:
    animation = Glb(samples_dir / "teleporting_robot.glb").json["animations"][0]
    assert {s["interpolation"] for s in animation["samplers"]} == {"STEP"}


def test_imported_motion_is_far_from_every_limit(truth: Truth, probed: Truth) -> None:
    for name, clip in clips(truth, "kept"):
        found = probed[name]["clips"][clip["name"]]
        assert found["motion"] >= 0.03 or found["travel"] >= 0.2, (name, found)
        assert found["step_share"] < 0.35, (name, found)
        assert found["reach"] < 5, (name, found)
        assert clip["duration_s"] >= 0.5
    for name, clip in clips(truth, "rejected"):
        if clip["index"] < 0:
            continue
        found, rule = probed[name]["clips"][clip["name"]], clip["expected_rule"]
        if rule == "too_still":
            assert found["motion"] < 0.004, (name, found)
            assert found["travel"] < 0.01, (name, found)
        elif rule == "teleport":
            assert found["step_share"] > 0.9, (name, found)
        elif rule == "leaves_frame":
            assert found["reach"] > 20, (name, found)
        else:
            assert clip["duration_s"] < 0.05


def test_imported_assets_stand_on_the_ground_and_wear_textures(probed: Truth) -> None:
    for name, found in probed.items():
        assert -0.02 < found["lowest"] < 0.2, name
        assert 400 < found["vertices"] < 10_000
        assert [packed for _, _, packed in found["textures"]] == [True], name
        assert found["textures"][0][0] == 512


def test_the_long_clip_moves_in_its_middle_only(samples_dir: Path, truth: Truth) -> None:
    (clip,) = truth["jack"]["clips"]
    keys = Glb(samples_dir / "jack.glb").keys(0, "lid", "rotation")
    times = np.linspace(0, clip["duration_s"], len(keys))
    moving = times[1:][np.abs(np.diff(keys, axis=0)).max(axis=1) > 1e-6]
    assert clip["duration_s"] == pytest.approx(5.0)
    assert moving.min() > 1.9
    assert moving.max() < 3.8


def test_a_complete_folder_is_left_alone(samples_dir: Path, truth: Truth) -> None:
    before = {path: path.stat().st_mtime_ns for path in samples_dir.iterdir()}
    assert make_samples(samples_dir) == list(truth.values())
    assert {path: path.stat().st_mtime_ns for path in samples_dir.iterdir()} == before


@pytest.mark.parametrize("damage", ["missing", "cut", "no list", "other seed"])
def test_an_incomplete_folder_is_made_again(
    samples_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    out = tmp_path / "samples"
    shutil.copytree(samples_dir, out)
    if damage == "missing":
        (out / "tiger.glb").unlink()
    elif damage == "cut":
        (out / "tiger.glb").write_bytes((out / "tiger.glb").read_bytes()[:-1])
    elif damage == "no list":
        (out / "samples.json").unlink()
    monkeypatch.setattr(samples, "_TIMEOUT_S", 0.05)
    with pytest.raises(SamplesError, match="took over"):
        make_samples(out, seed=1 if damage == "other seed" else 0)


def test_a_failure_shows_what_blender_said(tmp_path: Path) -> None:
    with pytest.raises(SamplesError, match=r"(?s)status 1.*negative"):
        make_samples(tmp_path / "out", seed=-1)


@pytest.mark.slow
def test_two_runs_give_the_same_bytes(samples_dir: Path, tmp_path: Path, truth: Truth) -> None:
    assert make_samples(tmp_path) == list(truth.values())
    for path in samples_dir.glob("*.json"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()

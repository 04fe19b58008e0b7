"""Real assets pass with the right counts; broken ones are refused for the right reason."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from curate.inspect import Inspection, inspect_file
from shards.errors import AssetError

# What is wrong with the others of the malformed files, or that later stages are to judge them
_REFUSED = {
    "truncated-in-bin.glb": "truncated_file",
    "wrong-magic.glb": "wrong_type",
    "json-chunk-past-end.glb": "bad_glb",
    "accessor-offset-out-of-range.glb": "accessor_range",
    "index-out-of-range.glb": "index_range",
    "huge-accessor-count.glb": "accessor_range",
    "nan-keyframes.glb": "non_finite_keyframes",
    "nan-vertices.glb": "non_finite_vertices",
    "node-cycle.glb": "node_cycle",
    "deep-hierarchy-3000.gltf": "hierarchy_too_deep",
    "missing-buffer.gltf": "missing_buffer",
    "path-traversal-buffer.gltf": "path_traversal",
    "http-uri-buffer.gltf": "remote_uri",
    "blend-renamed.glb": "wrong_type",
    "glb-renamed.usdz": "wrong_type",
    "text-renamed.glb": "wrong_type",
    "zero-bytes.glb": "empty_file",
    "png-bomb-20000x16000.glb": "image_too_large",
    "skin-joint-missing.glb": "bad_reference",
    "draco-garbage.glb": "bad_draco",
    "json-deep-nesting.gltf": "bad_json",
    "truncated.fbx": "truncated_file",
    "usda-reference-traversal.usda": "path_traversal",
    "wild-maya-exporter.glb": "bad_interpolation",
}
_PASSED = {
    "zero-area-point.glb": "",
    "empty-scene.glb": "",
    "missing-texture.gltf": "no file 'textures/not_here.png'",
    "http-uri-texture.gltf": "not fetched",
    "zero-length-clip.glb": "",
    "clip-23-days.glb": "",
    "autorun-script.blend": "",
}
# The manifest counts each mesh once, inspection counts what the scene draws
_INSTANCED = {"tentacle-84-skins.glb": (3360, 6384), "house-zero-clip.gltf": (8605, 4360)}


@pytest.fixture(scope="module")
def inspected(assets_dir: Path) -> list[tuple[dict[str, str], Inspection]]:
    return [(row, inspect_file(assets_dir / row["file"])) for row in _rows(assets_dir)]


def test_every_real_asset_passes(inspected: list[tuple[dict[str, str], Inspection]]) -> None:
    assert len(inspected) == 73
    for row, found in inspected:
        assert (found.format, found.sha256) == (row["format"], row["sha256"]), row["file"]
        blind = "binary layer"  # the one thing that can't be looked into
        assert all(text.startswith(blind) for text in found.warnings), row["file"]


def test_clips_and_durations_agree_with_the_manifest(
    inspected: list[tuple[dict[str, str], Inspection]],
) -> None:
    zero = 0
    for row, found in inspected:
        if row["format"] not in ("glb", "gltf"):
            assert found.clips is None
            continue
        assert found.clips is not None
        assert len(found.clips) == int(row["n_animations"]), row["file"]
        assert [clip.index for clip in found.clips] == list(range(len(found.clips)))
        durations = "|".join(f"{clip.duration_s:.4g}" for clip in found.clips)
        assert durations == row["clip_durations_s"], row["file"]
        zero += sum(clip.duration_s == 0 for clip in found.clips)
    assert zero > 10  # still poses are legal clips


def test_geometry_agrees_with_the_manifest(
    inspected: list[tuple[dict[str, str], Inspection]],
) -> None:
    for row, found in inspected:
        counts = (int(row["n_vertices"]), int(row["n_triangles"]))
        if row["format"] in ("glb", "gltf"):
            expected = _INSTANCED.get(row["file"], counts)
            assert (found.vertices, found.triangles) == expected, row["file"]
        else:
            assert found.vertices is None


def test_companions_agree_with_the_manifest(
    inspected: list[tuple[dict[str, str], Inspection]],
) -> None:
    seen = 0
    for row, found in inspected:
        folder = Path(row["file"]).parent
        names = [f"{(folder / name).as_posix()}:{sha256}" for name, sha256 in found.companions]
        assert sorted(names) == sorted(filter(None, row["companions"].split("|"))), row["file"]
        assert list(found.companions) == sorted(found.companions)
        seen += len(names)
    assert seen > 20


@pytest.mark.parametrize(("name", "rule"), _REFUSED.items())
def test_malformed_files_are_refused(assets_dir: Path, name: str, rule: str) -> None:
    with pytest.raises(AssetError, match=name.rsplit(".", 1)[0]) as caught:
        inspect_file(assets_dir / "malformed" / name)
    assert (caught.value.rule, caught.value.stage) == (rule, "inspect")


@pytest.mark.parametrize(("name", "warning"), _PASSED.items())
def test_odd_but_sound_files_pass_on(assets_dir: Path, name: str, warning: str) -> None:
    found = inspect_file(assets_dir / "malformed" / name)
    assert len(found.warnings) == bool(warning)
    assert warning in "".join(found.warnings)
    assert found.companions == ()


def test_every_malformed_file_is_in_one_of_the_tables(assets_dir: Path) -> None:
    names = {row["file"] for row in _rows(assets_dir / "malformed")}
    assert names == _REFUSED.keys() | _PASSED.keys()


def _rows(folder: Path) -> Iterator[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        yield from csv.DictReader(stream)

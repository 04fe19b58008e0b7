"""The road of an asset as far as it goes without Blender."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate import ledger
from curate.asset import done_file, give_up, process
from curate.clip import Job
from curate.config import BuildConfig
from curate.sources import About, Remote, Source, find_sources
from render.runner import BlenderProcess
from render.session import BlenderSession
from tests.curate.gltf_builder import tiny
from tests.curate.staging import sample_bytes

CONFIG = BuildConfig()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[BlenderSession]:
    with BlenderProcess(CONFIG.limits.worker, [tmp_path]) as blender:
        yield BlenderSession(blender, CONFIG.limits)
        assert not blender.is_running()  # it starts with the first request; none was sent


def job_for(source: Source, staging: Path, **finished: str) -> Job:
    return Job(source, CONFIG, {"orbit4d": "0"}, staging / source.uid, finished)


def only_row(job: Job) -> dict[str, Any]:
    (row,) = json.loads(done_file(job.staging).read_bytes())["rows"]
    assert row.keys() <= set(ledger.SCHEMA.names)
    assert (row["uid"], row["path"]) == (job.source.uid, job.source.path)
    assert row["clip_index"] == -1
    return row


def test_a_file_that_is_no_model_fails_with_its_stage_and_reason(
    tmp_path: Path, session: BlenderSession
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "note.glb").write_text("no model")
    (source,) = find_sources([tmp_path / "in"])
    job = job_for(source, tmp_path / "out")
    process(job, session)
    row = only_row(job)
    assert (row["verdict"], row["stage"], row["rule"]) == ("failed", "inspect", "wrong_type")
    assert row["inspect_s"] > 0
    assert row["bytes"] == 8


def test_a_file_that_vanished_fails_and_does_not_stop_the_run(
    tmp_path: Path, session: BlenderSession
) -> None:
    source = Source("x-0", "x.glb", tmp_path / "x.glb", tmp_path)
    job = job_for(source, tmp_path / "out")
    process(job, session)
    assert (only_row(job)["verdict"], only_row(job)["rule"]) == ("failed", "missing_file")
    give_up(job, "2 workers died over this asset")
    assert (only_row(job)["verdict"], only_row(job)["rule"]) == ("failed", "worker_died")


def test_a_link_that_leads_out_of_the_input_folder_is_not_read(
    tmp_path: Path, session: BlenderSession
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "private.glb").write_bytes(b"glTF")
    (tmp_path / "in" / "link.glb").symlink_to("../private.glb")
    (tmp_path / "in" / "loop.glb").symlink_to("loop.glb")
    sources = {source.path: source for source in find_sources([tmp_path / "in"])}
    expected = {"link.glb": ("source", "path_traversal"), "loop.glb": ("inspect", "")}
    for path, (stage, rule) in expected.items():
        job = job_for(sources[path], tmp_path / "out")
        process(job, session)
        row = only_row(job)
        assert (row["verdict"], row["stage"]) == ("failed", stage)
        assert rule in row["rule"]
        assert "sha256" not in row


def test_a_job_holds_a_sample_that_was_made_from_the_same(tmp_path: Path) -> None:
    source = Source("x-0", "x.glb", tmp_path / "x.glb", tmp_path)
    job = job_for(source, tmp_path, **{"x-0-000": "f0"})
    job.staging.mkdir()
    (job.staging / "x-0-001.tar").write_bytes(sample_bytes("x-0", 1, "f1"))
    assert job.holds("x-0-000", "f0")
    assert not job.holds("x-0-000", "f1")
    assert job.holds("x-0-001", "f1")
    assert not job.holds("x-0-001", "f0")
    assert not job.holds("x-0-002", "f0")


def judged(source: Source, staging: Path, session: BlenderSession, **clips: Any) -> list[dict]:
    """Judge without rendering; the session's fixture sees to it that no Blender starts."""
    curate = {"score_only": True, "clips": clips}
    config = BuildConfig.model_validate({"curate": curate})
    job = Job(source, config, {"orbit4d": "0"}, staging / source.uid, {})
    process(job, session)
    return json.loads(done_file(job.staging).read_bytes())["rows"]


def test_gltf_clips_are_judged_and_scored_without_blender(
    tmp_path: Path, session: BlenderSession
) -> None:
    (tmp_path / "in").mkdir()
    made = tiny()
    made.clip([0.0, 2.0], [[0, 0, 0], [0, 0, 0]])
    made.glb(tmp_path / "in" / "tri.glb")
    (source,) = find_sources([tmp_path / "in"])
    rises, still = judged(source, tmp_path / "out", session)
    assert (rises["rule"], still["rule"]) == ("score_only", "too_still")
    assert rises["drift"] == pytest.approx(23 / 24)  # of a triangle of side 1 that rises by 1
    assert (rises["vertices"], rises["key_tracks"], rises["constant_tracks"]) == (3, 1, 0)
    assert (still["key_tracks"], still["constant_tracks"]) == (1, 1)
    assert rises["loop_gap"] == pytest.approx(1)
    assert rises["margin_px"] > 0
    assert rises.keys() <= set(ledger.SCHEMA.names)


def test_clips_that_were_taken_down_are_scored_and_not_rendered(
    tmp_path: Path, session: BlenderSession
) -> None:
    (tmp_path / "in").mkdir()
    tiny().glb(tmp_path / "in" / "tri.glb")
    (source,) = find_sources([tmp_path / "in"])
    staging, key = tmp_path / "out" / source.uid, f"{source.uid}-000"
    config = BuildConfig()
    versions = {"orbit4d": "0"}
    process(Job(source, config, versions, staging, {}, frozenset([key])), session)
    (row,) = json.loads(done_file(staging).read_bytes())["rows"]
    assert (row["verdict"], row["rule"], row["stage"]) == ("rejected", "taken_down", "curate")
    assert row["drift"] > 0
    record = json.loads((staging / "c000.json").read_bytes())
    assert Job(source, config, versions, staging, {}, frozenset([key])).stands(record)
    assert not Job(source, config, versions, staging, {}).stands(record)


def test_an_asset_that_was_taken_down_is_not_even_looked_at(
    tmp_path: Path, session: BlenderSession
) -> None:
    source = Source("x-0", "x.glb", tmp_path / "x.glb", tmp_path, refusal="taken_down")
    job = job_for(source, tmp_path / "out")
    process(job, session)
    row = only_row(job)
    assert (row["verdict"], row["rule"], row["stage"]) == ("rejected", "taken_down", "source")


def test_a_broken_draco_stream_fails_with_its_name(tmp_path: Path, session: BlenderSession) -> None:
    (tmp_path / "in").mkdir()
    made = tiny()
    view = made.view(b"DRACO\x02\x02\x01\x01\0\0" + bytes(200))
    extension = {"bufferView": view, "attributes": {"POSITION": 0}}
    primitive = made.doc["meshes"][0]["primitives"][0]
    primitive["extensions"] = {"KHR_draco_mesh_compression": extension}
    made.glb(tmp_path / "in" / "tri.glb")
    (source,) = find_sources([tmp_path / "in"])
    (row,) = judged(source, tmp_path / "out", session)
    assert (row["verdict"], row["rule"]) == ("failed", "bad_draco")
    assert "Draco" in row["error"]


@pytest.mark.parametrize(
    ("about", "setting", "rule"),
    [
        (About(licence="by-nc"), "curate.rights.licences_deny=[CC-BY-NC-*]", "licence"),
        (About(tags=("car", "NSFW")), "curate.rights.tags_deny=[nsfw]", "denied_tag"),
    ],
)
def test_what_may_not_be_used_is_not_fetched(
    about: About, setting: str, rule: str, tmp_path: Path, session: BlenderSession
) -> None:
    nowhere = Remote("url", "http://127.0.0.1:9/x.glb")
    source = Source("x", "x.glb", Path("x.glb"), Path(), remote=nowhere, about=about)
    config = BuildConfig.load(None, [setting])
    job = Job(source, config, {"orbit4d": "0"}, tmp_path / "x", {})
    process(job, session)
    row = only_row(job)
    assert (row["verdict"], row["stage"], row["rule"]) == ("rejected", "source", rule)


def test_a_run_that_only_scores_measures_what_early_rules_reject(
    tmp_path: Path, session: BlenderSession
) -> None:
    made = tiny()
    made.doc["animations"].clear()
    made.clip([0.0, 0.05], [[0, 0, 0], [0, 0, 1]])
    (tmp_path / "in").mkdir()
    made.glb(tmp_path / "in" / "a.glb")
    (source,) = find_sources([tmp_path / "in"])
    for setting, measured in (("false", False), ("true", True)):
        config = BuildConfig.load(None, [f"curate.score_only={setting}"])
        job = Job(source, config, {"orbit4d": "0"}, tmp_path / setting, {})
        process(job, session)
        (row,) = json.loads(done_file(job.staging).read_bytes())["rows"]
        assert (row["rule"], row["stage"]) == ("too_short", "inspect")
        assert (row.get("margin_px") is not None) is measured
        assert row["parts"] == 1  # of the asset: always

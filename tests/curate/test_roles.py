"""One worker curates, another renders: the same results, on the devices that Ray gave them."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curate import ledger
from curate.asset import done_file, process
from curate.cluster import RayOptions, Worker, run_on_ray
from curate.config import BuildConfig
from curate.job import HandOver, Job
from curate.sources import find_sources
from render.runner import BlenderProcess
from render.session import BlenderSession
from tests.render.make_gltf import Gltf, moving_cube

SMALL = [
    "render.sequences.width=32", "render.sequences.height=32", "render.sequences.frames=4",
    "render.engine.samples=1", "curate.duplicates.reject=nothing", "limits.threads=1",
]  # fmt: skip
CONFIG = BuildConfig.load(None, SMALL)
_OWN = (*ledger.SECONDS, "reproduce")  # of each run


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    moving_cube(folder / "cube.gltf")
    still = Gltf()
    node = still.node("cube", still.cube())
    still.animate("still", {node: ([0.0, 1.0], [(0, 0, 0), (0, 0, 0)])})
    still.save(folder / "still.gltf")
    return folder


def job(inputs: Path, name: str, staging: Path, **more: Any) -> Job:
    source = next(s for s in find_sources([inputs]) if s.path == name)
    config = more.pop("config", CONFIG)
    return Job(source, config, {"orbit4d": "0"}, staging, {}, **more)


def rows_of(staging: Path) -> list[dict[str, Any]]:
    rows = json.loads(done_file(staging).read_bytes())["rows"]
    return [{k: v for k, v in row.items() if k not in _OWN} for row in rows]


def samples(staging: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in staging.glob("*.tar")}


def curated(inputs: Path, name: str, staging: Path, **more: Any) -> HandOver | None:
    """Curate without any Blender: glTF needs none before it is rendered."""
    none: Any = None
    found = process(job(inputs, name, staging, curate_only=True, **more), none)
    return found if isinstance(found, HandOver) else None


def test_what_is_not_rendered_is_finished_without_a_renderer(inputs: Path, tmp_path: Path) -> None:
    assert curated(inputs, "still.gltf", tmp_path / "s") is None
    assert [row["rule"] for row in rows_of(tmp_path / "s")] == ["too_still"]


def test_what_is_rendered_is_handed_over_and_nothing_is_complete(
    inputs: Path, tmp_path: Path
) -> None:
    handed = curated(inputs, "cube.gltf", tmp_path / "s")
    assert handed is not None
    assert set(handed.measured) == {0, 1}
    assert all(found.decision is None for found in handed.measured.values())
    assert not done_file(tmp_path / "s").exists()
    assert handed.of("another file") == HandOver()


@pytest.mark.blender
def test_seconds_of_both_workers_stand_in_the_row(inputs: Path, tmp_path: Path) -> None:
    handed = curated(inputs, "cube.gltf", tmp_path / "curator")
    assert handed is not None
    assert 0 < handed.spent["inspect_s"] < 100
    told = replace(handed, spent={"fetch_s": 100.0, "inspect_s": 200.0, "load_s": 300.0})
    with BlenderProcess(CONFIG.limits.worker, [inputs]) as blender:
        session = BlenderSession(blender, CONFIG.limits)
        process(job(inputs, "cube.gltf", tmp_path / "s", handed=told), session)
    first, second = json.loads(done_file(tmp_path / "s").read_bytes())["rows"]
    assert first["fetch_s"] == 100
    assert 200 < first["inspect_s"] < 300
    assert 300 < first["load_s"] < 400
    assert not any(second.get(name) for name in told.spent)


def test_a_clip_that_cannot_be_measured_fails_where_it_is_measured(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curate import clip

    real = clip.measure

    def measure(*what: Any) -> Any:
        calls.append(what)
        if len(calls) == 1:
            raise ZeroDivisionError("no such luck")
        return real(*what)

    calls: list[Any] = []
    monkeypatch.setattr(clip, "measure", measure)
    handed = curated(inputs, "cube.gltf", tmp_path / "s")
    assert handed is not None
    assert [row["rule"] for row in handed.rows.values()] == ["internal_error"]
    assert set(handed.measured) == {1}


@pytest.mark.blender
@pytest.mark.parametrize("limit", [None, 1])
def test_two_workers_make_what_one_makes(inputs: Path, tmp_path: Path, limit: int | None) -> None:
    config = BuildConfig.load(
        None, [*SMALL, f"curate.clips.per_asset_max={'null' if limit is None else limit}"]
    )
    with BlenderProcess(config.limits.worker, [inputs]) as blender:
        session = BlenderSession(blender, config.limits)
        process(job(inputs, "cube.gltf", tmp_path / "one", config=config), session)
        handed = curated(inputs, "cube.gltf", tmp_path / "curator", config=config)
        assert handed is not None
        more = {"config": config, "handed": handed}
        # on another node, with a staging folder that nobody else has seen
        process(job(inputs, "cube.gltf", tmp_path / "two", **more), session)
    assert rows_of(tmp_path / "two") == rows_of(tmp_path / "one")
    assert samples(tmp_path / "two") == samples(tmp_path / "one")
    assert len(samples(tmp_path / "one")) == (limit or 2)


class Shown(Worker):
    """Notes what its Blender process is shown, instead of working."""

    def do(self, job: Job) -> HandOver | None:
        self._blender.start()
        environment = Path(f"/proc/{self._blender.pid}/environ").read_bytes().split(b"\0")
        shown = dict(line.decode().split("=", 1) for line in environment if b"=" in line)
        role = "curator" if job.curate_only else "renderer"
        note = f"{role} {shown.get('CUDA_VISIBLE_DEVICES', 'all')}\n"
        (job.staging / f"{role}.shown").write_text(note)
        while role == "renderer" and not list(job.staging.parent.glob("*/curator.shown")):
            time.sleep(0.05)  # it may take longer to start
        return HandOver("x") if job.curate_only else None


@contextlib.contextmanager
def fake_gpus(count: int) -> Iterator[None]:
    from curate.ray_session import import_ray

    ray = import_ray()
    ray.init(
        num_cpus=4, num_gpus=count, include_dashboard=False, log_to_driver=False,
        configure_logging=False, object_store_memory=80 * 2**20,
    )  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()


@pytest.mark.blender
@pytest.mark.ray
def test_a_blender_sees_the_device_that_ray_gave_its_worker(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    for number in range(12):
        moving_cube(inputs / f"more{number}.gltf")
    jobs = [
        Job(source, CONFIG, {}, tmp_path / "staging" / source.uid, {})
        for source in find_sources([inputs])
    ]
    options = RayOptions(2, num_cpus=0.5, num_gpus=1.0, curators=1)
    with fake_gpus(2):
        outcomes = list(run_on_ray(jobs, CONFIG, [inputs], options, Shown))
    assert len(outcomes) == len(jobs)
    assert not any(outcome.fault for outcome in outcomes)
    notes = [
        line.rpartition(" ")
        for path in (tmp_path / "staging").glob("*/*.shown")
        for line in path.read_text().splitlines()
    ]
    assert {device for role, _, device in notes if role == "renderer"} == {"0", "1"}
    assert {device for role, _, device in notes if role == "curator"} == {""}
    assert os.environ.get("CUDA_VISIBLE_DEVICES") is None

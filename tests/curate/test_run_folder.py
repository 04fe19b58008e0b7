import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from curate import ledger
from curate.asset import done_file
from curate.build import Options, plan
from curate.config import BuildConfig
from curate.records import COLUMNS, Records
from curate.run_folder import RunFolder
from curate.sources import Source, find_sources
from shards.errors import RunError
from tests.curate.staging import SETTINGS, build, make_inputs, open_run, outcome, work


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return make_inputs(tmp_path / "in", a="kept kept", b="rejected", c="kept failed")


@pytest.fixture
def built(inputs: Path, tmp_path: Path) -> Path:
    build(tmp_path / "run", inputs)
    return tmp_path / "run"


@contextlib.contextmanager
def opened(path: Path, settings: BuildConfig = SETTINGS, **options: bool) -> Iterator[RunFolder]:
    with contextlib.closing(open_run(path, settings, **options)) as run:
        yield run


def with_setting(*overrides: str) -> BuildConfig:
    return BuildConfig.load(None, ["shards.target_mb=0.012", *overrides])


def source(inputs: Path, name: str) -> Source:
    return next(source for source in find_sources([inputs]) if source.path == f"{name}.glb")


def contents(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def states(run: RunFolder, inputs: Path) -> dict[str, str]:
    """Tell of each asset whether it is settled, staged, both, or missing."""
    found = {}
    for asset in find_sources([inputs]):
        staged = run.staged_rows(asset) is not None
        settled = run.settled_rows(asset) is not None
        found[asset.path[0]] = "staged " * staged + "settled" * settled or "missing"
    return found


# one build at a time


def test_a_second_build_is_refused_while_the_first_has_the_folder(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(RunError, match="another build is working on this folder"):
        open_run(tmp_path)
    open_run(tmp_path).close()


def test_a_refused_build_gives_the_folder_free(built: Path) -> None:
    for _ in range(2):
        with pytest.raises(RunError, match="other settings"):
            open_run(built, with_setting("seed=1"))
    open_run(built).close()


def test_a_build_that_was_shot_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import os, sys, fcntl\n"
        "handle = os.open(sys.argv[1], os.O_RDWR)\n"
        "fcntl.flock(handle, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    open_run(tmp_path).close()
    command = [sys.executable, "-c", code, str(tmp_path / "logs" / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(RunError, match="another build"):
            open_run(tmp_path)
        other.kill()
        other.wait()
        open_run(tmp_path).close()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RunError, match=r"file: cannot be written: (Not a directory|File exists)"):
        open_run(tmp_path / "file")
    with pytest.raises(RunError, match="cannot be written: Not a directory"):
        open_run(tmp_path / "file" / "below")


# settings


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=7", r"\n  seed: 0, now 7\n"),
        ("curate.motion.min=0.5", r"\n  curate\.motion\.min: 0\.01, now 0\.5\n"),
        ("curate.clips.per_asset_max=2", r"\n  curate\.clips\.per_asset_max: None, now 2\n"),
        ("render.engine.samples=9", r"\n  render\.engine\.samples: None, now 9\n"),
    ],
)
def test_other_settings_are_refused_by_name_and_taken_with_update(
    built: Path, inputs: Path, override: str, message: str
) -> None:
    other, before = with_setting(override), contents(built)
    with pytest.raises(RunError, match=message):
        open_run(built, other)
    assert contents(built) == before
    assert len(build(built, inputs, other, update=True)) == 3
    assert build(built, inputs, other) == []  # from now on these are its settings
    with pytest.raises(RunError, match="was built with other settings"):
        open_run(built, SETTINGS)


def test_every_changed_setting_is_named_at_once(built: Path) -> None:
    with pytest.raises(RunError, match=r"curate\.boundary\.reach_max: .*\n  seed: 0, now 1\n"):
        open_run(built, with_setting("seed=1", "curate.boundary.reach_max=9"))


@pytest.mark.parametrize("override", ["shards.target_mb=50", "limits.render_timeout_s=1"])
def test_settings_that_decide_neither_verdicts_nor_bytes_may_change(
    built: Path, inputs: Path, override: str
) -> None:
    before = outcome(built)
    assert build(built, inputs, with_setting(override)) == []
    assert outcome(built) == before


def test_another_version_is_refused_by_name(built: Path, inputs: Path) -> None:
    document = json.loads((built / "run.json").read_bytes())
    document["versions"]["bpy"] = "1.0"
    (built / "run.json").write_text(json.dumps(document))
    with pytest.raises(RunError, match=r"versions\.bpy: '1\.0', now '"):
        open_run(built)


def test_a_damaged_run_json_is_named_and_may_be_deleted(built: Path, inputs: Path) -> None:
    (built / "run.json").write_text('{"config": ')
    with pytest.raises(RunError, match=r"run.json is damaged: .* Delete it"):
        open_run(built)
    (built / "run.json").unlink()
    assert build(built, inputs) == []


def test_settings_count_from_the_moment_that_work_begins(built: Path, inputs: Path) -> None:
    other = with_setting("seed=1")
    with opened(built, other, update=True):
        pass  # nothing was begun
    open_run(built).close()
    with opened(built, other, update=True) as run:
        run.begin()
        assert not json.loads((built / "run.json").read_bytes())["complete"]
    with pytest.raises(RunError, match="seed: 1, now 0"):
        open_run(built)
    open_run(built, other).close()


def test_run_json_ends_with_the_counts(built: Path) -> None:
    document = json.loads((built / "run.json").read_bytes())
    assert document["complete"]
    assert document["config"] == SETTINGS.model_dump(mode="json")
    assert set(document["versions"]) == {"orbit4d", "bpy", "schema"}
    assert document["counts"] == {
        "assets": 3, "kept": 3, "rejected": 1, "failed": 1, "rules": {"a_rule": 2},
    }  # fmt: skip


def test_a_dry_run_changes_nothing(built: Path, inputs: Path, tmp_path: Path) -> None:
    make_inputs(inputs, b="kept", d="kept")
    before = contents(built)
    for settings, update in ((SETTINGS, False), (with_setting("seed=1"), True)):
        planned = plan([inputs], built, settings, Options(update=update))
        assert (planned.settled, planned.staged, planned.missing) == (
            (0, 0, 4) if update else (2, 0, 2)
        )
        assert contents(built) == before
    assert plan([inputs], tmp_path / "new", SETTINGS, Options()).missing == 4
    assert not (tmp_path / "new").exists()


# what stands


def test_an_asset_goes_from_missing_to_staged_to_settled(inputs: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "run") as run:
        run.begin()
        assert states(run, inputs) == dict.fromkeys("abc", "missing")
        work(run, source(inputs, "b"))
        assert states(run, inputs) == {"a": "missing", "b": "staged ", "c": "missing"}
    planned = plan([inputs], tmp_path / "run", SETTINGS, Options())
    assert (planned.settled, planned.staged, planned.missing) == (0, 1, 2)
    build(tmp_path / "run", inputs)
    with opened(tmp_path / "run") as run:
        assert states(run, inputs) == dict.fromkeys("abc", "settled")
        expected = [row for row in ledger.load(run.path) if row["path"] == "a.glb"]
        uid = source(inputs, "a").uid
        assert run.entered_rows(uid, whole=True) == expected
        assert run.settled_rows(source(inputs, "a")) == [
            {name: row[name] for name in COLUMNS} for row in expected
        ]


def test_whole_rows_come_from_whichever_part_has_them(tmp_path: Path) -> None:
    ledger.recover(tmp_path)
    for part, uids in enumerate(("abc", "def", "bgd")):
        rows = [
            {"uid": uid, "path": uid, "clip_index": clip, "error": f"{part}{uid}{clip}"}
            for clip in range(2)
            for uid in uids
        ]
        ledger.append(tmp_path, rows, part)
    records = Records()
    records.read_ledger(tmp_path)
    newest = ledger.load(tmp_path)
    for uid in "abcdefgabgdacb":
        assert records.whole_rows(uid) == [row for row in newest if row["uid"] == uid]
    assert [row["error"] for row in records.whole_rows("d")] == ["2d0", "2d1"]
    assert records.whole_rows("x") == []


def test_rows_of_other_settings_do_not_stand(built: Path, inputs: Path) -> None:
    with opened(built) as run:
        work(run, source(inputs, "a"))
    with opened(built, with_setting("seed=1"), update=True) as run:
        assert states(run, inputs) == dict.fromkeys("abc", "missing")


def test_a_touched_file_still_stands_a_changed_one_does_not(built: Path, inputs: Path) -> None:
    os.utime(inputs / "a.glb", ns=(1, 1))
    stat = (inputs / "b.glb").stat()
    (inputs / "b.glb").write_text("rejectde")  # as long as before
    os.utime(inputs / "b.glb", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    (inputs / "c.glb").unlink()
    gone = source(make_inputs(inputs, c="x"), "c")
    (inputs / "c.glb").unlink()
    with opened(built) as run:
        assert states(run, inputs) == {"a": "settled", "b": "missing"}
        assert run.settled_rows(gone) is None


@pytest.mark.parametrize("change", ["content", "gone", "none"])
def test_an_asset_stands_as_long_as_the_files_beside_it(
    inputs: Path, tmp_path: Path, change: str
) -> None:
    texture = inputs / "skin.png"
    texture.write_bytes(b"red")
    stat = texture.stat()
    with opened(tmp_path / "run") as run:
        asset = source(inputs, "b")
        rows = work(run, asset)
        rows[0]["companions"] = json.dumps([["skin.png", stat.st_size, stat.st_mtime_ns]])
        done_file(run.staging(asset)).write_text(json.dumps({"rows": rows}))
        if change == "content":
            texture.write_bytes(b"green")
        elif change == "gone":
            texture.unlink()
        assert (run.staged_rows(asset) is not None) == (change == "none")


def test_retry_reopens_what_failed_and_nothing_else(built: Path, inputs: Path) -> None:
    with opened(built, retry_failed=True) as run:
        assert states(run, inputs) == {"a": "settled", "b": "settled", "c": "missing"}
    assert build(built, inputs) == []
    assert build(built, inputs, retry_failed=True) == ["c.glb"]


def test_reopening_keeps_the_clips_that_did_not_fail(inputs: Path, tmp_path: Path) -> None:
    for retry, left in ((False, ["c000.json", "c001.json"]), (True, ["c000.json"])):
        with opened(tmp_path / "run", retry_failed=retry) as run:
            asset = source(inputs, "c")
            work(run, asset)
            run.reopen(asset)
            folder = run.staging(asset)
            assert sorted(path.name for path in folder.glob("*.json")) == left
            assert len(list(folder.glob("*.tar"))) == 1
            assert run.staged_rows(asset) is None


def test_staged_rows_need_their_samples_made_from_the_same(inputs: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "run") as run:
        asset = source(inputs, "a")
        rows = work(run, asset)
        assert run.staged_rows(asset) == rows
        second = run.staging(asset) / f"{rows[1]['sample_key']}.tar"
        whole = second.read_bytes()
        second.write_bytes(whole.replace(rows[1]["fingerprint"].encode(), b"0" * 16))
        assert run.staged_rows(asset) is None
        second.unlink()
        assert run.staged_rows(asset) is None
        assert run.finished_rows(asset) == rows  # what a worker has just left is taken as it is
        second.write_bytes(whole)
        assert run.staged_rows(asset) == rows


def test_an_asset_whose_samples_were_lost_is_done_again(built: Path, inputs: Path) -> None:
    expected = outcome(built)
    with opened(built) as run:
        shard = run.writer.keys[f"{source(inputs, 'a').uid}-000"].shard
    (built / "shards" / f"{shard}.tar").unlink()
    assert build(built, inputs) == ["a.glb"]
    assert outcome(built) == expected


def test_a_missing_page_or_index_does_no_harm(built: Path, inputs: Path) -> None:
    expected = outcome(built)
    for name in ("index.parquet", "index.json", "run.json"):
        (built / name).unlink()
    assert build(built, inputs) == []
    assert outcome(built) == expected

"""Nothing lost, nothing twice: whatever is killed when, the next build ends as if undisturbed."""

import contextlib
import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import ledger, sources
from curate.collect import Collector, next_cut
from curate.config import BuildConfig
from curate.sources import Source
from shards import index
from shards.errors import SampleError
from shards.files import sha256_of
from shards.manage import compact_run
from shards.read import SampleReader
from shards.tombstones import add_tombstones, content_name, with_copies
from shards.write import ShardWriter
from tests.curate.staging import (
    SETTINGS,
    Killed,
    build,
    killed_at,
    make_inputs,
    open_run,
    outcome,
    sample_bytes,
    samples,
    verdicts,
    work,
)

WORDS = {"a": "kept kept", "b": "rejected", "c": "kept failed", "d": "kept", "e": "kept"}
BRIGHTER = BuildConfig.load(None, ["shards.target_mb=0.012", "render.engine.samples=9"])
Action = Callable[[Path, Path], object]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see what a killed process leaves, not what a power cut leaves."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return make_inputs(tmp_path / "in", **WORDS)


def tars(run: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in (run / "shards").iterdir()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, dict[str, str]]:
    """Give outcome and shards of a build that nobody kills."""
    folder = tmp_path_factory.mktemp("undisturbed")
    build(folder / "run", make_inputs(folder / "in", **WORDS))
    return outcome(folder / "run"), tars(folder / "run")


def shard_of(run: Path, name: str) -> str:
    with_writer = ShardWriter(run, 1)
    return next(e.shard for e in with_writer.keys.values() if e.key.startswith(f"{name}-"))


# order


def test_the_order_of_finishing_does_not_show(inputs: Path, tmp_path: Path) -> None:
    build(tmp_path / "in order", inputs)
    expected = tars(tmp_path / "in order")
    assert len(expected) == 3  # a | c d | e
    merged = index.read_entries(tmp_path / "in order" / "index.parquet")
    assert [entry.key[0] + entry.key[-1] for entry in merged] == ["a0", "a1", "c0", "d0", "e0"]
    for number, order in enumerate(itertools.islice(itertools.permutations(range(5)), 0, 120, 35)):
        run = tmp_path / str(number)
        build(run, inputs, shuffle=lambda missing, order=order: [missing[i] for i in order])
        assert tars(run) == expected
        assert outcome(run) == outcome(tmp_path / "in order")


def test_nothing_is_packed_before_its_turn(inputs: Path, tmp_path: Path) -> None:
    found = sources.find_sources([inputs])
    run = open_run(tmp_path / "run")
    collector = Collector(run, found)
    for source in reversed(found[1:]):
        work(run, source)
        collector.finished(source, run.finished_rows(source))
    assert not run.writer.keys
    assert ledger.load(run.path) == []
    work(run, found[0])
    collector.finished(found[0], run.finished_rows(found[0]))
    assert len(tars(run.path)) == 1  # a; what makes less than two shards is cut in the end
    assert {row["path"] for row in ledger.load(run.path)} == {"a.glb", "b.glb"}
    collector.flush()
    assert len(tars(run.path)) == 3
    run.close()


def test_every_row_is_counted_once(inputs: Path, tmp_path: Path) -> None:
    found = sources.find_sources([inputs])
    for _ in range(2):  # the first time all are done, the second time all are settled
        run = open_run(tmp_path / "run")
        collector = Collector(run, found)
        for source in collector.take_over():
            work(run, source)
            collector.finished(source, run.finished_rows(source))
        collector.flush()
        run.close()
        assert collector.assets == 5
        assert collector.verdicts == {"kept": 5, "rejected": 1, "failed": 1}
        assert collector.rules == {"a_rule": 2}


def test_a_second_build_does_nothing(inputs: Path, tmp_path: Path) -> None:
    assert build(tmp_path / "run", inputs) == [f"{name}.glb" for name in WORDS]
    before = outcome(tmp_path / "run"), tars(tmp_path / "run")
    assert build(tmp_path / "run", inputs) == []
    assert (outcome(tmp_path / "run"), tars(tmp_path / "run")) == before


def test_workers_need_not_wait_for_what_is_settled_to_be_looked_through(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_inputs(inputs, f="kept", g="kept rejected", h="kept")
    build(tmp_path / "calm", inputs)
    for name in "fgh":
        (inputs / f"{name}.glb").rename(tmp_path / f"{name}.glb")
    build(tmp_path / "run", inputs)
    for name in "fgh":
        (tmp_path / f"{name}.glb").rename(inputs / f"{name}.glb")
    monkeypatch.setattr("curate.collect._CATCH_UP", 2)
    run = open_run(tmp_path / "run")
    looked_at: list[str] = []
    entered = run.entered_rows

    def noted(uid: str, *, whole: bool) -> list[dict[str, Any]]:
        looked_at.append(uid[0])
        return entered(uid, whole=whole)

    monkeypatch.setattr(run, "entered_rows", noted)
    with contextlib.closing(run):
        run.begin()
        collector = Collector(run, sources.find_sources([inputs]))
        for source, so_far in zip(collector.take_over(), ("", "ab", "abcd"), strict=True):
            assert "".join(looked_at) == so_far
            work(run, source)
            collector.finished(source, run.finished_rows(source))
        collector.flush()
        assert "".join(looked_at) == "abcde"
        run.finish({})
    assert outcome(tmp_path / "run") == outcome(tmp_path / "calm")


# where shards end


def cut_all(sizes: list[int], target: int) -> list[list[int]]:
    """Cut as a build does that gets these samples one by one."""
    line: list[int] = []
    shards: list[list[int]] = []

    def pack(last: bool) -> None:
        while count := next_cut(line, target, last=last):
            shards.append(line[:count])
            del line[:count]

    for size in sizes:
        line.append(size)
        pack(False)
    pack(True)
    assert not line
    return shards


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 100))
def test_no_shard_is_a_sliver(sizes: list[int], target: int) -> None:
    shards = cut_all(sizes, target)
    assert [size for shard in shards for size in shard] == sizes
    largest = max(sizes, default=0)
    totals = [sum(shard) for shard in shards]
    for total in totals:
        assert total < max(1.5 * target, target + largest)
        assert total >= min(0.75 * target - largest, sum(sizes))
    if largest * 20 < target and len(totals) > 1:
        assert max(totals) < 2.2 * min(totals)


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 100), st.data())
def test_cuts_go_on_where_a_killed_build_stopped(
    sizes: list[int], target: int, data: st.DataObject
) -> None:
    shards = cut_all(sizes, target)
    done = data.draw(st.integers(0, len(shards)))
    rest = sizes[sum(len(shard) for shard in shards[:done]) :]
    assert cut_all(rest, target) == shards[done:]


def test_an_asset_that_lies_in_two_shards_is_entered_once_both_are_there(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path / "in", a="kept " * 7, b="rejected", c="kept")
    build(tmp_path / "undisturbed", inputs)
    expected = outcome(tmp_path / "undisturbed"), tars(tmp_path / "undisturbed")
    assert len(expected[1]) == 4  # two samples each, the last ones too
    for commits in range(1, 5):
        run = tmp_path / str(commits)
        with pytest.MonkeyPatch.context() as patch:
            dying = Dies(ShardWriter.commit, False, commits)
            patch.setattr(ShardWriter, "commit", lambda *args, dying=dying: dying(*args))
            with pytest.raises(Killed):
                build(run, inputs)
        assert len(tars(run)) == commits
        assert "a.glb" not in build(run, inputs)
        assert (outcome(run), tars(run)) == expected


# kills at named moments


class Dies:
    """Wraps a function: runs it, or not, and then the process is gone."""

    def __init__(self, real: Callable[..., Any], before: bool, calls: int) -> None:
        self.real, self.before, self.calls = real, before, calls

    def __call__(self, *args: Any, **more: Any) -> Any:
        self.calls -= 1
        if self.calls == 0 and self.before:
            raise Killed
        result = self.real(*args, **more)
        if self.calls == 0:
            raise Killed
        return result


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("calls", [1, 2])
@pytest.mark.parametrize("moment", ["commit", "append", "clear"])
def test_a_flush_killed_between_its_steps(
    moment: str,
    calls: int,
    before: bool,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: tuple[object, dict[str, str]],
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        if moment == "commit":
            dying = Dies(ShardWriter.commit, before, calls)
            patch.setattr(ShardWriter, "commit", lambda *args: dying(*args))
        elif moment == "append":
            patch.setattr(ledger, "append", Dies(ledger.append, before, calls))
        else:
            patch.setattr(shutil, "rmtree", Dies(shutil.rmtree, before, calls))
        with pytest.raises(Killed):
            build(run, inputs)
    again = build(run, inputs)
    assert len(again) < len(WORDS)  # what was staged is not done again
    assert (outcome(run), tars(run)) == undisturbed


# kills at every moment


def change(inputs: Path) -> None:
    """Give two assets of one shard, and one of another, other content."""
    make_inputs(inputs, a="rejected kept", c="kept kept", d="kept rejected kept")


SCENES: dict[str, tuple[Action, Action]] = {  # what comes before, what is killed and repeated
    "first build": (lambda run, inputs: None, lambda run, inputs: build(run, inputs)),
    "changed files": (
        lambda run, inputs: (build(run, inputs), change(inputs)),
        lambda run, inputs: build(run, inputs),
    ),
    "other settings": (
        lambda run, inputs: build(run, inputs),
        lambda run, inputs: build(run, inputs, BRIGHTER, update=True),
    ),
    "retry": (
        lambda run, inputs: (build(run, inputs), make_inputs(inputs, c="kept kept")),
        lambda run, inputs: build(run, inputs, retry_failed=True),
    ),
}


@pytest.fixture(params=SCENES)
def scene(
    request: pytest.FixtureRequest, inputs: Path, tmp_path: Path
) -> tuple[Path, Callable[[Path], object], int, object]:
    """Give the folder before, what is done to it, in how many steps, and with what outcome."""
    prepare, act = SCENES[request.param]
    start, done = tmp_path / "start", tmp_path / "done"
    prepare(start, inputs)
    start.mkdir(exist_ok=True)
    shutil.copytree(start, done)
    with killed_at(10**9) as steps:
        act(done, inputs)
    return start, lambda run: act(run, inputs), steps[0], outcome(done)


def check_killed(
    scene: tuple[Path, Callable[[Path], object], int, object], kills: Iterable[tuple[int, ...]]
) -> None:
    start, act, _, expected = scene
    for steps in kills:
        run = start.with_name("killed")
        shutil.copytree(start, run)
        for step in steps:
            with killed_at(step):
                act(run)
            samples(run)  # at any time: no sample twice, and each of them whole
        act(run)
        assert outcome(run) == expected, f"killed after {steps} changes to the disk"
        shutil.rmtree(run)


@pytest.mark.slow
def test_killed_at_some_moments(
    scene: tuple[Path, Callable[[Path], object], int, object],
) -> None:
    steps = scene[2]
    assert steps > 40
    check_killed(scene, [(step,) for step in range(steps // 2, steps, 17)])


@pytest.mark.slow
def test_killed_at_many_moments(
    scene: tuple[Path, Callable[[Path], object], int, object],
) -> None:
    check_killed(scene, [(step,) for step in range(0, scene[2], 4)])


@pytest.mark.slow
def test_killed_again_while_it_recovers(
    scene: tuple[Path, Callable[[Path], object], int, object],
) -> None:
    check_killed(scene, twice(scene[2], 20))


@pytest.mark.long
def test_killed_at_every_moment_and_again(
    scene: tuple[Path, Callable[[Path], object], int, object],
) -> None:
    check_killed(scene, [(step,) for step in range(scene[2])])
    check_killed(scene, twice(scene[2], 200))


def twice(steps: int, count: int) -> list[tuple[int, int]]:
    """Draw pairs of moments; the first pairs of a longer list are those of a shorter one."""
    draw = random.Random(0)
    return [(draw.randrange(steps), draw.randrange(steps // 2)) for _ in range(count)]


# assets that change


def test_a_changed_asset_takes_back_its_samples_and_no_others(inputs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    build(run, inputs)
    before, untouched = samples(run), tars(run)[f"{shard_of(run, 'a')}.tar"]
    gone = shard_of(run, "d")
    assert gone == shard_of(run, "c")
    make_inputs(inputs, d="rejected kept")
    assert build(run, inputs) == ["d.glb"]
    packed, rows = outcome(run)
    others = {key: sha for key, sha in before.items() if not key.startswith("d-")}
    assert {key: sha for key, sha in packed.items() if not key.startswith("d-")} == others
    assert [row[1:3] for row in rows if row[0] == "d.glb"] == [(0, "rejected"), (1, "kept")]
    assert tars(run)[f"{shard_of(run, 'a')}.tar"] == untouched
    assert f"{gone}.tar" not in tars(run)  # withdrawn, and its name is not used again


def test_a_clip_that_was_taken_down_stays_down(inputs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    build(run, inputs)
    down, other = (key for key in samples(run) if key.startswith("a-"))
    add_tombstones(run, {down: "asked for"})
    assert build(run, inputs) == []
    assert down in samples(run)  # a build leaves shards alone that nothing else changes
    compact_run(run, 12_000)
    assert build(run, inputs) == []
    assert down not in samples(run)
    make_inputs(inputs, a="kept kept kept")  # now it is judged and packed anew
    assert build(run, inputs) == ["a.glb"]
    packed = {key for key in samples(run) if key.startswith("a-")}
    assert packed == {other, other.replace("-001", "-002")}
    assert build(run, inputs) == []


@pytest.mark.parametrize("compacted", [True, False])
def test_an_asset_that_was_taken_down_stays_down(
    inputs: Path, tmp_path: Path, compacted: bool
) -> None:
    run = tmp_path / "run"
    build(run, inputs)
    (uid,) = {row["uid"] for row in ledger.load(run) if row["path"] == "a.glb"}
    add_tombstones(run, {uid: "asked for"})
    if compacted:
        compact_run(run, 12_000)
    assert build(run, inputs) == []
    assert "a.glb" in build(run, inputs, BRIGHTER, update=True)
    (row,) = (row for row in ledger.load(run) if row["uid"] == uid)
    assert (row["clip_index"], row["verdict"], row["rule"]) == (-1, "rejected", "taken_down")
    assert not any(key.startswith(uid) for key in samples(run))
    assert build(run, inputs, BRIGHTER) == []
    (run / "tombstones.json").unlink()  # the way back
    assert build(run, inputs, BRIGHTER) == ["a.glb"]
    build(tmp_path / "fresh", inputs, BRIGHTER)
    assert outcome(run) == outcome(tmp_path / "fresh")


def test_a_copy_of_the_same_bytes_stays_down_with_its_original(
    inputs: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    build(run, inputs)
    (uid,) = {row["uid"] for row in ledger.load(run) if row["path"] == "d.glb"}
    add_tombstones(run, with_copies({uid: ""}, SampleReader(run).entries()))
    hashes = {row["path"]: row["sha256"] for row in ledger.load(run)}
    assert hashes["d.glb"] == hashes["e.glb"]  # another name of the same bytes
    add_tombstones(run, {content_name(hashes["d.glb"]): ""})
    assert build(run, inputs) == ["e.glb"]
    (row,) = (row for row in ledger.load(run) if row["path"] == "e.glb")
    assert (row["clip_index"], row["rule"]) == (-1, "taken_down")
    assert not any(key.startswith("e-") for key in samples(run))
    assert build(run, inputs) == []
    (run / "tombstones.json").unlink()  # the way back
    assert build(run, inputs) == ["e.glb"]
    build(tmp_path / "fresh", inputs)
    assert outcome(run) == outcome(tmp_path / "fresh")


def test_a_sample_that_waits_to_be_packed_again_is_not_once_it_is_taken_down(
    inputs: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    build(run, inputs)
    gone = next(key for key in samples(run) if key.startswith("c-"))
    assert shard_of(run, "c") == shard_of(run, "d")
    add_tombstones(run, {gone: ""})
    make_inputs(inputs, d="kept kept")  # withdraws the shard that both lie in
    assert build(run, inputs) == ["d.glb"]
    assert gone not in samples(run)
    assert build(run, inputs) == []


@pytest.mark.parametrize("target_mb", [0.001, 0.012, 1.0])
def test_two_changed_assets_of_one_shard(inputs: Path, tmp_path: Path, target_mb: float) -> None:
    build(tmp_path / "run", inputs)
    assert shard_of(tmp_path / "run", "c") == shard_of(tmp_path / "run", "d")
    make_inputs(inputs, c="kept kept", d="kept kept")
    settings = BuildConfig.load(None, [f"shards.target_mb={target_mb}"])
    assert build(tmp_path / "run", inputs, settings) == ["c.glb", "d.glb"]
    build(tmp_path / "fresh", inputs)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "fresh")


def test_an_asset_that_changes_while_its_old_sample_waits_to_be_packed_again(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    build(run, inputs)
    make_inputs(inputs, c="rejected kept")
    with monkeypatch.context() as patch:  # d's sample was taken back beside c's
        dying = Dies(ShardWriter.withdraw, before=False, calls=1)
        patch.setattr(ShardWriter, "withdraw", lambda *args: dying(*args))
        with pytest.raises(Killed):
            build(run, inputs)
    assert [path.name[0] for path in (run / "staging" / ".withdrawn").iterdir()] == ["d"]
    make_inputs(inputs, d="kept rejected kept")
    assert build(run, inputs) == ["d.glb"]
    build(tmp_path / "fresh", inputs)
    assert outcome(run) == outcome(tmp_path / "fresh")


def test_samples_that_wait_to_be_packed_again_are_not_rendered_again(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    build(run, inputs)
    make_inputs(inputs, c="rejected kept")
    with monkeypatch.context() as patch:
        dying = Dies(ShardWriter.withdraw, before=False, calls=1)
        patch.setattr(ShardWriter, "withdraw", lambda *args: dying(*args))
        with pytest.raises(Killed):
            build(run, inputs)
    assert build(run, inputs) == []  # d waits, c is staged
    build(tmp_path / "fresh", inputs)
    assert outcome(run) == outcome(tmp_path / "fresh")


def test_what_a_kill_within_a_withdrawal_leaves_is_cleared_away(
    inputs: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    build(run, inputs)
    expected = outcome(run)
    withdrawn = run / "staging" / ".withdrawn"
    withdrawn.mkdir(parents=True)
    entry = next(iter(ShardWriter(run, 1).keys.values()))  # its shard is still there
    copy = sample_bytes(entry.uid, entry.clip_index, entry.fingerprint)
    (withdrawn / f"{entry.key}.tar").write_bytes(copy)
    for path in (withdrawn / "d-0123456789-000.tar", run / "run.json", run / "index.parquet"):
        path.with_name(f".tmp-1-{path.name}").write_bytes(b"half")
    assert build(run, inputs) == []
    assert outcome(run) == expected


def test_staged_work_is_a_newer_word_than_the_ledger(inputs: Path, tmp_path: Path) -> None:
    # A retry that succeeded was killed before it was packed; the next build does not ask for one.
    run = open_run(tmp_path / "run")
    run.begin()
    e = sources.find_sources([inputs / "e.glb"])[0]
    (row,) = work(run, e)
    failed = row | {"verdict": "failed", "sample_key": "", "fingerprint": ""}
    ledger.append(run.path, [failed], 0)
    run.close()
    assert build(tmp_path / "run", [inputs / "e.glb"]) == []
    assert [verdict[2] for verdict in outcome(tmp_path / "run")[1]] == ["kept"]


def test_withdrawn_samples_of_assets_that_are_no_input_any_more_stay_in_the_run(
    inputs: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    build(run, inputs)
    before = samples(run)
    make_inputs(inputs, c="rejected rejected")
    build(run, [inputs / "c.glb"])
    after = {key: sha for key, sha in before.items() if not key.startswith("c-")}
    assert outcome(run)[0] == after


def test_an_asset_that_cannot_be_read_any_more_loses_its_samples(
    inputs: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    build(run, inputs)
    make_inputs(inputs, a="failed", e="rejected")
    build(run, inputs)
    packed, rows = outcome(run)
    assert {key[0] for key in packed} == {"c", "d"}
    assert [row[2] for row in rows if row[0] == "a.glb"] == ["failed"]


def test_back_and_forth_between_settings(inputs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    build(run, inputs)
    expected = outcome(run)
    for step in (45, 90):
        with killed_at(step):
            build(run, inputs, BRIGHTER, update=True)
        build(run, inputs, SETTINGS, update=True)
        assert outcome(run) == expected


def test_what_was_staged_for_other_inputs_waits_for_them(inputs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with killed_at(60):
        build(run, inputs, shuffle=lambda missing: missing[::-1])
    done = {path.parent.name[0] for path in run.glob("staging/*/asset.json")}
    assert done
    assert "a" not in done
    build(run, [inputs / "a.glb"])
    assert {row[0] for row in verdicts(run)} == {"a.glb"}
    again = build(run, inputs)
    assert {path[0] for path in again} == set(WORDS) - done - {"a"}
    build(tmp_path / "fresh", inputs)
    assert outcome(run) == outcome(tmp_path / "fresh")


def test_a_sample_without_its_row_reopens_the_asset(inputs: Path, tmp_path: Path) -> None:
    # A retry was packed, killed before its rows were entered, and its staging is gone.
    run = tmp_path / "run"
    build(run, make_inputs(inputs, e="failed"))
    old_rows = [row for row in ledger.load(run) if row["path"] == "e.glb"]
    make_inputs(inputs, e="kept")
    build(run, inputs)
    expected = outcome(run)
    stat = (inputs / "e.glb").stat()
    rows = [row | {"bytes": stat.st_size, "modified_ns": stat.st_mtime_ns} for row in old_rows]
    ledger.append(run, rows, ledger.next_number(run))
    assert build(run, inputs) == ["e.glb"]
    assert outcome(run) == expected


def test_a_retry_that_fails_again_is_entered_again(inputs: Path, tmp_path: Path) -> None:
    build(tmp_path / "run", inputs)
    before = outcome(tmp_path / "run")
    assert build(tmp_path / "run", inputs, retry_failed=True) == ["c.glb"]
    assert outcome(tmp_path / "run") == before


def test_a_kept_row_whose_sample_is_nowhere_stops_the_build(inputs: Path, tmp_path: Path) -> None:
    found = sources.find_sources([inputs])
    run = open_run(tmp_path / "run")
    collector = Collector(run, found)
    work(run, found[0])
    for path in run.staging(found[0]).glob("*-000.tar"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"a-.*-000\.tar"):
        collector.finished(found[0], run.finished_rows(found[0]))
    run.close()


def test_a_staged_file_that_is_no_sample_is_not_packed(inputs: Path, tmp_path: Path) -> None:
    found: list[Source] = sources.find_sources([inputs])
    run = open_run(tmp_path / "run")
    collector = Collector(run, found)
    work(run, found[0])
    for path in run.staging(found[0]).glob("*.tar"):
        path.write_bytes(bytes(20_000))
    with pytest.raises(SampleError, match="a-"):
        collector.finished(found[0], run.finished_rows(found[0]))
    assert tars(tmp_path / "run") == {}
    run.close()

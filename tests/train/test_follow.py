"""Training on a RUN that is still being built."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from shards.errors import RunError
from shards.write import ShardWriter
from tests.make_shards import make_run, stage_samples
from tests.train.small import CONFIG
from train.config import DataConfig
from train.data import Batches, follow_clips, open_clips
from train.generate import generate_held_out, held_out_keys
from train.loop import fit
from train.report import StepReport
from train.run import plan_fit, write_document
from train.split import names_kept_out

DATA = DataConfig(size=8, frames=2)
# the first shard has one asset: only some of its clips can be held out
FEW = {"frames": 2, "held_out": "clips"}
SMALL = CONFIG.model_copy(update={"data": CONFIG.data.model_copy(update=FEW)})
Grow = Callable[[int], None]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def grow(tmp_path: Path, run: Path) -> Grow:
    """Give what finishes the next shard, of so many samples; the first one is there."""
    (tmp_path / "staged").mkdir()
    staged = stage_samples(tmp_path / "staged", assets=3, clips=4, frames=2, size=8)
    writer = ShardWriter(run, 1)

    def commit(count: int) -> None:
        writer.commit(list(islice(staged, count)))

    commit(4)
    return commit


def keys_of(batches: Batches, count: int) -> list[str]:
    keys: list[str] = []
    for batch in islice(batches, count):
        keys += batch.keys
        batches.advance()
    return keys


def test_new_clips_join_at_the_next_epoch_and_what_is_held_out_stays_out(
    run: Path, grow: Grow
) -> None:
    held_out = ("blob00-001",)
    batches = Batches(follow_clips(run, DATA, 0, held_out), 1, 0)
    first = keys_of(batches, 1)
    grow(4)
    first += keys_of(batches, 2)
    assert sorted(first) == ["blob00-000", "blob00-002", "blob00-003"]
    second = keys_of(batches, 7)
    assert sorted(second) == sorted(first) + [f"blob01-{clip:03d}" for clip in range(4)]


def test_a_place_stays_valid_while_the_run_grows(run: Path, grow: Grow) -> None:
    whole = Batches(follow_clips(run, DATA, 0, ()), 2, 0)
    expected = keys_of(whole, 2)
    first = Batches(follow_clips(run, DATA, 0, ()), 2, 0)
    assert keys_of(first, 1) == expected[:2]
    grow(8)
    second = Batches(follow_clips(run, DATA, 0, ()), 2, 0)
    second.load_state_dict(first.state_dict())
    assert keys_of(second, 1) == expected[2:]
    assert len(set(keys_of(second, 6))) == 12


def test_a_plan_keeps_what_the_first_call_held_out(run: Path, grow: Grow, tmp_path: Path) -> None:
    first = plan_fit(SMALL, run, tmp_path / "fit", follow=True)
    assert (len(first.split.train), len(first.split.held_out)) == (3, 1)
    (tmp_path / "fit").mkdir()
    grow(8)
    write_document(first, run, tmp_path / "fit")
    later = plan_fit(SMALL, run, tmp_path / "fit", follow=True)
    assert later.split.held_out == first.split.held_out
    assert len(later.split.train) == 11


def test_of_an_asset_that_is_held_out_later_clips_are_too(
    run: Path, grow: Grow, tmp_path: Path
) -> None:
    grow(2)  # of the second asset; two more follow
    whole = CONFIG.model_copy(update={"data": SMALL.data.model_copy(update={"held_out": "assets"})})
    first = plan_fit(whole, run, tmp_path / "fit", follow=True)
    (asset,) = {key.rpartition("-")[0] for key in first.split.held_out}
    (tmp_path / "fit").mkdir()
    write_document(first, run, tmp_path / "fit")
    grow(6)
    later = plan_fit(whole, run, tmp_path / "fit", follow=True)
    trained = follow_clips(run, DATA, 0, names_kept_out(first.split.held_out, "assets"))
    keys = {trained[at].key for at in range(len(trained))}
    assert keys == set(later.split.train)
    assert len(keys) == 8
    assert not any(key.startswith(asset) for key in keys)


def test_following_and_not_following_do_not_mix(run: Path, grow: Grow, tmp_path: Path) -> None:
    finished = make_run(tmp_path / "finished", assets=1, clips=2, frames=2, size=8)
    for follow, word in ((True, "with"), (False, "without")):
        out = tmp_path / word
        out.mkdir()
        write_document(plan_fit(SMALL, finished, out, follow=follow), finished, out)
        with pytest.raises(RunError, match=f"was trained {word} --follow"):
            plan_fit(SMALL, finished, out, follow=not follow)


def test_a_run_without_a_shard_is_waited_for(tmp_path: Path) -> None:
    ShardWriter(tmp_path / "run", 1)
    with pytest.raises(RunError, match="has no finished shard yet"):
        plan_fit(SMALL, tmp_path / "run", tmp_path / "fit", follow=True)


def test_what_was_held_out_is_found_while_the_run_grows(
    run: Path, grow: Grow, tmp_path: Path
) -> None:
    out = tmp_path / "fit"
    out.mkdir()
    plan = plan_fit(SMALL, run, out, follow=True)
    write_document(plan, run, out)
    grow(4)
    assert not (run / "index.parquet").exists()
    keys = held_out_keys(out, run)
    assert keys == plan.split.held_out
    clips = open_clips(run, SMALL.data, 0, keys, follow=True)
    assert (len(clips), clips[0].key) == (1, keys[0])


@pytest.mark.slow
def test_training_goes_through_a_growing_run_and_resumes(
    run: Path, grow: Grow, tmp_path: Path
) -> None:
    steps = iter(range(1, 100))

    def grow_in_step_1(report: StepReport) -> None:
        if next(steps) == 1:
            grow(4)

    config = SMALL.model_copy(update={"time_budget_s": 1e-9})
    out = tmp_path / "fit"
    for done in range(1, 4):
        plan = plan_fit(config, run, out, follow=True)
        assert fit(plan, run, out, grow_in_step_1).steps_done == done
    grow(4)
    plan = plan_fit(SMALL, run, out, follow=True)
    assert len(plan.split.train) == 11
    assert fit(plan, run, out).finished
    assert not (run / "index.parquet").exists()
    made = generate_held_out(out, run, tmp_path / "orbits", seeds=1)
    assert made.keys == plan.split.held_out

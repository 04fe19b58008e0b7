import os
import shutil
from pathlib import Path

import pytest
import torch

from shards.errors import MachineError, RunError
from tests.train.small import CONFIG as SMALL
from tests.train.small import MODEL, random_batch
from train.checkpoint import (
    OLD_STATE,
    Progress,
    checkpoint_steps,
    clear_unfinished,
    load_checkpoint,
    step_folder,
)
from train.config import CheckpointConfig
from train.ranks import Ranks
from train.saver import Saver, moments, restore
from train.trainer import Trainer

pytestmark = pytest.mark.slow  # together

CPU = torch.device("cpu")
# a checkpoint has a file entry per tensor: the fewer, the faster
CONFIG = SMALL.model_copy(
    update={"model": MODEL.model_copy(update={"channels": (8,), "attention": (False,)})}
)
STREAM = {"epoch": 0, "done": 4, "seed": 0, "index_hash": 1}


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    made = Trainer(CONFIG, CPU)
    for _ in range(2):
        made.step(random_batch())
    return made


def save(trainer: Trainer, folder: Path, step: int, keep: int = 2, **more: bool) -> Path:
    progress = Progress(step, 2, STREAM, {1: "clip-000"}, {"clip-007": "cut off"})
    saver = Saver(folder, CheckpointConfig(keep=keep, **more), Ranks(CPU))
    saver.save(trainer, progress)
    saver.close()
    return step_folder(folder, step)


@pytest.mark.parametrize("background", [False, True])
def test_what_is_saved_comes_back(trainer: Trainer, tmp_path: Path, background: bool) -> None:
    save(trainer, tmp_path / "new", 7, background=background)
    fresh = Trainer(CONFIG.model_copy(update={"seed": 5}), CPU)
    progress = restore(fresh, tmp_path / "new", 7)
    assert progress == Progress(7, 2, STREAM, {1: "clip-000"}, {"clip-007": "cut off"})
    assert (fresh.done, fresh.ema.updates) == (7, 2)
    for ours, theirs in (
        (trainer.model.state_dict(), fresh.model.state_dict()),
        (trainer.ema.weights, fresh.ema.weights),
        (moments(trainer), moments(fresh)),
    ):
        assert ours.keys() == theirs.keys()
        assert all(theirs[name].equal(value) for name, value in ours.items())
    read = load_checkpoint(tmp_path / "new")
    assert read.ema["conv_in.weight"].equal(trainer.ema.weights["conv_in.weight"])


def test_a_copy_is_written_while_training_goes_on(tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, CPU)
    trainer.step(random_batch())
    then = {name: value.clone() for name, value in moments(trainer).items()}
    saver = Saver(tmp_path, CheckpointConfig(background=True), Ranks(CPU))
    saver.save(trainer, Progress(1, 1, STREAM))
    trainer.step(random_batch(seed=1))
    saver.close()
    fresh = Trainer(CONFIG, CPU)
    restore(fresh, tmp_path, 1)
    assert all(then[name].equal(value) for name, value in moments(fresh).items())


def test_an_old_checkpoint_is_taken_up(trainer: Trainer, tmp_path: Path) -> None:
    path = save(trainer, tmp_path, 2)
    old = {
        "optimizer": trainer.optimizer.state_dict(),
        "ema_updates": 2,
        "stream": STREAM,
    }
    torch.save(old, path / OLD_STATE)
    shutil.rmtree(path / "state")
    (path / "state.json").unlink()
    fresh = Trainer(CONFIG, CPU)
    assert restore(fresh, tmp_path, 2) == Progress(2, 2, STREAM)
    assert all(fresh_value.equal(moments(trainer)[n]) for n, fresh_value in moments(fresh).items())
    one, other = (made.step(random_batch(seed=3)).loss for made in (copy_of(trainer), fresh))
    assert one == other


def copy_of(trainer: Trainer) -> Trainer:
    made = Trainer(CONFIG, CPU)
    made.model.load_state_dict(trainer.model.state_dict())
    made.optimizer.load_state_dict(trainer.optimizer.state_dict())
    made.done = 2
    return made


def test_the_last_ones_are_kept(trainer: Trainer, tmp_path: Path) -> None:
    for step in (1, 2, 10, 1_000_000):
        save(trainer, tmp_path, step)
    assert checkpoint_steps(tmp_path) == [10, 1_000_000]
    assert load_checkpoint(tmp_path).step == 1_000_000
    assert load_checkpoint(tmp_path, 10).step == 10


def test_saving_a_step_again_changes_nothing(trainer: Trainer, tmp_path: Path) -> None:
    save(trainer, tmp_path, 3)
    save(trainer, tmp_path, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000003"]


def test_a_half_written_checkpoint_is_not_seen(trainer: Trainer, tmp_path: Path) -> None:
    save(trainer, tmp_path, 1)
    whole = save(trainer, tmp_path, 2)
    shutil.copytree(whole, tmp_path / ".tmp-step-000003")
    (tmp_path / ".tmp-step-000003" / "state.json").unlink()
    assert load_checkpoint(tmp_path).step == 2
    clear_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000001", "step-000002"]


@pytest.mark.parametrize("background", [False, True])
def test_a_failed_write_leaves_the_others_and_no_part(
    trainer: Trainer, tmp_path: Path, background: bool
) -> None:
    save(trainer, tmp_path, 1)
    (tmp_path / ".tmp-step-000002").write_text("in the way")  # no folder can be made there
    with pytest.raises(MachineError, match=r"of step 2 could not be written: .*step 1, which st"):
        save(trainer, tmp_path, 2, background=background)
    (tmp_path / ".tmp-step-000002").unlink()
    save(trainer, tmp_path, 3, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000003"]


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "state/.metadata", "state/*"])
@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_damage_is_named(saved: Path, tmp_path: Path, name: str, damage: str) -> None:
    folder = shutil.copytree(saved, tmp_path / saved.name)
    path = next(iter(folder.glob("state/*.distcp"))) if name.endswith("*") else folder / name
    size = path.stat().st_size
    if damage == "cut":
        os.truncate(path, size // 2)
    else:
        path.unlink()
    with pytest.raises(RunError, match=r"step-000005: damaged.*remove this folder"):
        restore(Trainer(CONFIG, CPU), tmp_path, 5)


@pytest.fixture(scope="module")
def saved(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(trainer, tmp_path_factory.mktemp("saved"), 5)


def test_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no checkpoint of step None, found"):
        load_checkpoint(tmp_path)

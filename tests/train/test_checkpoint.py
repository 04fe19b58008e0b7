import shutil
from pathlib import Path

import pytest
import torch

from shards.errors import RunError
from train.checkpoint import (
    Checkpoint,
    checkpoint_steps,
    clear_unfinished,
    load_checkpoint,
    save_checkpoint,
)


def checkpoint(step: int) -> Checkpoint:
    weights = {"a.weight": torch.full((2, 3), float(step)), "b": torch.arange(4.0)}
    state = {"optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}, "stream": {"done": step}}
    return Checkpoint(step, weights, {k: v + 1 for k, v in weights.items()}, state)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "new", checkpoint(7), keep=2)
    back = load_checkpoint(tmp_path / "new")
    assert back.step == 7
    assert back.state["stream"] == {"done": 7}
    assert back.model["a.weight"].equal(torch.full((2, 3), 7.0))
    assert back.ema["a.weight"].equal(torch.full((2, 3), 8.0))


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10, 1_000_000):
        save_checkpoint(tmp_path, checkpoint(step), keep=2)
    assert checkpoint_steps(tmp_path) == [10, 1_000_000]
    assert load_checkpoint(tmp_path).step == 1_000_000
    assert load_checkpoint(tmp_path, 10).step == 10


def test_saving_a_step_again_changes_nothing(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(3), keep=2)
    save_checkpoint(tmp_path, checkpoint(3), keep=2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000003"]


def test_a_half_written_checkpoint_is_not_seen(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1), keep=2)
    whole = save_checkpoint(tmp_path, checkpoint(2), keep=2)
    shutil.copytree(whole, tmp_path / ".tmp-99-step-000003")
    (tmp_path / ".tmp-99-step-000003" / "state.pt").unlink()
    assert load_checkpoint(tmp_path).step == 2
    clear_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000001", "step-000002"]


def test_a_failed_write_leaves_the_others_and_no_part(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1), keep=1)
    unsaveable = Checkpoint(2, checkpoint(2).model, checkpoint(2).ema, {"no": lambda: 0})
    with pytest.raises((AttributeError, RuntimeError, TypeError), match=r"pickle|lambda|local"):
        save_checkpoint(tmp_path, unsaveable, keep=1)
    assert load_checkpoint(tmp_path).step == 1
    save_checkpoint(tmp_path, checkpoint(3), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000003"]


@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors", "state.pt"])
@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_damage_is_named(tmp_path: Path, name: str, damage: str) -> None:
    path = save_checkpoint(tmp_path, checkpoint(5), keep=1) / name
    data = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    with pytest.raises(RunError, match=r"step-000005: damaged.*remove this folder"):
        load_checkpoint(tmp_path)


def test_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no checkpoint of step None, found"):
        load_checkpoint(tmp_path)

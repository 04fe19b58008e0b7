from pathlib import Path

import pytest

from shards.errors import ConfigError, RunError
from shards.tombstones import add_tombstones
from tests.make_shards import make_run
from tests.train.small import CONFIG
from train.presets import PRESETS, preset
from train.run import FitFolder, Plan, orbit_of, plan_fit, write_document


@pytest.fixture
def started(tiny_run: Path, tmp_path: Path) -> Plan:
    plan = plan_fit(CONFIG, tiny_run, tmp_path / "fit")
    (tmp_path / "fit").mkdir()
    write_document(plan, tiny_run, tmp_path / "fit")
    return plan


def test_a_plan_writes_nothing(tiny_run: Path, tmp_path: Path) -> None:
    plan = plan_fit(CONFIG, tiny_run, tmp_path / "fit")
    assert (plan.steps_done, plan.finished) == (0, False)
    assert len(plan.split.train) + len(plan.split.held_out) == 12
    assert not (tmp_path / "fit").exists()


def test_the_document_reads_back(started: Plan, tmp_path: Path) -> None:
    assert FitFolder(tmp_path / "fit").read() == (started.config, started.split)


def test_a_folder_at_its_last_step_is_finished(
    started: Plan, tiny_run: Path, tmp_path: Path
) -> None:
    (tmp_path / "fit" / "checkpoints" / "step-000006").mkdir(parents=True)
    (tmp_path / "fit" / "checkpoints" / ".tmp-1-step-000009").mkdir()
    assert plan_fit(started.config, tiny_run, tmp_path / "fit").finished


@pytest.mark.usefixtures("started")
def test_other_settings_are_refused_by_name(tiny_run: Path, tmp_path: Path) -> None:
    other = CONFIG.model_copy(update={"seed": 3, "batch": 1})
    with pytest.raises(RunError, match=r"other settings \(batch: 2 -> 1; seed: 0 -> 3\)"):
        plan_fit(other, tiny_run, tmp_path / "fit")
    plan_fit(CONFIG.model_copy(update={"time_budget_s": 5.0}), tiny_run, tmp_path / "fit")


@pytest.mark.usefixtures("started")
def test_other_data_are_refused(tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", assets=1, clips=2)
    with pytest.raises(RunError, match=r"was trained on .*another --out"):
        plan_fit(CONFIG, other, tmp_path / "fit")


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run.json, so nothing was trained"):
        FitFolder(tmp_path).read()


def test_cameras_are_noted_from_clips_that_can_be_read(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", assets=1, clips=3)
    keys = tuple(f"blob00-{clip:03d}" for clip in range(3))
    add_tombstones(run, {"blob00-000": "asked to"})
    assert orbit_of(run, keys)["frames"] == 6
    with pytest.raises(RunError, match="none of its 1 clips can be read"):
        orbit_of(run, keys[:1])


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_hold_together_and_take_overrides(name: str) -> None:
    assert preset(name, ["optim.lr=0.5"]).optim.lr == 0.5


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(ConfigError, match=r"preset 'huge': expected one of full"):
        preset("huge")


def test_an_image_size_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data.size 30 is no multiple of"):
        preset("tiny", ["data.size=30"])

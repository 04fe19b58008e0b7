import math
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from tests.train.small import CONFIG, random_batch
from train.config import (
    CheckpointConfig,
    FaultConfig,
    LossConfig,
    OptimConfig,
    ParallelConfig,
    TrainConfig,
)
from train.draws import draw
from train.loop import FitResult, fit
from train.ranks import TrainingError
from train.report import ProgressLines, StepReport
from train.run import FitFolder, plan_fit
from train.saver import Saver
from train.trainer import Trainer, learning_rate

CPU = torch.device("cpu")
LOSSES = ((11, 2.0), (12, 1.0))
ON_TINY = CONFIG.model_copy(
    update={"data": CONFIG.data.model_copy(update={"size": 16, "static_share": 0.5})}
)


def fit_to(out: Path, data: Path, config: TrainConfig) -> FitResult:
    return fit(plan_fit(config, data, out), data, out)


@pytest.mark.slow
def test_ctrl_c_waits_for_the_checkpoint_that_is_being_written(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Saver._write

    def slowly(self: Saver, *parts: Any) -> None:
        time.sleep(0.5)
        write(self, *parts)

    def interrupt(report: StepReport) -> None:
        if report.step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Saver, "_write", slowly)
    checkpoint = CheckpointConfig(every_steps=2, background=True)
    config = ON_TINY.model_copy(update={"checkpoint": checkpoint})
    with pytest.raises(KeyboardInterrupt):
        fit(plan_fit(config, tiny_run, tmp_path), tiny_run, tmp_path, interrupt)
    assert FitFolder(tmp_path).steps_done() == 2


class Killed(Exception):
    pass


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_losses_bit_for_bit(
    tiny_run: Path, tmp_path: Path
) -> None:
    whole = fit_to(tmp_path / "whole", tiny_run, ON_TINY)
    config = ON_TINY.model_copy(
        update={"checkpoint": ON_TINY.checkpoint.model_copy(update={"every_steps": 3})}
    )
    plan = plan_fit(config, tiny_run, tmp_path / "halves")
    first: list[float] = []

    def kill_in_step_5(report: StepReport) -> None:
        first.append(report.loss)
        if len(first) == 5:
            raise Killed("in step 5")

    with pytest.raises(Killed, match="in step 5"):
        fit(plan, tiny_run, tmp_path / "halves", kill_in_step_5)
    second = fit_to(tmp_path / "halves", tiny_run, config)
    losses = [report.loss for report in whole.reports]
    assert len(losses) == 6
    assert first == losses[:5]
    assert [report.loss for report in second.reports] == losses[3:]
    assert second.finished


@pytest.mark.slow
def test_weights_after_resuming_are_the_same_bits(tiny_run: Path, tmp_path: Path) -> None:
    fit_to(tmp_path / "whole", tiny_run, ON_TINY)
    stop_at_once = ON_TINY.model_copy(update={"time_budget_s": 1e-9})
    for done in range(1, 7):
        part = fit_to(tmp_path / "parts", tiny_run, stop_at_once)
        assert (part.steps_done, part.finished) == (done, done == 6)
    for name in ("model.safetensors", "ema.safetensors"):
        one, other = (
            (FitFolder(tmp_path / run).checkpoints / "step-000006" / name).read_bytes()
            for run in ("whole", "parts")
        )
        assert one == other


def test_draws_depend_on_seed_step_and_place_alone() -> None:
    shape = (3, 3, 4, 4)
    whole, second = draw(CONFIG, 5, range(4), shape), draw(CONFIG, 5, range(2, 4), shape)
    for name in ("frozen", "frames", "keep", "step", "eps"):
        assert getattr(whole, name)[2:].equal(getattr(second, name))
    assert not whole.eps[0].equal(whole.eps[1])
    reseeded = CONFIG.model_copy(update={"seed": 1})
    for other in (draw(CONFIG, 6, range(4), shape), draw(reseeded, 5, range(4), shape)):
        assert not whole.eps.equal(other.eps)


def test_draws_follow_their_shares() -> None:
    config = CONFIG.model_copy(update={"loss": LossConfig(terminal_share=0.3)})
    draws = draw(config, 0, range(3000), (1, 1, 1, 1))
    assert draws.frozen.float().mean().item() == pytest.approx(config.data.static_share, abs=0.03)
    assert draws.keep.float().mean(dim=0).tolist() == pytest.approx(
        [0.8, 0.8, 0.8, 0.9, 0.5], abs=0.03
    )
    assert (draws.step == 999).float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert draws.step.min() < 20


def test_frames_are_drawn_in_order_and_without_repeats() -> None:
    config = CONFIG.model_copy(update={"data": CONFIG.data.model_copy(update={"train_frames": 3})})
    draws = draw(config, 0, range(400), (6, 1, 2, 2))
    assert (draws.frames.diff(dim=1) > 0).all()
    assert draws.frames.unique().tolist() == list(range(6))
    assert draws.eps.shape == (400, 3, 1, 2, 2)
    whole = draw(CONFIG, 0, range(4), (6, 1, 2, 2))
    assert whole.frames.tolist() == [list(range(6))] * 4


def test_rate_warms_up_and_falls() -> None:
    config = OptimConfig(lr=1.0, schedule="cosine", warmup_steps=4)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.25, abs=0.01)
    assert max(rates) == rates[3]
    assert rates[-1] < 0.001
    assert learning_rate(OptimConfig(lr=0.5), 0, 10) == 0.5


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_non_finite_loss_stops_and_names_the_clips(value: float) -> None:
    trainer, batch = Trainer(CONFIG, CPU), random_batch()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    bad = replace(batch, orbit=torch.full_like(batch.orbit, value), static=batch.orbit * value)
    with pytest.raises(TrainingError, match=r"step 1: the loss is (nan|inf) on clips clip-000, "):
        trainer.step(bad)
    assert all(before[name].equal(now) for name, now in trainer.model.state_dict().items())


def test_steps_that_are_not_finite_are_skipped_up_to_a_number() -> None:
    faults = FaultConfig(nonfinite="skip", skipped_max=2)
    trainer, batch = Trainer(CONFIG.model_copy(update={"faults": faults}), CPU), random_batch()
    orbit = batch.orbit.clone()
    orbit[1] = math.nan
    bad = replace(batch, orbit=orbit, static=orbit)
    trainer.step(batch)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for _ in range(2):
        assert trainer.step(bad).skipped
    assert trainer.skipped == {2: "clip-001", 3: "clip-001"}
    assert all(before[name].equal(now) for name, now in trainer.model.state_dict().items())
    report = trainer.step(batch)
    assert (report.step, report.skipped, math.isfinite(report.loss)) == (4, False, True)
    with pytest.raises(TrainingError, match=r"3 steps were skipped for this, more than .*2, 3, 5"):
        trainer.step(bad)


@pytest.mark.slow
def test_parts_of_a_batch_add_up_to_its_gradient() -> None:
    batch, made = random_batch(clips=4), []
    for parts in (1, 2, 4):
        settings = {"batch": 4, "parallel": ParallelConfig(accumulate=parts)}
        trainer = Trainer(CONFIG.model_copy(update=settings), CPU)
        report = trainer.step(batch)
        made.append((report, gradient_of(trainer)))
    for report, gradient in made[1:]:
        assert report.loss == pytest.approx(made[0][0].loss, rel=1e-5)
        torch.testing.assert_close(gradient, made[0][1], rtol=1e-3, atol=1e-6)
        assert [step for step, _ in report.by_clip] == [step for step, _ in made[0][0].by_clip]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_compiled_stages_learn_the_same() -> None:
    losses: dict[bool, list[float]] = {}
    for on in (False, True):
        settings = {"parallel": ParallelConfig(compile=on)}
        trainer = Trainer(CONFIG.model_copy(update=settings), CPU)
        losses[on] = [trainer.step(random_batch(seed=step)).loss for step in range(3)]
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)
    assert counters["stats"]["unique_graphs"] >= 5  # a stage each


def test_lines_of_progress_smooth_the_loss_and_tell_what_is_left() -> None:
    lines = ProgressLines(done=10, steps=100, every_s=0)
    told = [lines.take(StepReport(step, loss, loss, 0.0, 1.0, 1e-3)) for step, loss in LOSSES]
    assert lines.loss == pytest.approx(0.95 * 2.0 + 0.05 * 1.0)
    assert re.fullmatch(r"train 12/100 loss 1.9500, \d+ s, ETA \d+ s", told[-1])
    skipped = StepReport(13, math.nan, math.nan, 0.0, 1.0, 1e-3, skipped=True)
    assert "loss 1.9500" in lines.take(skipped)
    assert not ProgressLines(0, 10).take(skipped)  # not yet


def gradient_of(trainer: Trainer) -> torch.Tensor:
    gradients = [parameter.grad for parameter in trainer.model.parameters()]
    return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])


def test_averaged_weights_answer_for_a_while() -> None:
    trainer, batch = Trainer(CONFIG, CPU), random_batch()
    for _ in range(3):
        trainer.step(batch)
    own = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with trainer.averaged() as model:
        inside = model.state_dict()
        assert all(inside[name].equal(value) for name, value in trainer.ema.weights.items())
        assert not model.training
    assert trainer.model.training
    assert all(own[name].equal(value) for name, value in trainer.model.state_dict().items())


def test_the_motion_loss_joins_the_total() -> None:
    config = CONFIG.model_copy(update={"loss": LossConfig(motion_weight=10.0)})
    report = Trainer(config, CPU).step(random_batch())
    assert report.motion > 0
    assert report.loss == pytest.approx(report.diffusion + 10 * report.motion)


@pytest.mark.slow
def test_training_lowers_the_loss_and_the_average_follows() -> None:
    config = CONFIG.model_copy(
        update={"steps": 80, "optim": OptimConfig(lr=5e-3), "loss": LossConfig(terminal_share=1)}
    )
    trainer, batch = Trainer(config, CPU), random_batch()
    start = {name: value.clone() for name, value in trainer.ema.weights.items()}
    losses = [trainer.step(batch).loss for _ in range(80)]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert not all(start[name].equal(value) for name, value in trainer.ema.weights.items())

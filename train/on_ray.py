"""Starts the loop's ranks on a Ray cluster; the only module of ``train`` that knows Ray."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import structlog

from shards.errors import ConfigError, Orbit4dError
from train.checkpoint import checkpoint_path, load_progress
from train.loop import FitResult, fit
from train.ranks import RankLost, TrainingError
from train.report import ProgressLines, StepReport
from train.run import FOR_TORCH, FitFolder, Plan

_LOST_MAX = 3  # times in a row that ranks are lost without a new checkpoint in between
_ROOT_MAX = 20  # bytes: Ray makes sockets far below, whose paths are bounded
_START_S = 60  # that Ray waits for room for all ranks before it tries again

_log = structlog.get_logger(__name__)


def fit_on_ray(plan: Plan, data: Path, out: Path, workers: int) -> FitResult:
    """Train with ``workers`` ranks on the cluster that RAY_ADDRESS names, else on this machine.

    Each rank has a GPU where the settings ask for one. ``data`` and ``out`` have to be seen by all
    nodes, and orbit4d is installed on them. Lost ranks are replaced, and training goes on from the
    last checkpoint; what would fail again (a loss that is not finite, a full disk) is not tried
    again.

    Raises:
        ConfigError: if Ray is not installed, or the cluster has no room for so many ranks.
        TrainingError: if training fails for good.
    """
    began, folder, lost = time.monotonic(), FitFolder(out), 0
    with _connected(workers, _wants_gpus(plan)) as gpus:
        while True:
            try:
                result = _attempt(plan, data, out, workers, gpus)
            except RankLost as error:
                done = folder.steps_done()
                lost = 0 if done > plan.steps_done else lost + 1
                plan = replace(plan, steps_done=done)
                if plan.finished:  # lost after the last checkpoint
                    result = _finished(folder)
                    break
                if lost >= _LOST_MAX:
                    raise TrainingError(
                        f"{error} So it went {lost} times in a row without a new checkpoint"
                    ) from error
                _log.warning("ranks were lost, starting anew", after_step=done, reason=str(error))
            else:
                break
    return replace(result, seconds=time.monotonic() - began)


def _wants_gpus(plan: Plan) -> bool | None:
    return None if plan.config.device == "auto" else plan.config.device == "cuda"


@contextlib.contextmanager
def _connected(workers: int, wants_gpus: bool | None) -> Iterator[bool]:
    """Connect to Ray and say whether ranks get GPUs."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # or Ray reports its use to its makers
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # settings may name relative paths
    try:
        import ray
        import ray.train.torch
    except ImportError as error:
        raise ConfigError(f"--ray-workers needs Ray: pip install 'ray[train]' ({error})") from error
    with _ray(ray):
        there = ray.cluster_resources()
        gpus = there.get("GPU", 0) >= workers if wants_gpus is None else wants_gpus
        kind = "GPU" if gpus else "CPU"
        if there.get(kind, 0) < workers:
            raise ConfigError(
                f"--ray-workers {workers}: each takes a {kind}, and the Ray cluster has "
                f"{there.get(kind, 0):g}. Ask for fewer, or join more nodes to it; RAY_ADDRESS "
                "names the cluster"
            )
        yield gpus


@contextlib.contextmanager
def _ray(ray: Any) -> Iterator[None]:
    """Be connected: as it is, to the cluster that RAY_ADDRESS names, or to a Ray of our own."""
    if ray.is_initialized():
        yield
        return
    # Ray Train tells of its own works every second where there is no dashboard
    environment = {"env_vars": {"RAY_LOGGER_LEVEL": "error", **FOR_TORCH}}
    root = gettempdir() if len(gettempdir()) <= _ROOT_MAX else "/tmp"
    with TemporaryDirectory(dir=root, prefix="orbit4d-ray-", ignore_cleanup_errors=True) as folder:
        if "RAY_ADDRESS" in os.environ:
            ray.init(runtime_env=environment)
        else:  # not any Ray that happens to run here, such as that of a build
            os.environ.setdefault("RAY_worker_niceness", "0")  # ranks are no work on the side
            ray.init("local", include_dashboard=False, runtime_env=environment, _temp_dir=folder)
        try:
            yield
        finally:
            ray.shutdown()


def _attempt(plan: Plan, data: Path, out: Path, workers: int, gpus: bool) -> FitResult:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    given = {"plan": plan, "data": str(data.resolve()), "out": str(out.resolve())}
    timeout_s = plan.config.parallel.timeout_s
    out.mkdir(parents=True, exist_ok=True)
    # notes of Ray's own, which all nodes have to see; our checkpoints are where they always are
    with TemporaryDirectory(dir=out, prefix=".ray-", ignore_cleanup_errors=True) as notes:
        trainer = TorchTrainer(
            _rank,
            train_loop_config={**given, "here": str(Path.cwd())},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus),
            torch_config=TorchConfig(
                backend="cpu:gloo,cuda:nccl" if gpus else "gloo", timeout_s=int(timeout_s)
            ),
            run_config=RunConfig(
                storage_path=str(Path(notes).resolve()),
                failure_config=FailureConfig(
                    max_failures=0,  # Ray would also try again what fails again
                    controller_failure_limit=max(1, int(timeout_s / _START_S)),
                ),
            ),
        )
        try:
            told: Any = trainer.fit()
        except Exception as error:
            raise _ours(error) from error
    return told.return_value  # of rank 0


def _rank(given: dict[str, Any]) -> FitResult:
    """Run one rank; Ray has set RANK, WORLD_SIZE and LOCAL_RANK and opened the group."""
    with contextlib.suppress(OSError):  # a folder of the driver's alone
        os.chdir(given["here"])
    plan: Plan = given["plan"]
    lines = ProgressLines(plan.steps_done, plan.config.steps)

    def show(report: StepReport) -> None:
        line = lines.take(report)
        if line and os.environ["RANK"] == "0":
            sys.stderr.write(f"{line}\n")  # Ray hands it to the driver; print would come twice

    result = fit(plan, Path(given["data"]), Path(given["out"]), show)
    return replace(result, reports=())


def _finished(folder: FitFolder) -> FitResult:
    progress = load_progress(checkpoint_path(folder.checkpoints))
    skipped, broken = dict(progress.skipped), dict(progress.broken)
    return FitResult(progress.step, True, (), 0.0, skipped, broken, float("nan"))


def _ours(error: Exception) -> Orbit4dError:
    """Find what our own code said among what Ray has wrapped around it.

    Ranks that are lost make others fail: what is said of something else comes first.
    """
    failures = getattr(error, "worker_failures", {})
    said = {rank: getattr(one, "_base_exc", one) for rank, one in sorted(failures.items())}
    own = [one for one in said.values() if isinstance(one, Orbit4dError)]
    final = [one for one in own if not isinstance(one, RankLost)]
    if final or own:
        return (final or own)[0]
    if failures:
        told = "; ".join(f"rank {rank}: {_line(one)}" for rank, one in list(said.items())[:8])
        return RankLost(f"{told}. The last checkpoint stands")
    return TrainingError(f"training on Ray failed: {_line(error)}")


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else repr(error)

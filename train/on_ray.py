"""Starts the loop's ranks on a Ray cluster; the only module of ``train`` that knows Ray."""

import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from shards.errors import ConfigError, Orbit4dError
from train.loop import FitResult, fit
from train.ranks import TrainingError
from train.run import FitFolder, Plan

_FAILURES = 3  # lost workers; each time the loop goes on from its own last checkpoint


def fit_on_ray(plan: Plan, data: Path, out: Path, workers: int) -> FitResult:
    """Train with ``workers`` ranks on the running Ray cluster, or on one made for this call.

    Each rank has a GPU where the settings ask for one. ``data`` and ``out`` have to be seen by all
    nodes. Lost workers are replaced, and training goes on from the last checkpoint.

    Raises:
        ConfigError: if Ray is not installed.
        TrainingError: if training fails for good.
    """
    try:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        raise ConfigError(f"--ray-workers needs Ray: pip install 'ray[train]' ({error})") from error

    ray.init(ignore_reinit_error=True, log_to_driver=True, include_dashboard=False)
    config = plan.config
    gpus = config.device == "cuda" or (
        config.device == "auto" and ray.cluster_resources().get("GPU", 0) >= workers
    )
    given = {"plan": plan, "data": str(data.resolve()), "out": str(out.resolve())}
    with TemporaryDirectory() as notes:  # Ray's own; our checkpoints are in the FIT folder
        trainer = TorchTrainer(
            _rank,
            train_loop_config=given,
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus),
            torch_config=TorchConfig(timeout_s=int(config.parallel.timeout_s)),
            run_config=RunConfig(
                storage_path=notes, failure_config=FailureConfig(max_failures=_FAILURES)
            ),
        )
        try:
            told = trainer.fit().metrics or {}
        except Exception as error:
            raise _ours(error) from error
    done = FitFolder(out).steps_done()
    names = ("seconds", "skipped", "broken", "loss")
    return FitResult(done, done >= config.steps, (), **{name: told[name] for name in names})


def _rank(given: dict[str, Any]) -> None:
    """Run one rank; Ray has set RANK, WORLD_SIZE and LOCAL_RANK and opened the group."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from ray.train import report

    plan: Plan = given["plan"]
    out = Path(given["out"])
    plan = replace(plan, steps_done=FitFolder(out).steps_done())  # more, after a failure
    if not plan.finished:
        result = fit(plan, Path(given["data"]), out)
        names = ("seconds", "skipped", "broken", "loss")
        report({name: getattr(result, name) for name in names})


def _ours(error: BaseException) -> Orbit4dError:
    """Find what our own code said among what Ray has wrapped around it."""
    for inner in getattr(error, "worker_failures", {}).values():
        cause = getattr(inner, "cause", inner)
        if isinstance(cause, Orbit4dError):
            return TrainingError(str(cause))
    lines = [line for line in str(error).splitlines() if "Error: " in line]
    return TrainingError(f"training on Ray failed: {lines[-1].strip() if lines else error}")

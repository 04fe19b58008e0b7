"""What the figures about trained models rest on: toys rendered by a build, models trained on them.

All of it lies in a working folder and is taken up where an earlier call stopped.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from curate.build import Options, build
from curate.config import BuildConfig
from tests.make_toys import write_toys
from train.config import SampleConfig, TrainConfig
from train.data import ClipBatch, open_clips, stacked
from train.generate import load_held_out
from train.loop import fit
from train.presets import preset
from train.run import FitFolder, plan_fit
from train.trained import Clips, Trained

RENDER = (
    "render.sequences.names=[static,orbit]",
    "render.sequences.frames=12",
    "render.sequences.width=32",
    "render.sequences.height=32",
    "render.sequences.camera.distance=2.0",
    "render.sequences.camera.elevation_deg=20",
    "limits.threads=1",
)
# ``tiny`` with twice the channels, given static 3D; m is about 1 where toys move
MODEL = (
    "model.static=true",
    "model.static_skip=true",
    "model.channels=[64,128]",
    "data.frames=12",
    "data.motion_scale=200",
    "checkpoint.every_steps=100",
)
_REAL_CLIPS = 4  # of an asset
REAL_SPLIT = ("data.held_out=assets", "data.held_out_share=0.3")
SPLIT = ("data.held_out=assets", "data.held_out_share=0.12")
DROPS = ("data.static_share=0.2", "drop.static=0.4", "drop.image=0.1")
# all steps alike, as published: x0 is predicted, so that its error is not multiplied at high noise
MOTION_LOSS = ("loss.motion_weight=100", "loss.motion_fades=false")


class Unfinished(Exception):
    """The time was over before a model was trained, or what is measured on is not here."""


@dataclass(frozen=True, slots=True)
class Work:
    """The working folder, and when to stop training."""

    root: Path
    deadline: float  # of ``time.monotonic``
    base_steps: int
    steps: int
    overfit_steps: int
    real_steps: int

    @classmethod
    def open(cls, given: argparse.Namespace) -> "Work":
        """Read the command's arguments."""
        torch.set_num_threads(given.threads)
        return cls(
            root=given.work,
            deadline=given.ends,
            base_steps=given.base_steps,
            steps=given.steps,
            overfit_steps=given.overfit_steps,
            real_steps=given.real_steps,
        )

    def run(self, name: str, assets: int, clips: int, seed: int, *sets: str) -> Path:
        """Write toys and build them."""
        out = self.root / name
        if not (out / "index.parquet").exists():
            write_toys(self.root / f"{name}-assets", assets, clips, seed)
            config = BuildConfig.build({}, (*RENDER, *sets))
            build([self.root / f"{name}-assets"], out, config, Options())
        return out

    def real(self, assets: Path) -> Path:
        """Build some clips of each real asset of a folder, as toys are."""
        out = self.root / "real"
        if not assets.is_dir():
            raise Unfinished(f"{assets}: there is no such folder; name one with --assets")
        if not (out / "index.parquet").exists():
            config = BuildConfig.build({}, (*RENDER, f"curate.clips.per_asset_max={_REAL_CLIPS}"))
            build([assets], out, config, Options())
        return out

    def model(self, name: str, start: str, data: Path, sets: tuple[str, ...]) -> Path:
        """Train until all steps are done; raises ``Unfinished`` where the time does not suffice."""
        out = self.root / name
        left_s = max(self.deadline - time.monotonic(), 1.0)
        config: TrainConfig = preset(start, [*MODEL, *sets, f"time_budget_s={left_s:.0f}"])
        plan = plan_fit(config, data, out)
        if not plan.finished and not fit(plan, data, out).finished:
            done = FitFolder(out).steps_done()
            raise Unfinished(
                f"{name}: step {done} of {config.steps}; the time is over, the same command goes on"
            )
        return out

    def overfit(self, data: Path) -> Path:
        """Train on all clips of a RUN."""
        sets = ("data.held_out_share=0", "data.static_share=0.2", f"steps={self.overfit_steps}")
        return self.model("overfit", "tiny", data, sets)

    def toys(self) -> Path:
        """Give the procedural set: 96 toys of 6 motions."""
        return self.run("toys", assets=96, clips=6, seed=0)

    def base(self) -> Path:
        """Give the model of frozen orbits, stage one of the others."""
        return self.model("base", "tiny_base", self.toys(), (*SPLIT, f"steps={self.base_steps}"))

    def four(self, seed: int, *, motion_loss: bool) -> Path:
        """Give a model of moving orbits, with or without L_mr."""
        sets = (*SPLIT, *DROPS, f"steps={self.steps}", f"seed={seed}", f"base={self.base()}")
        name = f"{'lmr' if motion_loss else 'plain'}{seed}"
        return self.model(name, "tiny", self.toys(), sets + MOTION_LOSS * motion_loss)

    def on_real(self, data: Path) -> Path:
        """Train the model of toys on real assets."""
        start = self.four(0, motion_loss=True)
        sets = (*REAL_SPLIT, *DROPS, *MOTION_LOSS, f"steps={self.real_steps}", f"base={start}")
        return self.model("real0", "tiny", data, sets)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A trained model and clips held out from it, ready to be sampled under other conditions."""

    trained: Trained
    batch: ClipBatch
    azimuth_deg: list[float]

    @classmethod
    def open(cls, fit_folder: Path, data: Path, most: int) -> "HeldOut":
        """Read clips held out from the model, ``most`` of them, spread over all."""
        _, split = FitFolder(fit_folder).read()
        keys = split.held_out[:: max(1, len(split.held_out) // most)][:most]
        return cls.read(fit_folder, data, keys)

    @classmethod
    def trained_on(cls, fit_folder: Path, data: Path) -> "HeldOut":
        """Read the clips that the model was trained on instead."""
        _, split = FitFolder(fit_folder).read()
        return cls.read(fit_folder, data, split.train)

    @classmethod
    def read(cls, fit_folder: Path, data: Path, keys: tuple[str, ...]) -> "HeldOut":
        """Read some clips, of whatever RUN."""
        trained = Trained.load(fit_folder)
        return cls(trained, *load_held_out(trained, data, keys))

    @property
    def scale(self) -> float:
        """Give the unit of m."""
        return self.trained.config.data.motion_scale

    @property
    def wanted(self) -> np.ndarray:
        """Give the clips' own m."""
        return self.batch.motion.double().numpy()

    def sample(self, seed: int, *, motion: float | None = None, **settings: object) -> Clips:
        """Sample all clips, at their own m or at another."""
        batch = self.batch
        if motion is not None:
            batch = replace(batch, motion=torch.full_like(batch.motion, motion))
        config = self.trained.config.sample
        chosen = SampleConfig.build({**config.model_dump(mode="json"), **settings})
        return self.trained.sample(batch, chosen, seed)


def training_motion(fit_folder: Path, data: Path) -> np.ndarray:
    """Give m of all clips that a model was trained on."""
    config, split = FitFolder(fit_folder).read()
    clips = open_clips(data, config.data, config.seed, split.train)
    return stacked([clips[i] for i in range(len(clips))]).motion.double().numpy()

"""The FIT folder of a training run, and what a call of ``fit`` would do to it.

``run.json`` (config, data, split, versions), ``checkpoints/``, ``logs/`` (TensorBoard). Nothing
here loads torch, so that plans and "already done" need not wait for it.
"""

import contextlib
import json
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from shards import index
from shards.errors import RunError, SampleError
from shards.files import dump_json, sha256_of, write_atomic
from shards.read import SampleReader
from shards.sample import SequenceMeta
from shards.tombstones import is_named
from train.config import TrainConfig
from train.split import Split, names_kept_out, split_clips

RUN_SCHEMA = 1
_LOOKED_AT = 8  # clips whose cameras are compared
# May differ between the calls that make up one run; everything else decides what is learnt.
_FREE = (
    *("device", "time_budget_s", "log_every_steps", "checkpoint", "sample"),
    *("parallel", "faults", "log", "evaluate"),
)

# What torch finds in the environment of a process that trains or samples.
FOR_TORCH = {
    # OpenMP's threads spin while they wait, which makes a step ten times slower where another
    # process wants the cores, and hardly any faster where none does.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Tensors of many MB are new pages each time they are made on a CPU; in huge ones the kernel
    # has 500 times fewer to hand out, and an element-wise operation takes half as long.
    "THP_MEM_ALLOC_ENABLE": "1",
}


@dataclass(frozen=True, slots=True)
class FitFolder:
    """Where things are in a FIT folder."""

    root: Path

    @property
    def document(self) -> Path:
        """The description of the run."""
        return self.root / "run.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.root / "checkpoints"

    @property
    def base(self) -> Path:
        """Weights of the frozen base model, where training started from one."""
        return self.root / "base.safetensors"

    @property
    def logs(self) -> Path:
        """Folder for TensorBoard."""
        return self.root / "logs"

    def steps_done(self) -> int:
        """Count the steps that a checkpoint vouches for, without loading it."""
        names = (path.name.removeprefix("step-") for path in self.checkpoints.glob("step-*"))
        return max((int(name) for name in names if name.isdigit()), default=0)

    def followed(self) -> bool:
        """Say whether a RUN that was still being built was trained on, of a folder with a run."""
        return json.loads(self.document.read_bytes())["data_sha256"] == ""

    def orbit(self) -> dict[str, Any]:
        """Read the cameras that the model was trained with; see ``orbit_of``.

        Raises:
            RunError: if the folder holds no training run, or one of before they were noted.
        """
        self.read()
        document = json.loads(self.document.read_bytes())
        if "orbit" not in document:
            raise RunError(f"{self.document}: names no cameras; call orbit4d train fit once more")
        return document["orbit"]

    def read(self) -> tuple[TrainConfig, Split]:
        """Read what was trained on what.

        Raises:
            RunError: if the folder holds no training run.
        """
        if not self.document.exists():
            raise RunError(
                f"{self.root}: no run.json, so nothing was trained here. Start with: "
                f"orbit4d train fit --preset tiny --data RUN --out {self.root}"
            )
        document = json.loads(self.document.read_bytes())
        split = Split(tuple(document["train_keys"]), tuple(document["held_out_keys"]))
        return TrainConfig.build(document["config"]), split


@dataclass(frozen=True, slots=True)
class Plan:
    """What a call of ``fit`` would do."""

    config: TrainConfig
    split: Split
    steps_done: int
    data_sha256: str  # of the index; empty where the RUN is followed
    follow: bool = False

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.steps_done >= self.config.steps


def plan_fit(config: TrainConfig, data: Path, out: Path, *, follow: bool = False) -> Plan:
    """Compare the wish with what lies in the FIT folder; writes nothing.

    Args:
        config: what to train.
        data: the RUN folder.
        out: the FIT folder.
        follow: ``data`` is still being built. What is held out is drawn among the clips that are
            there at the first call; all that come later are trained on.

    Raises:
        RunError: if the folder holds a run with other settings or other data.
        ShardError: if ``data`` has no index and is not followed.
    """
    entries = SampleReader(data, follow=follow).entries()
    if follow and not entries:
        raise RunError(
            f"{data}: has no finished shard yet. Wait for the build's first one (shards.target_mb "
            "says how large they are), then give the same command again"
        )
    split = split_clips(entries, config.data.held_out_share, config.data.held_out)
    digest = "" if follow else sha256_of(data / "index.parquet")
    folder = FitFolder(out)
    if folder.document.exists():
        document = json.loads(folder.document.read_bytes())
        _check_same(document, config, digest, out)
        if follow:
            held_out = tuple(document["held_out_keys"])
            out_of_it = names_kept_out(held_out, config.data.held_out)
            there = (entry.key for entry in entries)
            split = Split(tuple(key for key in there if not is_named(key, out_of_it)), held_out)
    if not split.train:
        raise RunError(f"{data}: holds no clips to train on; see its ledger for why")
    return Plan(config, split, folder.steps_done(), digest, follow)


def _check_same(document: dict[str, Any], config: TrainConfig, digest: str, out: Path) -> None:
    # built anew: settings that are younger than the run have their defaults
    then = TrainConfig.build(document["config"]).model_dump(mode="json")
    before, now = _flat(then), _flat(config.model_dump(mode="json"))
    changed = [
        f"{key}: {before.get(key)} -> {now.get(key)}"
        for key in sorted(before | now)
        if before.get(key) != now.get(key) and key.partition(".")[0] not in _FREE
    ]
    if changed:
        raise RunError(
            f"{out}: was trained with other settings ({'; '.join(changed)}). Repeat those, or "
            "give another --out"
        )
    if bool(document["data_sha256"]) != bool(digest):
        word = "without" if digest == "" else "with"
        raise RunError(f"{out}: was trained {word} --follow. Repeat that, or give another --out")
    if document["data_sha256"] != digest:
        raise RunError(
            f"{out}: was trained on {document['data']} as it was then; the samples there or here "
            "are others. Give another --out"
        )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        inner = _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else None
        flat |= inner if inner is not None else {f"{prefix}{key}": value}
    return flat


def orbit_of(data: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """Describe the cameras of the first intact clips, for sampling without the data.

    ``distance`` is none where it differs between clips.

    Raises:
        RunError: if no clip can be read.
    """
    reader = SampleReader(data, follow=True)
    numbers = {key: number for number, key in enumerate(reader.column("key"))}
    views: list[SequenceMeta] = []
    for key in keys:
        with contextlib.suppress(SampleError):  # broken or taken down; the stream deals with it
            views.append(reader.read(numbers[key])[0].sequences["orbit"])
        if len(views) == _LOOKED_AT:
            break
    if not views:
        raise RunError(
            f"{data}: none of its {len(keys)} clips can be read; see: orbit4d shards check"
        )
    first = views[0]
    distances = {round(math.dist((0, 0, 0), [row[3] for row in v.c2w[0][:3]]), 6) for v in views}
    return {
        "frames": first.frames,
        "fov_deg": math.degrees(2 * math.atan(first.width / 2 / first.K[0][0][0])),
        "azimuth_deg": first.azimuth_deg,
        "elevation_deg": first.elevation_deg[0],
        "distance": distances.pop() if len(distances) == 1 else None,
        "c2w": first.c2w,
    }


def write_document(plan: Plan, data: Path, out: Path) -> None:
    """Write ``run.json``."""
    document = {
        "schema_version": RUN_SCHEMA,
        "config": plan.config.model_dump(mode="json"),
        "data": str(data),
        "data_sha256": plan.data_sha256,
        "samples": index.head(data).get("samples"),
        "train_keys": plan.split.train,
        "held_out_keys": plan.split.held_out,
        "orbit": orbit_of(data, plan.split.train),
        "versions": {name: version(name) for name in ("orbit4d", "torch", "numpy")},
    }
    write_atomic(out / "run.json", dump_json(document))

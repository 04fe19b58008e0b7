"""Generate the held-out orbits of a trained model, write them down and score them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from shards.errors import RunError
from shards.files import dump_json, publish, temporary_for, write_atomic
from shards.read import SampleReader
from train.config import SampleConfig
from train.data import ClipBatch, check_space, open_clips, stacked
from train.evaluate import Figures, figures, repeat_input
from train.media import contact_sheet, side_by_side, write_mp4
from train.metrics import psnr_db
from train.run import FitFolder
from train.trained import Trained

_FPS = 12


@dataclass(frozen=True, slots=True)
class Generated:
    """What ``generate_held_out`` made: figures, and the folder's files by meaning."""

    figures: Figures
    step: int
    keys: tuple[str, ...]
    contact_sheet: Path
    document: Path
    videos: tuple[Path, ...]


def held_out_keys(fit: Path, data: Path) -> tuple[str, ...]:
    """List the clips of a RUN folder that a model was not trained on, as its split drew them.

    Raises:
        RunError: if there are none.
    """
    folder = FitFolder(fit)
    _, split = folder.read()
    reader = SampleReader(data, follow=folder.followed())
    present = {key for key in reader.column("key") if not reader.tombstones.hold(key)}
    keys = tuple(key for key in split.held_out if key in present)
    if not keys:
        raise RunError(
            f"{data}: none of its clips were held out when {fit} was trained. That takes the "
            "RUN folder that was trained on, with two assets or more (data.held_out=clips: one "
            "with two clips or more)"
        )
    return keys


def load_held_out(
    trained: Trained, data: Path, keys: tuple[str, ...], *, follow: bool = False
) -> tuple[ClipBatch, list[float]]:
    """Read the clips, in the order of ``keys``, and the azimuths of their frames in degrees."""
    config = trained.config
    clips = open_clips(data, config.data, config.seed, keys, follow=follow)
    check_space(clips, trained.space, config.data.size)
    found = {clip.key: clip for clip in (clips[i] for i in range(len(clips)))}
    view = clips.samples.view(0).sequences["orbit"]
    return stacked([found[key] for key in keys]), view.azimuth_deg.tolist()


def generate_held_out(
    fit: Path, data: Path, out: Path, sample: SampleConfig | None = None, seeds: int = 3
) -> Generated:
    """Sample every held-out clip with several seeds, score all, write the first seed's.

    Args:
        fit: FIT folder; its last checkpoint's averaged weights are used.
        data: the RUN folder.
        out: takes ``KEY.mp4`` (true orbit left, generated right), ``contact.png``, ``psnr.json``.
        sample: how to sample; the run's own settings by default.
        seeds: how many independent samples of every clip are scored, one by one.
    """
    trained = Trained.load(fit)
    sample = sample or trained.config.sample
    keys = held_out_keys(fit, data)
    follow = FitFolder(fit).followed()
    batch, azimuth_deg = load_held_out(trained, data, keys, follow=follow)
    made = [trained.sample(batch, sample, seed) for seed in range(seeds)]
    batch = trained.shown(batch)
    repeat = psnr_db(repeat_input(batch), batch.orbit)
    model_db = np.stack([psnr_db(clips, batch.orbit) for clips in made])
    out.mkdir(parents=True, exist_ok=True)
    truth, first = colours(batch.orbit), colours(made[0])
    videos = _write_videos(out, keys, truth, first)
    rows = [
        (f"{key}   PSNR {model_db[0, i]:.1f} dB, input repeated {repeat[i]:.1f} dB", *pair)
        for i, (key, pair) in enumerate(zip(keys, zip(truth, first, strict=True), strict=True))
    ]
    sheet = out / "contact.png"
    contact_sheet(rows, azimuth_deg).save(temporary_for(sheet), format="PNG")
    publish(temporary_for(sheet), sheet)
    result = Generated(
        figures(model_db, repeat), trained.step, keys, sheet, out / "psnr.json", videos
    )
    write_atomic(result.document, dump_json(_document(result, sample, model_db, repeat)))
    return result


def colours(clips: Float32[Tensor, "b t c h w"]) -> UInt8[np.ndarray, "b t h w c"]:
    """Turn [-1, 1] into bytes."""
    scaled = ((clips.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return scaled.permute(0, 1, 3, 4, 2).cpu().numpy()


def _write_videos(
    out: Path, keys: tuple[str, ...], truth: np.ndarray, made: np.ndarray
) -> tuple[Path, ...]:
    paths = tuple(out / f"{key}.mp4" for key in keys)
    for path, left, right in zip(paths, truth, made, strict=True):
        write_mp4(path, side_by_side(left, right), _FPS)
    return paths


def _document(
    result: Generated, sample: SampleConfig, model_db: np.ndarray, repeat: np.ndarray
) -> dict[str, object]:
    clips = {
        key: {"model_psnr_db": model_db[:, i].tolist(), "repeat_psnr_db": float(repeat[i])}
        for i, key in enumerate(result.keys)
    }
    return {
        "step": result.step,
        "sample": sample.model_dump(mode="json"),
        "figures": result.figures.as_dict(),
        "clips": clips,
    }

"""``orbit4d train encode`` and ``orbit4d train autoencoder``."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from shards.errors import Orbit4dError
from train.cli import Data, Sets, app, fail, prepare_torch
from train.config import DataConfig, LatentConfig

_LINE_EVERY_S = 15.0
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print settings and write nothing.")]


@app.command(
    "encode",
    epilog="Example: orbit4d train encode --data out/run1 --autoencoder out/vae --size 256 "
    "--out out/run1-latents",
)
def encode_command(
    data: Data,
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="Takes the latents.")],
    autoencoder: Annotated[
        str, typer.Option(metavar="NAME", help="A diffusers AutoencoderKL: folder or name.")
    ],
    size: Annotated[int, typer.Option(min=8, help="Side of the images to encode, pixels.")] = 256,
    shard_mb: Annotated[float, typer.Option(min=0.001, help="Size of a shard.")] = 256.0,
    dry_run: DryRun = False,
) -> None:
    """Encode the orbits of a RUN once, as shards of latents to train from.

    Train with --data on what was written, and latents.autoencoder set to the same autoencoder.
    Stopped at any time, the same command goes on.
    """
    try:
        latents = LatentConfig(autoencoder=autoencoder)
        if dry_run:
            typer.echo(json.dumps({"size": size, **latents.model_dump(mode="json")}, indent=2))
            return
        prepare_torch()
        from shards.read import SampleReader
        from train.encoded import encode_run

        total = len(SampleReader(data))
        last, line = None, time.monotonic()
        for last in encode_run(data, out, DataConfig(size=size), latents, shard_mb):
            if time.monotonic() - line > _LINE_EVERY_S:
                line = time.monotonic()
                typer.echo(f"encode {last.already + last.samples}/{total}", err=True)
        assert last is not None
        Console().print(
            f"encoded {last.samples} samples ({last.mb:.1f} MB), {last.already} were there; in "
            f"{out}",
            highlight=False,
        )
    except Orbit4dError as error:
        fail(error)


@app.command(
    "autoencoder",
    epilog="Example: orbit4d train autoencoder --data out/run1 --out out/vae --set steps=5000",
)
def autoencoder_command(
    data: Data,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Takes the autoencoder.")],
    sets: Sets = None,
    dry_run: DryRun = False,
) -> None:
    """Train a small autoencoder on the images of a RUN, in the layout of diffusers.

    Its size is set by --set size=64 --set channels=[32,64,64] --set latent_channels=4.
    """
    try:
        from shards.read import SampleReader

        SampleReader(data)  # before torch loads: is there anything
        prepare_torch()
        from train.autoencoder import AutoencoderConfig, train_autoencoder

        config = AutoencoderConfig.build({}, sets or ())
        if dry_run:
            typer.echo(json.dumps(config.model_dump(mode="json"), indent=2))
            return
        began = line = time.monotonic()
        mean = 0.0
        for step in train_autoencoder(data, out, config):
            mean = 0.95 * mean + 0.05 * step.l1 if mean else step.l1
            if time.monotonic() - line > _LINE_EVERY_S:
                line = time.monotonic()
                left_s = (line - began) / step.step * (config.steps - step.step)
                typer.echo(
                    f"autoencoder {step.step}/{config.steps} L1 {mean:.4f}, ETA {left_s:.0f} s",
                    err=True,
                )
        Console().print(f"done: L1 {mean:.4f} (colours in [-1, 1]); in {out}", highlight=False)
    except Orbit4dError as error:
        fail(error)

"""``orbit4d train sample``: held-out clips against the truth, or orbits of something new."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer
from rich.console import Console

from shards.errors import ConfigError, Orbit4dError
from train.cli import Sets, app, fail, prepare_torch
from train.config import SampleConfig
from train.run import FitFolder

if TYPE_CHECKING:
    import numpy as np

    from train.request import Request


class RenderAsset(Protocol):
    """Renders an asset's first pose from all sides: RGBA images and camera-to-world matrices."""

    def __call__(
        self, asset: Path, clip_index: int, orbit: dict[str, Any], size_px: int
    ) -> "tuple[np.ndarray, np.ndarray]":
        """Render; ``orbit`` is what ``FitFolder.orbit`` gives."""
        ...


# Training knows no renderer; the command line's root puts one here.
renderers: list[RenderAsset] = []


@app.command(
    "sample",
    epilog="Example: orbit4d train sample --fit out/fit1 --data out/run1 --out out/orbits\n\n"
    "Example: orbit4d train sample --fit out/fit1 --asset fox.glb --motion 0.5 --motion 2 "
    "--format gif --out out/fox",
)
def sample_command(  # noqa: PLR0913
    fit: Annotated[Path, typer.Option("--fit", metavar="FIT", help="Folder that fit wrote.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where videos go.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="RUN", help="Generate its held-out clips and score them."),
    ] = None,
    prompt: Annotated[str, typer.Option(help="A text.")] = "",
    image: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The first frame, from the front.")
    ] = None,
    static3d: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Images of a still object from all sides, in order."),
    ] = None,
    asset: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A 3D file: its first pose is rendered from all sides."),
    ] = None,
    clip: Annotated[int, typer.Option(min=0, help="With --asset: the clip.")] = 0,
    motion: Annotated[
        list[float] | None, typer.Option(help="Wanted m; may be repeated. About 1 is ordinary.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the noise, for something new.")] = 0,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="mp4, gif, png; may be repeated.")
    ] = None,
    sets: Sets = None,
    seeds: Annotated[int, typer.Option(min=1, help="With --data: samples that are scored.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print settings and plan.")] = False,
) -> None:
    """Generate orbits.

    With --data: the held-out clips from their first image, cameras and m; writes a video per clip
    (true orbit left, generated right), contact.png and psnr.json, and prints the PSNR beside that
    of repeating the input image.

    Else from --prompt, --image, --static3d or --asset: an orbit for every --motion, contact.png and
    sample.json. --set changes how to sample: --set solver=dpm++ --set steps=15 --set w1=7
    --set w2=0.5.
    """
    try:
        config, _ = FitFolder(fit).read()
        settings = SampleConfig.build(config.sample.model_dump(mode="json"), sets or ())
        sources = {"--data": data, "--image": image, "--static3d": static3d, "--asset": asset}
        given = [name for name, value in sources.items() if value is not None]
        if len(given) > 1 or not (given or prompt):
            raise ConfigError(
                f"given {' and '.join(given) or 'nothing'}; expected one of --data, --image, "
                "--static3d and --asset, or a --prompt"
            )
        wanted = tuple(formats or ["mp4"])
        if unknown := set(wanted) - {"mp4", "gif", "png"}:
            raise ConfigError(f"--format {unknown.pop()!r}: expected mp4, gif or png")
        if dry_run:
            typer.echo(json.dumps(settings.model_dump(mode="json"), indent=2))
            return
        prepare_torch()
        if data is not None:
            _score(fit, data, out, settings, seeds)
            return
        from train.request import Request, fulfil, read_image, read_views

        request = Request(prompt=prompt, motions=tuple(motion or [1.0]), seed=seed)
        if image is not None:
            request = _with(request, image=read_image(image))
        elif static3d is not None:
            request = _with(request, static=read_views(static3d))
        elif asset is not None:
            frames, c2w = _rendered(asset, clip, fit, config.data.size)
            request = _with(request, static=frames, c2w=c2w)
        made = fulfil(fit, request, out, settings, wanted)  # pyright: ignore[reportArgumentType]
        console = Console()
        console.print(f"given: {', '.join(made.given)}", highlight=False)
        for path in (*made.files, made.contact_sheet):
            console.print(str(path), highlight=False, soft_wrap=True)
    except Orbit4dError as error:
        fail(error)


def _with(request: "Request", **changes: Any) -> "Request":
    from dataclasses import replace

    return replace(request, **changes)


def _rendered(asset: Path, clip: int, fit: Path, size: int) -> "tuple[np.ndarray, np.ndarray]":
    if not renderers:
        raise ConfigError("--asset needs the renderer, which the command orbit4d brings along")
    if not asset.is_file():
        raise ConfigError(f"--asset {asset}: no such file")
    # enough pixels that each of the model's is a mean over several
    size_px = size * max(1, math.ceil(128 / size))
    return renderers[0](asset, clip, FitFolder(fit).orbit(), size_px)


def _score(fit: Path, data: Path, out: Path, settings: SampleConfig, seeds: int) -> None:
    from train.generate import generate_held_out

    result = generate_held_out(fit, data, out, settings, seeds)
    f = result.figures
    Console().print(
        f"held-out clips: {f.clips}, seeds: {f.seeds}, model after step {result.step}\n"
        f"  sampled orbit      PSNR {f.model_psnr_db:.2f} dB, spread over clips "
        f"{f.model_over_clips_db:.2f}, over seeds {f.model_over_seeds_db:.2f}\n"
        f"  repeat the input   PSNR {f.repeat_psnr_db:.2f} dB, spread over clips "
        f"{f.repeat_over_clips_db:.2f}\n"
        f"  gain               {f.gain_db:+.2f} dB, spread over clips {f.gain_over_clips_db:.2f}; "
        f"better on {f.wins} of {f.clips} clips\n"
        f"{result.contact_sheet}\n{result.document}",
        highlight=False,
        soft_wrap=True,
    )

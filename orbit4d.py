"""The command line's root: one small app per stage, and the verbs that span stages."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import typer

from curate import cli as curate_cli
from curate import cli_ledger, cli_render, cli_report, cli_sources, cli_sql
from shards import cli as shards_cli
from shards.errors import ConfigError, Orbit4dError, RunError
from train import cli as train_cli
from train import cli_eval, cli_latents, cli_sample

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From animated 3D files to a trained 4D-aware video model.",
)
app.command("samples")(curate_cli.samples)
app.command("build")(curate_cli.build)
app.command("report")(cli_report.report)
app.command("contact")(cli_report.contact)
app.command("sql")(cli_sql.sql)
app.add_typer(cli_sources.app, name="sources")
app.add_typer(cli_ledger.app, name="curate")
app.add_typer(cli_render.app, name="render")
app.add_typer(shards_cli.app, name="shards")
app.add_typer(train_cli.app, name="train")
assert (
    cli_latents.app is cli_eval.app is train_cli.app
)  # its commands are there once it is imported


def _render_asset(
    asset: Path, clip_index: int, orbit: dict[str, Any], size_px: int
) -> tuple[np.ndarray, np.ndarray]:
    """Render what ``train sample --asset`` conditions on; training itself knows no renderer."""
    from curate.conditions import OrbitCameras, render_conditions

    names = ("frames", "fov_deg", "elevation_deg", "distance")
    cameras = OrbitCameras(size_px=size_px, **{name: orbit[name] for name in names})
    return render_conditions(asset, clip_index, cameras)


cli_sample.renderers.append(_render_asset)


def main() -> None:
    """Run a command; errors meant for the user end it with one sentence and no trace."""
    # warnings are not part of what a command prints
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    try:
        app()
    except (ConfigError, RunError) as error:
        sys.exit(_say(error, 2))
    except Orbit4dError as error:
        sys.exit(_say(error, 1))
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def _say(error: Exception, status: int) -> int:
    print(f"orbit4d: {error}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()

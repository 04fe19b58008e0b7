import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from train import cli_latents, cli_sample  # noqa: F401
from train.cli import app

SMALL = [
    *("steps=3", "batch=2", "device=cpu", "data.size=16", "data.frames=3", "sample.steps=2"),
    *("model.channels=[8,16]", "model.attention=[false,true]", "model.patch=1"),
    *("model.embedding=16", "model.image=16", "model.head_width=8", "model.norm_groups=4"),
]


def call(*words: str | Path) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return f"{result.exit_code} {result.output}"


def fit_words(run: Path, out: Path, *more: str) -> list[str | Path]:
    sets = [word for setting in SMALL for word in ("--set", setting)]
    return ["fit", "--preset", "tiny", "--data", run, "--out", out, *sets, *more]


@pytest.mark.slow
def test_fit_then_sample(tiny_run: Path, tmp_path: Path) -> None:
    fit, out = tmp_path / "fit", tmp_path / "orbits"
    assert re.search(
        r"^0 starting: 3 steps.*done: step 3 of 3", call(*fit_words(tiny_run, fit)), re.S
    )
    assert call(*fit_words(tiny_run, fit)).startswith("0 already done: 3 of 3 steps")
    shown = call("sample", "--fit", fit, "--data", tiny_run, "--out", out, "--seeds", "2")
    assert re.search(r"^0 held-out clips: 2, seeds: 2, model after step 3", shown)
    assert "sampled orbit" in shown
    assert "repeat the input" in shown
    document = json.loads((out / "psnr.json").read_bytes())
    assert document["figures"]["clips"] == 2
    assert {len(clip["model_psnr_db"]) for clip in document["clips"].values()} == {2}
    names = {path.name for path in out.iterdir()}
    assert names == {"psnr.json", "contact.png", *(f"{key}.mp4" for key in document["clips"])}
    assert list((fit / "logs").glob("events.*"))


def test_a_dry_run_prints_the_plan_and_writes_nothing(tiny_run: Path, tmp_path: Path) -> None:
    shown = call(*fit_words(tiny_run, tmp_path / "fit", "--dry-run"))
    assert shown.startswith("0 starting: 3 steps of 2 clips, 3 frames of 16x16 px; 10 clips")
    assert json.loads(shown[shown.index("{") :])["data"]["size"] == 16
    assert not (tmp_path / "fit").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "--data", "nowhere", "--out", "x"], "has no index.parquet"),
        (["fit", "--data", "nowhere", "--out", "x", "--preset", "huge"], "expected one of full"),
        (["fit", "--data", "nowhere", "--out", "x", "--set", "optim.rate=1"], "optim.rate"),
        (["sample", "--fit", "nowhere", "--data", "x", "--out", "y"], "nothing was trained here"),
    ],
)
def test_mistakes_are_named(words: list[str], message: str) -> None:
    shown = call(*words)
    assert shown.startswith("1 error: ")
    assert message in shown


@pytest.mark.parametrize("verb", ["fit", "sample"])
def test_help_has_an_example(verb: str) -> None:
    assert f"Example: orbit4d train {verb} " in call(verb, "--help")

"""Scores of a trained model beside the baselines, kept clip by clip."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.train.small import CONFIG
from tests.train.test_cli import call
from tests.train.test_perceptual import Features, Video, make_clip, saved
from train import cli_eval, score
from train.cli import app
from train.config import SampleConfig
from train.loop import fit
from train.run import FitFolder, plan_fit
from train.score import METHODS, METRICS, MISSING, Published, evaluate_fit
from train.trained import Trained

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # TorchScript
]
FEW = SampleConfig(steps=1)


@pytest.fixture(scope="module")
def trained(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("score") / "fit"
    config = CONFIG.model_copy(update={"data": CONFIG.data.model_copy(update={"size": 16})})
    fit(plan_fit(config, tiny_run, out), tiny_run, out)
    return out


def test_every_clip_method_and_seed_has_a_row(
    trained: Path, tiny_run: Path, tmp_path: Path
) -> None:
    found = evaluate_fit(trained, tiny_run, tmp_path, FEW, seeds=2)
    _, split = FitFolder(trained).read()
    assert found.keys == split.held_out
    assert len(found.rows) == len(found.keys) * (2 + 2)  # two seeds, two baselines
    document = json.loads(found.document.read_bytes())
    assert document["summary"] == found.summary
    rows = list(csv.DictReader(found.table.read_text().splitlines()))
    assert [row["key"] for row in rows] == [row["key"] for row in found.rows]
    assert float(rows[0]["psnr_db"]) == found.rows[0]["psnr_db"]
    for method in METHODS:
        assert set(found.summary[method]) == set(METRICS)
        for name in ("lpips", "clip_f", "clip_o", "fvd"):
            assert found.summary[method][name] == MISSING
    assert set(found.missing) == {"--clip", "--lpips", "--fvd"}


def test_baselines_are_what_they_say(trained: Path, tiny_run: Path, tmp_path: Path) -> None:
    found = evaluate_fit(trained, tiny_run, tmp_path, FEW, seeds=1)
    frozen = [row for row in found.rows if row["method"] == "frozen orbit"]
    assert all(row["m"] == 0 and row["m_error"] > 0 for row in frozen)
    assert all(row["coherence"] > 0.9 for row in frozen)
    means = {method: found.summary[method]["psnr_db"]["mean"] for method in METHODS}
    assert means["frozen orbit"] > means["repeat the input"]


def test_another_call_goes_on_where_one_was_cut(
    trained: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(Exception):
        pass

    def cut(done: int, total: int) -> None:
        if done == 1:
            raise Cut

    with pytest.raises(Cut):
        evaluate_fit(trained, tiny_run, tmp_path, FEW, seeds=1, at_once=1, on_clips=cut)
    calls: list[int] = []
    sample = Trained.sample

    def counted(self: Trained, batch: Any, *more: Any) -> Any:
        calls.append(len(batch.keys))
        return sample(self, batch, *more)

    monkeypatch.setattr(score.Trained, "sample", counted)
    whole = evaluate_fit(trained, tiny_run, tmp_path, FEW, seeds=1)
    assert sum(calls) == 2 * (len(whole.keys) - 1)  # moving and still; one clip was there
    calls.clear()
    again = evaluate_fit(trained, tiny_run, tmp_path, FEW, seeds=1)
    assert (calls, again) == ([], replace(whole))
    evaluate_fit(trained, tiny_run, tmp_path, SampleConfig(steps=2), seeds=1)
    assert sum(calls) == 2 * len(whole.keys)  # other settings: nothing is kept


def test_given_weights_fill_their_rows(trained: Path, tiny_run: Path, tmp_path: Path) -> None:
    published = Published(
        clip=str(make_clip(tmp_path / "clip")),
        lpips=saved(Features(), tmp_path / "vgg16.pt"),
        fvd=saved(Video(), tmp_path / "i3d.pt"),
    )
    found = evaluate_fit(trained, tiny_run, tmp_path, FEW, seeds=2, published=published)
    assert not found.missing
    summary = found.summary
    assert summary["repeat the input"]["clip_o"]["mean"] == pytest.approx(1, abs=1e-5)
    assert summary["model"]["lpips"]["mean"] > 0
    assert summary["model"]["fvd"]["over_seeds"] is not None
    assert summary["frozen orbit"]["fvd"]["mean"] < summary["repeat the input"]["fvd"]["mean"]


def test_the_command_prints_a_table_and_says_what_is_missing(trained: Path, tmp_path: Path) -> None:
    words = ["--seeds", "1", "--clips", "1", "--set", "steps=1", "--out", tmp_path / "scores"]
    assert cli_eval.app is app
    shown = call("eval", trained, *words, "--clip", str(tmp_path / "no-clip"))
    assert shown.startswith("0 eval 1/1 clips")
    assert "1 held-out clips, 1 seeds, step 6" in shown
    assert shown.count(MISSING) >= 4 * 3
    assert f"weights missing: --clip: --clip '{tmp_path / 'no-clip'}': none there" in shown
    assert "weights missing: --fvd: not given" in shown
    assert "Example: orbit4d train eval out/fit1" in call("eval", "--help")
    assert "nothing was trained here" in call("eval", tmp_path)

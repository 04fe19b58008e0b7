"""Orbits of something new: conditions in, files out."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from shards.errors import ConfigError
from tests.train.small import CONFIG
from tests.train.test_cli import call
from tests.train.text_encoder import WIDTH, make_text_encoder
from train import cli_sample
from train.cli import app
from train.config import SampleConfig, TextConfig
from train.loop import fit
from train.request import FORMATS, Request, fulfil, read_views
from train.run import FitFolder, plan_fit

pytestmark = pytest.mark.slow
FEW = SampleConfig(steps=2)


@pytest.fixture(scope="module")
def trained(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a FIT folder of a model that takes an image and static 3D."""
    out = tmp_path_factory.mktemp("request") / "fit"
    config = CONFIG.model_copy(
        update={
            "data": CONFIG.data.model_copy(update={"size": 16}),
            "model": CONFIG.model.model_copy(update={"static": True}),
            "optim": CONFIG.optim.model_copy(update={"lr": 0.02}),
        }
    )
    fit(plan_fit(config, tiny_run, out), tiny_run, out)
    return out


def picture(seed: int = 0, frames: int = 6, side: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 255, (frames, side, side, 4), dtype=np.uint8)
    images[..., 3] = 255
    return images


def test_an_orbit_per_wanted_motion_in_every_format(trained: Path, tmp_path: Path) -> None:
    request = Request(image=picture()[0], motions=(0.0, 2.5))
    made = fulfil(trained, request, tmp_path, FEW, FORMATS)
    assert made.given == ("image",)
    names = {path.name for path in made.files}
    assert names == {
        *("orbit-m0.mp4", "orbit-m0.gif", "orbit-m0", "orbit-m2.5.mp4", "orbit-m2.5.gif"),
        "orbit-m2.5",
    }
    with Image.open(tmp_path / "orbit-m0.gif") as gif:
        assert getattr(gif, "n_frames", 0) == 3
    assert len(list((tmp_path / "orbit-m0").glob("*.png"))) == 3
    with Image.open(made.contact_sheet) as sheet:
        assert sheet.height > 3 * 96
    record = json.loads((tmp_path / "sample.json").read_bytes())
    assert record["motions"] == [0.0, 2.5]
    assert set(record["sample"]["drop"]) == {"text", "static"}


def frames_of(trained: Path, out: Path, request: Request) -> np.ndarray:
    (path,) = fulfil(trained, request, out, FEW, ("png",)).files
    return read_views(path)


def test_the_seed_the_motion_and_the_object_decide_and_nothing_else(
    trained: Path, tmp_path: Path
) -> None:
    static = picture()
    one = frames_of(trained, tmp_path / "one", Request(static=static, seed=3))
    same = frames_of(trained, tmp_path / "same", Request(static=static, seed=3))
    assert np.array_equal(one, same)
    for name, request in {
        "seed": Request(static=static, seed=4),
        "object": Request(static=picture(1), seed=3),
        "motion": Request(static=static, seed=3, motions=(30.0,)),
        "image": Request(image=static[0], seed=3),
    }.items():
        assert not np.array_equal(one, frames_of(trained, tmp_path / name, request)), name


def test_a_text_alone_makes_an_orbit(tiny_run: Path, tmp_path: Path) -> None:
    encoder = make_text_encoder(tmp_path / "encoder")
    config = CONFIG.model_copy(
        update={
            "data": CONFIG.data.model_copy(update={"size": 16}),
            "model": CONFIG.model.model_copy(update={"text": WIDTH, "image": None}),
            "text": TextConfig(encoder=str(encoder), tokens=8),
            "optim": CONFIG.optim.model_copy(update={"lr": 0.02}),
        }
    )
    fit(plan_fit(config, tiny_run, tmp_path / "fit"), tiny_run, tmp_path / "fit")
    settings = SampleConfig(steps=10, solver="dpm++", w1=2.0)
    shown = [
        fulfil(tmp_path / "fit", Request(prompt=text), tmp_path / text, settings, ("png",))
        for text in ("a red fox", "a blue robot")
    ]
    assert shown[0].given == ("text",)
    one, other = (read_views(made.files[0]) for made in shown)
    assert not np.array_equal(one, other)


def test_static_views_may_be_all_of_the_orbit_or_those_the_model_makes(
    trained: Path, tmp_path: Path
) -> None:
    whole = picture()
    one = frames_of(trained, tmp_path / "whole", Request(static=whole))
    other = frames_of(trained, tmp_path / "part", Request(static=whole[::2]))
    assert np.array_equal(one, other)
    with pytest.raises(ConfigError, match="5 images of the static object; expected 6 or 3"):
        fulfil(trained, Request(static=whole[:5]), tmp_path / "x", FEW)


def test_what_the_model_does_not_take_is_named(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes image and static, and was given text"):
        fulfil(trained, Request(prompt="a fox"), tmp_path, FEW)


def test_the_cameras_are_those_of_training(trained: Path, tiny_run: Path) -> None:
    orbit = FitFolder(trained).orbit()
    assert (orbit["frames"], len(orbit["c2w"]), len(orbit["azimuth_deg"])) == (6, 6, 6)
    assert orbit["distance"] == pytest.approx(2.0, abs=0.5)


def test_the_command_takes_images_folders_and_assets(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = tmp_path / "views"
    views.mkdir()
    for i, image in enumerate(picture()):
        Image.fromarray(image).save(views / f"{i:02d}.png")
    few = ["--set", "steps=2", "--format", "png"]
    shown = call(
        "sample", "--fit", trained, "--image", views / "00.png", "--out", tmp_path / "a", *few
    )
    assert shown.startswith("0 given: image\n")
    words = ["sample", "--fit", trained, "--static3d", views, "--out", tmp_path / "b", *few]
    shown = call(*words, "--motion", "0.5", "--motion", "2")
    assert shown.startswith("0 given: image, static\n")
    asked: list[tuple[Path, int, int]] = []

    def render(asset: Path, clip_index: int, orbit: dict, size_px: int) -> tuple:
        asked.append((asset, clip_index, size_px))
        return read_views(views), np.array(orbit["c2w"], np.float32)

    monkeypatch.setattr(cli_sample, "renderers", [render])
    asset = tmp_path / "fox.glb"
    asset.touch()
    words = ["sample", "--fit", trained, "--asset", asset, "--clip", "2", "--motion", "2"]
    call(*words, "--out", tmp_path / "c", *few)
    assert asked == [(asset, 2, 128)]
    one, other = (read_views(tmp_path / name / "orbit-m2") for name in "bc")
    # m = 0.5 and 2 were drawn in one batch there: sums round differently
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "given nothing; expected one of --data, --image"),
        (["--image", "a.png", "--data", "b"], "given --data and --image; expected one"),
        (["--image", "a.png"], "no readable image"),
        (["--image", "a.png", "--format", "avi"], "--format 'avi': expected mp4, gif or png"),
        (["--static3d", "nowhere"], "found 0 of 0 sizes"),
        (["--asset", "nowhere.glb"], "--asset"),
        (["--prompt", "a fox"], "takes image and static, and was given text"),
    ],
)
def test_mistakes_are_named(trained: Path, tmp_path: Path, words: list[str], message: str) -> None:
    given = ["sample", "--fit", str(trained), "--out", str(tmp_path / "x"), *words]
    result = CliRunner().invoke(app, given, env={"COLUMNS": "300"})
    assert result.exit_code == 1
    assert message in result.output

"""A preset fills in what neither file nor flag says."""

from pathlib import Path

import pytest

from curate.config import BuildConfig
from curate.presets import PRESETS, preset
from shards.errors import ConfigError


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_fits_the_settings(name: str) -> None:
    assert BuildConfig.load(preset=preset(name)) != BuildConfig()


def test_diffusion4d_is_what_the_paper_and_its_script_say() -> None:
    render = BuildConfig.load(preset=preset("diffusion4d")).render
    camera = render.sequences.camera
    assert (camera.distance, camera.fov_deg, camera.elevation_deg) == (2.0, 39.6, 0.0)
    assert (render.sequences.frames, render.sequences.width, render.sequences.height) == (
        24,
        256,
        256,
    )
    assert render.engine.filter_width_px == 0.01
    assert render.lights.sun_set == "diffusion4d"
    assert not camera.inclusive


def test_file_goes_over_preset_and_flag_over_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("render: {sequences: {frames: 12, camera: {distance: 3.0}}}\n")
    flags = ["render.sequences.camera.distance=4.0"]
    sequences = BuildConfig.load(path, flags, preset("diffusion4d")).render.sequences
    assert sequences.frames == 12  # the file's
    assert sequences.camera.distance == 4.0  # the flag's
    assert sequences.camera.elevation_deg == 0.0  # the preset's
    assert BuildConfig.load(preset=preset("diffusion4d")).render.sequences.frames == 24  # untouched


def test_no_preset_changes_nothing() -> None:
    assert BuildConfig.load(preset=preset(None)) == BuildConfig()


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'nope': expected one of diffusion4d"):
        preset("nope")

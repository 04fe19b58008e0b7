"""Fixtures shared by all tests."""

import os
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.make_shards import make_run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a RUN folder of 12 samples in 3 shards, T = 6, 16x16 px; tests do not change it."""
    return make_run(tmp_path_factory.mktemp("tiny") / "run")


@pytest.fixture(scope="session")
def assets_dir() -> Path:
    """Give the folder of real assets and their manifest, or skip.

    It is named by ``ORBIT4D_ASSETS``, else looked for in ``shared/assets`` beside the checkout.
    """
    default = Path(__file__).resolve().parents[2] / "shared" / "assets"
    folder = Path(os.environ.get("ORBIT4D_ASSETS", default))
    if not (folder / "manifest.csv").is_file():
        pytest.skip("real assets not found: set ORBIT4D_ASSETS to the folder with manifest.csv")
    return folder


@pytest.fixture(scope="session")
def samples_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of built-in sample assets, made by Blender; tests do not change it."""
    if version("bpy") < "4.4":
        pytest.skip("the built-in samples are made of action slots, which Blender has from 4.4 on")
    from render.samples import make_samples

    out = tmp_path_factory.mktemp("samples")
    make_samples(out)
    return out

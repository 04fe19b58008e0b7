"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

from tests.make_shards import make_run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a RUN folder of 12 samples in 3 shards, T = 6, 16x16 px; tests do not change it."""
    return make_run(tmp_path_factory.mktemp("tiny") / "run")

"""Fixtures shared by all tests."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Bucket:
    """An empty bucket of a local S3 server.

    ``url`` is ``s3://NAME``, ``options`` are what fsspec has to be told to find it, ``files`` is a
    filesystem that was told.
    """

    url: str
    options: dict[str, Any]
    files: Any


@pytest.fixture
def s3_bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Give a bucket of a local S3 server, or skip; tests that use it ignore botocore's warnings."""
    moto = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        options = {"endpoint_url": f"http://{host}:{port}"}
        monkeypatch.setenv("AWS_ENDPOINT_URL", options["endpoint_url"])
        files = s3fs.S3FileSystem(**options, skip_instance_cache=True)
        # the server keeps its buckets for the whole process
        name = request.node.originalname.replace("_", "-")[:60]
        files.mkdir(name)
        yield Bucket(f"s3://{name}", options, files)
        files.rm(name, recursive=True)
    finally:
        server.stop()

"""Hugging Face and Google Cloud Storage: their own fsspec packages against loopback servers."""

import http.server
import json
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from shards import tombstones
from shards.errors import ShardError
from shards.read import MapStyle, SampleReader, StreamConfig
from shards.store import StoreConfig
from shards.tombstones import add_tombstones

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of the packages

Reply = tuple[int, bytes]
Answer = Callable[[str, bytes], Reply | Path]  # path, body -> status and body, or a file to send


@contextmanager
def serving(answer: Answer) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Serve on the loopback; gives the address, and the requests as (path, range)."""
    requests: list[tuple[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            requests.append((self.path, wanted))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            reply = answer(self.path, body)
            if isinstance(reply, Path):
                status, data = (200, reply.read_bytes()) if reply.is_file() else (404, b"{}")
            else:
                status, data = reply
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
            if found and status == 200:
                status, data = 206, data[int(found[1]) : int(found[2]) + 1]
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if status == 404:
                self.send_header("X-Error-Code", "EntryNotFound")  # as the Hugging Face hub
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()
            thread.join()


def hub_of(run: Path) -> Answer:
    """Answer as the Hugging Face hub does for a dataset repository me/data with run/ in it."""

    def about(path: Path) -> dict[str, Any]:
        name = f"run/{path.relative_to(run)}"
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": "0" * 40}
        return {"type": "file", "path": name, "size": path.stat().st_size, "oid": "0" * 40}

    def answer(path: str, body: bytes) -> Reply | Path:
        tree = "/api/datasets/me/data/tree/main/run"
        if path.startswith(tree):
            folder = run / unquote(urlsplit(path).path.removeprefix(tree)).strip("/")
            if not folder.is_dir():
                return 404, b"{}"
            return 200, json.dumps([about(entry) for entry in folder.iterdir()]).encode()
        if path.startswith("/api/datasets/me/data"):
            return 200, json.dumps({"id": "me/data", "sha": "0" * 40, "siblings": []}).encode()
        prefix = "/datasets/me/data/resolve/main/run/"
        return run / path.removeprefix(prefix) if path.startswith(prefix) else (404, b"{}")

    return answer


def bucket_of(run: Path) -> Answer:
    """Answer as Cloud Storage's JSON API does for a bucket with run/ in it."""

    def answer(path: str, body: bytes) -> Reply | Path:
        parts = urlsplit(path)
        name = unquote(parts.path.rpartition("/o/")[2]).removeprefix("run/")
        if parts.path.startswith("/download/storage/v1/b/bucket/o/"):
            return run / name
        file = run / name
        if not file.is_file():
            return 404, b"{}"
        size = str(file.stat().st_size)
        return 200, json.dumps({"name": f"run/{name}", "bucket": "bucket", "size": size}).encode()

    return answer


def check(url: str, run: Path, options: dict[str, Any], requests: list[tuple[str, str]]) -> None:
    store = StoreConfig(pause_s=0.001, timeout_s=5, attempts=2, options=options)
    config = StreamConfig(background=None, dtype="uint8", store=store)
    samples, local = MapStyle(url, config), MapStyle(run, config)
    for i in range(len(local)):
        mine, theirs = samples.view(i), local.view(i)
        assert mine.key == theirs.key
        np.testing.assert_array_equal(
            mine.sequences["orbit"].images, theirs.sequences["orbit"].images
        )
    ranges = [wanted for path, wanted in requests if ".tar" in path and wanted]
    entries = SampleReader(run).entries()
    assert ranges == [f"bytes={e.offset}-{e.offset + e.length - 1}" for e in entries]
    assert samples.reader.store.size("shards/shard-000000.tar") > 0
    add_tombstones(run, {"blob00-000": "a takedown that comes while the run is read"})
    assert samples.view(0).stand_in_for == "blob00-000"
    with pytest.raises(ShardError, match=r"has no index\.parquet"):
        SampleReader(f"{url}/nowhere", store=store)


@pytest.fixture
def own_run(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tombstones, "EVERY_S", 1e-9)
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def test_hugging_face_is_read_by_exact_ranges(own_run: Path) -> None:
    pytest.importorskip("huggingface_hub")
    with serving(hub_of(own_run)) as (url, requests):
        options = {"endpoint": url, "token": False}
        check("hf://datasets/me/data/run", own_run, options, requests)


def test_google_cloud_storage_is_read_by_exact_ranges(
    own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks Google by gRPC
    pytest.importorskip("gcsfs")
    with serving(bucket_of(own_run)) as (url, requests):
        options = {"endpoint_url": url, "token": "anon"}
        check("gs://bucket/run", own_run, options, requests)


def test_a_storage_emulator_that_knows_no_ranges_gives_the_same_samples(
    own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    gcsfs = pytest.importorskip("gcsfs")
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket"):
        options = {"endpoint_url": f"http://127.0.0.1:{port}", "token": "anon"}
        files = gcsfs.GCSFileSystem(**options, skip_instance_cache=True)
        for path in [own_run / "index.parquet", *(own_run / "shards").iterdir()]:
            files.pipe_file(f"bucket/run/{path.relative_to(own_run)}", path.read_bytes())
        store = StoreConfig(pause_s=0.001, timeout_s=5, attempts=2, options=options)
        config = StreamConfig(background=None, dtype="uint8", store=store)
        samples, local = MapStyle("gs://bucket/run", config), MapStyle(own_run, config)
        for i in range(len(local)):
            mine, theirs = samples.view(i).sequences["orbit"], local.view(i).sequences["orbit"]
            np.testing.assert_array_equal(mine.images, theirs.images)
        files.rm_file("bucket/run/shards/shard-000002.tar")
        with pytest.raises(ShardError, match=r"shard-000002\.tar: is in the index but missing"):
            samples.view(11)

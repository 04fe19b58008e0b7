import http.server
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shards import tombstones
from shards.batches import SharedBatches
from shards.errors import ConfigError, ShardError
from shards.objects import Objects
from shards.read import MapStyle, SampleReader, ShardStream, StreamConfig
from shards.store import SampleCache, StoreConfig
from shards.tombstones import add_tombstones
from tests.conftest import Bucket

pytest.importorskip("aiohttp")

AS_STORED = StreamConfig(background=None, dtype="uint8")
QUICK = StoreConfig(pause_s=0.001, timeout_s=5)


class Server(http.server.ThreadingHTTPServer):
    """A loopback server with range requests that can be told to misbehave."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.requests: list[tuple[str, str]] = []
        self.fail_next = 0  # requests answered by 503
        self.cut_next = 0  # requests whose connection breaks in the middle
        self.slow_next_s = 0.0
        self.ignore_ranges = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/run"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Any
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range", "")
        server.requests.append((self.path, wanted))
        if server.slow_next_s:
            pause_s, server.slow_next_s = server.slow_next_s, 0.0
            time.sleep(pause_s)
        if server.fail_next:
            server.fail_next -= 1
            self.send_error(503)
            return
        path = server.root / self.path.removeprefix("/run/")
        if not path.is_file():
            self.send_error(404)
            return
        data, status = path.read_bytes(), 200
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
        if found and not server.ignore_ranges:
            data, status = data[int(found[1]) : int(found[2]) + 1], 206
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        if server.cut_next:
            server.cut_next -= 1
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tiny_run: Path) -> Iterator[Server]:
    with Server(tiny_run) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def remote(server: Server, **store: Any) -> MapStyle:
    config = AS_STORED.model_copy(update={"store": QUICK.model_copy(update=store)})
    return MapStyle(server.url, config)


def assert_same(some: MapStyle, run: Path) -> None:
    local = MapStyle(run, AS_STORED)
    for i in range(len(local)):
        mine, theirs = some.view(i), local.view(i)
        assert mine.key == theirs.key
        for name, view in mine.sequences.items():
            np.testing.assert_array_equal(view.images, theirs.sequences[name].images)


@pytest.mark.slow
def test_http_gives_the_same_samples_by_range(server: Server, tiny_run: Path) -> None:
    assert_same(remote(server), tiny_run)
    ranges = [wanted for path, wanted in server.requests if path.endswith(".tar")]
    assert len(ranges) == 12
    assert all(wanted.startswith("bytes=") for wanted in ranges)


def test_a_server_that_ignores_ranges_is_read_anyway(server: Server, tiny_run: Path) -> None:
    samples = remote(server)
    server.ignore_ranges = True
    assert samples.view(3).key == MapStyle(tiny_run, AS_STORED).view(3).key


@pytest.mark.slow
def test_failing_cut_and_slow_answers_are_tried_again(server: Server, tiny_run: Path) -> None:
    samples = remote(server, timeout_s=0.5)
    server.fail_next = 2
    server.cut_next = 1
    server.slow_next_s = 1.0
    start = len(server.requests)
    assert samples.view(0).key == "blob00-000"
    assert samples.broken == {}
    assert len(server.requests) - start == 5


def test_a_store_that_stays_away_is_an_error_that_names_it(server: Server) -> None:
    samples = remote(server, attempts=3)
    server.fail_next = 99
    start = len(server.requests)
    with pytest.raises(ShardError, match=r"shard-000000.tar: could not be read in 3 attempts"):
        samples.view(0)
    assert len(server.requests) - start == 3


def test_no_run_there_and_a_missing_shard_are_named(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no index\.parquet"):
        SampleReader(server.url + "x", store=QUICK)
    samples = remote(server)
    server.root = tmp_path
    with pytest.raises(ShardError, match=r"shards/shard-000000\.tar: is in the index but missing"):
        samples.view(0)


@pytest.mark.slow
def test_the_cache_spares_requests_and_mends_itself(
    server: Server, tiny_run: Path, tmp_path: Path
) -> None:
    assert_same(remote(server, cache=tmp_path / "cache"), tiny_run)
    before = len(server.requests)
    again = remote(server, cache=tmp_path / "cache")
    next((tmp_path / "cache").iterdir()).write_bytes(b"damaged")
    assert_same(again, tiny_run)
    assert sum(path.endswith(".tar") for path, _ in server.requests[before:]) == 1


def test_the_cache_keeps_its_bound_and_what_was_used_last(tmp_path: Path) -> None:
    cache = SampleCache(tmp_path, bytes_max=1000)
    for i in range(40):
        cache.put(f"{i:02d}", bytes(100))
        assert cache.get("00") is not None
        time.sleep(0.002)  # file times have to differ
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000
    assert cache.get("39") is not None
    assert cache.get("05") is None


def test_a_batch_fetches_its_samples_at_once(server: Server, tiny_run: Path) -> None:
    config = AS_STORED.model_copy(update={"store": QUICK})
    samples = SharedBatches(MapStyle(server.url, config), batch_size=4)
    local = SharedBatches(MapStyle(tiny_run, AS_STORED), batch_size=4)
    server.requests.clear()
    batch, expected = samples.__getitems__([0, 5, 7, 11]), local.__getitems__([0, 5, 7, 11])
    assert batch.keys == expected.keys
    np.testing.assert_array_equal(
        batch.sequences["orbit"]["rgba"], expected.sequences["orbit"]["rgba"]
    )
    assert len(server.requests) == 4


def test_a_file_url_is_a_folder(tiny_run: Path) -> None:
    assert len(ShardStream(f"file://{tiny_run}", AS_STORED)) == 12


def test_a_remote_list_of_takedowns_is_read_again_after_a_while(
    server: Server, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.root = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    samples = remote(server)
    add_tombstones(server.root, {"blob00-000": ""})
    monkeypatch.setattr(tombstones, "EVERY_S", 1e-9)
    assert samples.view(0).stand_in_for == "blob00-000"


@pytest.mark.slow
def test_loader_processes_open_their_own_connections(server: Server, tiny_run: Path) -> None:
    from torch.utils.data import DataLoader

    samples: Any = remote(server)
    samples.view(0)  # the parent has connections of its own before it forks
    loader: Any = DataLoader(samples, batch_size=None, num_workers=2)
    assert [item["key"] for item in loader] == SampleReader(tiny_run).column("key")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of botocore and moto
def test_s3_gives_the_same_samples(tiny_run: Path, tmp_path: Path, s3_bucket: Bucket) -> None:
    url, s3 = f"{s3_bucket.url}/run", s3_bucket.files
    for path in [tiny_run / "index.parquet", *(tiny_run / "shards").iterdir()]:
        s3.put_file(str(path), f"{url}/{path.relative_to(tiny_run)}")
    about = {"options": s3_bucket.options, "cache": tmp_path / "cache"}
    store = QUICK.model_copy(update=about)
    config = AS_STORED.model_copy(update={"store": store})
    assert_same(MapStyle(url, config), tiny_run)
    s3.rm_file(f"{url}/shards/shard-000002.tar")
    bare = config.model_copy(update={"store": store.model_copy(update={"cache": None})})
    with pytest.raises(ShardError, match=r"shard-000002\.tar: is in the index but missing"):
        MapStyle(url, bare).view(11)


@pytest.mark.parametrize("name", ["run?1", "run#1", "my%20run"])
def test_what_a_url_would_escape_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"s3://bucket/{name}: expected the names")):
        Objects(f"s3://bucket/{name}")
    assert Objects("s3://bucket/my rün 50%").url == "s3://bucket/my rün 50%"

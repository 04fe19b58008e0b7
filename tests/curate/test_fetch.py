"""Remote assets come here whole, or end as a failure with a name."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate import ledger
from curate.asset import done_file, process
from curate.catalogue import gather
from curate.clip import Job
from curate.config import BuildConfig, FetchConfig
from curate.fetch import cache_folder, fetched
from curate.remote_files import announced, find_urls, url_source
from curate.sources import About, Source
from render.runner import BlenderProcess
from render.session import BlenderSession
from shards.errors import AssetError, ConfigError
from shards.files import sha256_of
from tests.conftest import Bucket
from tests.curate.gltf_builder import tiny
from tests.curate.hub import Hub

pytest.importorskip("aiohttp")


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as server:
        yield server


@pytest.fixture
def config(tmp_path: Path) -> FetchConfig:
    return FetchConfig(cache=tmp_path / "cache", attempts=3, pause_s=0, timeout_s=5)


def source(hub: Hub, path: str, sha256: str = "") -> Source:
    return url_source(hub.url + path, About(source="http"), sha256=sha256)


def rule_of(wanted: Source, config: FetchConfig) -> str:
    with pytest.raises(AssetError, match="could not be fetched") as caught, fetched(wanted, config):
        pass
    assert caught.value.stage == "fetch"
    assert list(cache_folder(config).iterdir()) == []  # nothing is kept
    return caught.value.rule


def test_a_local_source_is_left_as_it_is(tmp_path: Path, config: FetchConfig) -> None:
    here = Source("x-0", "x.glb", tmp_path / "x.glb", tmp_path)
    with fetched(here, config) as given:
        assert given is here
    assert not cache_folder(config).exists()


def test_a_file_is_here_while_it_is_used_and_gone_afterwards(hub: Hub, config: FetchConfig) -> None:
    hub.files["/a/My Fox.glb"] = b"glTF, so to speak"
    wanted = source(hub, "/a/My%20Fox.glb")
    with fetched(wanted, config) as here:
        assert here.file.read_bytes() == b"glTF, so to speak"
        assert here.file.name == "My Fox.glb"
        assert here.file.parent == here.root
        assert here.root.parent == cache_folder(config)
        assert (here.uid, here.path) == (wanted.uid, wanted.path)
    assert list(cache_folder(config).iterdir()) == []


def test_what_does_not_match_its_hash_is_not_handed_on(hub: Hub, config: FetchConfig) -> None:
    hub.files["/b.glb"] = b"what it was"
    announced_sha256 = "d" * 64
    assert rule_of(source(hub, "/b.glb", announced_sha256), config) == "hash_mismatch"


@pytest.mark.parametrize(
    ("trouble", "rule", "tries"),
    [
        (404, "http_404", 1),
        (403, "http_403", 1),
        (410, "http_410", 1),
        (503, "http_503", 3),
        (429, "http_429", 3),
        ("cut", "truncated_download", 3),
    ],
)
def test_every_way_to_fail_has_its_name_and_tries(
    hub: Hub, config: FetchConfig, trouble: int | str, rule: str, tries: int
) -> None:
    path = f"/trouble/{trouble}.glb"
    hub.files[path] = b"0123456789" * 100
    hub.troubles[path] = [trouble] * 9
    assert rule_of(source(hub, path), config) == rule
    assert hub.gets.count(path) == tries


def test_what_passes_is_outlived(hub: Hub, config: FetchConfig) -> None:
    hub.files["/c.glb"] = b"0123456789" * 100
    hub.troubles["/c.glb"] = [503, "cut"]
    with fetched(source(hub, "/c.glb"), config) as here:
        assert here.file.stat().st_size == 1000


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["stall", "drip"])
def test_a_slow_server_is_given_up(hub: Hub, config: FetchConfig, trouble: str) -> None:
    path = f"/{trouble}.glb"
    hub.files[path] = bytes(1000)
    hub.troubles[path] = [trouble] * 3
    once = config.model_copy(update={"attempts": 1, "asset_timeout_s": 0.3})
    assert rule_of(source(hub, path), once) == "fetch_timeout"


def test_nobody_answers(config: FetchConfig) -> None:
    with Hub() as gone:
        address = gone.url
    wanted = url_source(f"{address}/x.glb", About())
    assert rule_of(wanted, config) == "connection_failed"


def test_a_download_that_is_too_large_is_ended(hub: Hub, config: FetchConfig) -> None:
    hub.files["/large.glb"] = bytes(2 << 20)
    small = config.model_copy(update={"asset_max_mb": 1.0})
    assert rule_of(source(hub, "/large.glb"), small) == "too_large"


def test_the_cache_stays_within_its_bound(hub: Hub, config: FetchConfig) -> None:
    hub.files["/d.glb"] = bytes(1000)
    other = cache_folder(config) / "asset-elsewhere-1-x"
    other.mkdir(parents=True)
    (other / "file").write_bytes(bytes(2 << 20))
    full = config.model_copy(update={"cache_mb": 1.0, "attempts": 1, "timeout_s": 0.1})
    with pytest.raises(AssetError, match="holds 2097152 bytes") as caught:
        fetched(source(hub, "/d.glb"), full).__enter__()
    assert caught.value.rule == "cache_full"


def test_what_killed_workers_left_is_cleared(hub: Hub, config: FetchConfig) -> None:
    import socket

    hub.files["/e.glb"] = b"x"
    left = cache_folder(config) / f"asset-{socket.gethostname()}-99999999-x"
    left.mkdir(parents=True)
    with fetched(source(hub, "/e.glb"), config):
        assert not left.exists()


def test_a_gltf_brings_its_companions_and_nothing_from_outside(
    hub: Hub, config: FetchConfig
) -> None:
    uris = ["scene.bin", "tex/a%20b.png", "../out.png", "http://other/x.png", "data:,x", "gone.png"]
    images = [{"uri": uri} for uri in uris[1:]]
    document = {"buffers": [{"uri": uris[0]}, {}], "images": images}
    hub.files |= {
        "/g/scene.gltf": json.dumps(document).encode(),
        "/g/scene.bin": b"bin",
        "/g/tex/a b.png": b"png",
        "/out.png": b"secret",
    }
    with fetched(source(hub, "/g/scene.gltf"), config) as here:
        found = {str(path.relative_to(here.root)) for path in here.root.rglob("*.*")}
    assert found == {"scene.gltf", "scene.bin", "tex/a b.png"}
    odd = ["n" * 300 + ".bin", "scene.bin/below.bin", ".", "..", "", "\0", "a\\..\\..\\b.bin"]
    document["buffers"] += [{"uri": uri} for uri in odd]
    hub.files["/g/odd.gltf"] = json.dumps(document).encode()
    with fetched(source(hub, "/g/odd.gltf"), config) as here:
        assert (here.root / "scene.bin").read_bytes() == b"bin"
    hub.troubles["/g/scene.bin"] = [500] * 3
    assert rule_of(source(hub, "/g/scene.gltf"), config) == "http_500"


def test_a_store_announces_etag_and_size(hub: Hub, config: FetchConfig) -> None:
    hub.files |= {"/f.glb": b"12345", "/tagged.glb": b"1"}
    hub.etags["/tagged.glb"] = "abc"
    wanted = [source(hub, path) for path in ("/f.glb", "/tagged.glb", "/missing.glb")]
    wanted.append(source(hub, "/f.glb", "a" * 64))
    stamps = [found.stamp for found in announced(wanted, config)]
    assert stamps == ["bytes:5", "etag:abc", "", f"sha256:{'a' * 64}"]


@pytest.mark.parametrize("end", ["", "models/", "*.glb", "models/**/*.glb"])
def test_a_server_that_is_not_there_is_not_an_empty_folder(config: FetchConfig, end: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be listed: ClientConnectorError"):
        find_urls(f"http://127.0.0.1:9/{end}", config)


def test_a_store_of_an_unknown_kind_is_named_before_anything_is_fetched(
    tmp_path: Path, config: FetchConfig
) -> None:
    with pytest.raises(ConfigError, match="Protocol not known: ftpx"):
        find_urls("ftpx://host/bee.glb", config)
    (tmp_path / "list.txt").write_text("ftpx://host/bee.glb\n")
    with pytest.raises(ConfigError, match="Protocol not known: ftpx"):
        gather([tmp_path / "list.txt"], config)


def test_a_url_of_one_file_of_a_folder_and_a_glob(tmp_path: Path, config: FetchConfig) -> None:
    import fsspec

    store: Any = fsspec.filesystem("memory")
    for name in ("in/a.glb", "in/deep/b.fbx", "in/readme.txt"):
        store.pipe(f"/models/{name}", name.encode())
    try:
        assert [s.path for s in find_urls("memory://models/in/a.glb", config)] == [
            "memory://models/in/a.glb"
        ]
        paths = [s.path for s in find_urls("memory://models/in", config)]
        assert paths == ["memory:///models/in/a.glb", "memory:///models/in/deep/b.fbx"]
        (globbed,) = find_urls("memory://models/**/*.fbx", config)
        assert globbed.stamp == "bytes:13"
        with fetched(globbed, config) as here:
            assert here.file.read_bytes() == b"in/deep/b.fbx"
        with pytest.raises(ConfigError, match="cannot be listed: FileNotFoundError"):
            find_urls("memory://models/nothing", config)
        store.pipe("/models/texts/readme.txt", b"")
        with pytest.raises(ConfigError, match=r"no file ends in \.glb"):
            find_urls("memory://models/texts", config)
    finally:
        store.rm("/models", recursive=True)
    with pytest.raises(ConfigError, match="nosuch"):
        find_urls("nosuch://models/", config)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/a/x.glb?sig=1/2", "x.glb"), ("http://h/..", "asset"), ("http://h", "asset"),
        ("s3://b/a;b|c.fbx", "a_b_c.fbx"), ("http://h/" + "n" * 500 + ".glb", "n" * 56 + ".glb"),
    ],
)  # fmt: skip
def test_a_file_has_a_name_that_every_file_system_takes(url: str, name: str) -> None:
    assert str(url_source(url, About()).file) == name


def test_a_password_in_a_url_does_not_reach_the_ledger() -> None:
    found = url_source("http://me:secret@host/x.glb", About())
    assert found.path == "http://host/x.glb"
    assert found.remote is not None
    assert "secret" in found.remote.address


# the road of a remote asset


@pytest.fixture
def session(tmp_path: Path) -> Iterator[BlenderSession]:
    with BlenderProcess(BuildConfig().limits.worker, [tmp_path]) as blender:
        yield BlenderSession(blender, BuildConfig().limits)
        assert not blender.is_running()  # gltf is judged without it


def rows_of(wanted: Source, tmp_path: Path, session: BlenderSession) -> list[dict[str, Any]]:
    config = BuildConfig.model_validate(
        {"curate": {"score_only": True}, "fetch": {"cache": tmp_path / "cache", "attempts": 1}}
    )
    job = Job(wanted, config, {"orbit4d": "0"}, tmp_path / "out" / wanted.uid, {})
    process(job, session)
    assert not list((tmp_path / "cache").glob("*"))
    return json.loads(done_file(job.staging).read_bytes())["rows"]


def test_a_remote_asset_is_judged_like_a_local_one(
    hub: Hub, tmp_path: Path, session: BlenderSession
) -> None:
    made = tmp_path / "tri.glb"
    tiny().glb(made)
    hub.files["/tri.glb"] = made
    about = About("http", "CC0-1.0", "A. Nyone", "Triangle", ("flat", "test"))
    wanted = url_source(f"{hub.url}/tri.glb", about, "tri", sha256_of(made))
    (row,) = rows_of(wanted, tmp_path, session)
    local = Source("tri", "tri.glb", made, tmp_path)
    (same,) = rows_of(local, tmp_path / "2", session)
    said = {"source", "licence", "attribution", "name", "tags", "stamp", "path", "modified_ns"}
    said.add("reproduce")  # names the input
    for name in row.keys() - said - set(ledger.SECONDS):
        assert row[name] == same[name], name
    assert (row["source"], row["licence"], row["attribution"]) == ("http", "CC0-1.0", "A. Nyone")
    assert (row["name"], row["tags"]) == ("Triangle", "flat;test")
    assert row["stamp"] == f"sha256:{row['sha256']}"
    assert row["modified_ns"] is None
    assert row["fetch_s"] > 0
    assert row["inspect_s"] > 0
    assert same["fetch_s"] is None


def test_a_failed_download_is_a_row(hub: Hub, tmp_path: Path, session: BlenderSession) -> None:
    (row,) = rows_of(source(hub, "/nowhere.glb"), tmp_path, session)
    assert (row["verdict"], row["stage"], row["rule"]) == ("failed", "fetch", "http_404")
    assert "nowhere.glb" in row["error"]
    assert row["fetch_s"] > 0


def test_a_local_file_with_another_hash_is_a_row(tmp_path: Path, session: BlenderSession) -> None:
    tiny().glb(tmp_path / "tri.glb")
    wanted = Source("tri", "tri.glb", tmp_path / "tri.glb", tmp_path, sha256="a" * 64)
    (row,) = rows_of(wanted, tmp_path, session)
    assert (row["verdict"], row["rule"]) == ("failed", "hash_mismatch")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of botocore and moto
def test_a_bucket_is_listed_and_fetched(config: FetchConfig, s3_bucket: Bucket) -> None:
    url, s3 = s3_bucket.url, s3_bucket.files
    s3.pipe({f"{url}/a/x y.glb": b"one", f"{url}/a/b/z.fbx": b"two", f"{url}/a/r.txt": b""})
    here = config.model_copy(update={"options": {"s3": s3_bucket.options}})
    z, x = find_urls(f"{url}/a/", here)
    assert (z.path, x.path) == (f"{url}/a/b/z.fbx", f"{url}/a/x y.glb")
    assert [s.path for s in find_urls(f"{url}/**/*.glb", here)] == [x.path]
    assert x.stamp.startswith("etag:")
    with fetched(x, here) as got:
        assert got.file.read_bytes() == b"one"
    s3.rm_file(f"{url}/a/x y.glb")
    s3.invalidate_cache()
    assert rule_of(x, here) == "http_404"
    absent = url_source("s3://nobody/x.glb", About())
    assert rule_of(absent, here) == "http_404"

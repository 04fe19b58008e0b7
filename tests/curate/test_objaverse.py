"""The catalogues through their own client, which talks to a loopback hub instead of the real one.

The client runs in its own process, as in a build; only addresses are redirected, by ``mirrors``.
"""

import gzip
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.catalogue import gather
from curate.clones import remove_unused
from curate.config import FetchConfig
from curate.fetch import cache_folder, fetched
from curate.sources import Source
from shards.errors import AssetError, ConfigError
from shards.files import sha256_of
from tests.curate.hub import Hub

pytestmark = pytest.mark.slow  # a process with pandas per request
V1 = "/datasets/allenai/objaverse/resolve/main"
XL = "/datasets/allenai/objaverse-xl/resolve/main"
UIDS = {"fox": "a" * 32, "still": "b" * 32, "gone": "c" * 32, "lost": "d" * 32}


@pytest.fixture
def hub(assets_dir: Path) -> Iterator[Hub]:
    """Serve Objaverse 1.0 with four assets: animated, still, missing, animated elsewhere."""
    with Hub() as server:
        paths = {UIDS["fox"]: "000-000", UIDS["still"]: "000-000", UIDS["gone"]: "000-001"}
        places = {uid: f"glbs/{folder}/{uid}.glb" for uid, folder in paths.items()}
        server.files[f"{V1}/object-paths.json.gz"] = packed(places)
        fox = {
            "animationCount": 2, "license": "by", "name": "Fox", "user": {"username": "nyone"},
            "tags": [{"name": "animal"}, {"name": "fox"}],
        }  # fmt: skip
        first = {UIDS["fox"]: fox, UIDS["still"]: {"animationCount": 0}}
        server.files[f"{V1}/metadata/000-000.json.gz"] = packed(first)
        second = {UIDS["gone"]: {"animationCount": 1, "license": "cc0"}}
        server.files[f"{V1}/metadata/000-001.json.gz"] = packed(second)
        server.files[f"{V1}/{places[UIDS['fox']]}"] = assets_dir / "bee.glb"
        server.files[f"{V1}/{places[UIDS['still']]}"] = assets_dir / "simple-cube.glb"
        yield server


@pytest.fixture
def config(hub: Hub, tmp_path: Path) -> FetchConfig:
    return FetchConfig(
        cache=tmp_path / "cache", annotations=tmp_path / "annotations", attempts=2, pause_s=0,
        timeout_s=10, asset_timeout_s=60,
        mirrors={
            "https://huggingface.co": hub.url,
            "https://3d-api.si.edu": hub.url,
            "https://github.com/": f"file://{tmp_path}/repositories/",
        },
    )  # fmt: skip


def packed(value: Any) -> bytes:
    return gzip.compress(json.dumps(value).encode())


def rule_of(wanted: Source, config: FetchConfig) -> str:
    with pytest.raises(AssetError, match="could not be fetched") as caught, fetched(wanted, config):
        pass
    assert list(cache_folder(config).iterdir()) == []  # nothing is kept
    return caught.value.rule


def by_uid(*inputs: str, config: FetchConfig, **lists: list[str]) -> dict[str, Source]:
    return {source.uid: source for source in gather(inputs, config, **lists).sources}


# Objaverse 1.0


def test_animated_assets_are_listed_with_their_metadata(config: FetchConfig) -> None:
    found = gather(["objaverse:"], config)
    assert found.left_out == {"not animated": 1}
    fox, gone = found.sources
    assert (fox.uid, fox.path) == (UIDS["fox"], f"objaverse/{UIDS['fox']}.glb")
    about = fox.about
    assert (about.source, about.licence, about.attribution) == ("objaverse", "by", "nyone")
    assert (about.name, about.tags) == ("Fox", ("animal", "fox"))
    assert gone.about.licence == "cc0"


def test_an_asset_is_downloaded_used_and_deleted(
    hub: Hub, config: FetchConfig, assets_dir: Path
) -> None:
    sources = by_uid("objaverse:", config=config)
    with fetched(sources[UIDS["fox"]], config) as here:
        assert sha256_of(here.file) == sha256_of(assets_dir / "bee.glb")
        assert here.file.is_relative_to(here.root)
        assert here.root.is_relative_to(cache_folder(config))
    assert list(cache_folder(config).iterdir()) == []
    assert rule_of(sources[UIDS["gone"]], config) == "http_404"
    path = f"{V1}/{sources[UIDS['fox']].remote.address}"  # pyright: ignore[reportOptionalMemberAccess]
    hub.troubles[path] = ["cut", "cut"]
    assert rule_of(sources[UIDS["fox"]], config) == "truncated_download"
    hub.troubles[path] = [503]
    with fetched(sources[UIDS["fox"]], config) as here:
        assert here.file.stat().st_size == (assets_dir / "bee.glb").stat().st_size
    hub.troubles[path] = ["drip", "stall"]
    hurried = config.model_copy(update={"asset_timeout_s": 3.0, "attempts": 1})
    assert rule_of(sources[UIDS["fox"]], hurried) == "fetch_timeout"  # bytes come, but for ever
    assert rule_of(sources[UIDS["fox"]], hurried) == "fetch_timeout"  # nothing comes


def test_lists_select_from_the_catalogue_and_denial_is_a_row(
    config: FetchConfig, tmp_path: Path
) -> None:
    (tmp_path / "allow.txt").write_text(f"{UIDS['fox']}\n{UIDS['gone']}\n{UIDS['lost']}\n")
    (tmp_path / "deny.txt").write_text(f"{UIDS['gone']}\n")
    lists = {"allow": [str(tmp_path / "allow.txt")], "deny": [str(tmp_path / "deny.txt")]}
    found = gather(["objaverse:"], config, **lists)
    refusals = {source.uid: source.refusal for source in found.sources}
    assert refusals == {UIDS["fox"]: "", UIDS["gone"]: "denied"}
    assert found.left_out == {"not on the allow list": 1}
    assert found.not_found == 1
    listed = by_uid(f"objaverse:{tmp_path}/allow.txt", config=config)
    assert listed.keys() == {UIDS[name] for name in ("fox", "gone", "lost")}
    assert rule_of(listed[UIDS["lost"]], config) == "unknown_uid"


def test_annotations_that_were_cut_are_loaded_again(hub: Hub, config: FetchConfig) -> None:
    hub.troubles[f"{V1}/object-paths.json.gz"] = ["cut"]
    hub.troubles[f"{V1}/metadata/000-000.json.gz"] = ["cut"]
    assert len(gather(["objaverse:"], config).sources) == 2
    seen = len(hub.gets)
    assert len(gather(["objaverse:"], config).sources) == 2
    assert len(hub.gets) == seen  # they are kept
    hub.files.clear()
    elsewhere = config.model_copy(update={"annotations": config.annotations / "new"})
    with pytest.raises(ConfigError, match="http_404"):
        gather(["objaverse:"], elsewhere)


# Objaverse-XL


def annotate(hub: Hub, collection: str, *rows: dict[str, str]) -> None:
    names = ("fileIdentifier", "source", "license", "fileType", "sha256", "metadata")
    blank = {"source": collection, "license": "MIT", "fileType": "glb", "metadata": "{}"}
    table = pa.Table.from_pylist([blank | row for row in rows]).select(names)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    hub.files[f"{XL}/{collection}/{collection}.parquet"] = sink.getvalue().to_pybytes()


def repository(folder: Path, assets_dir: Path, attributes: str = "") -> str:
    """Make owner/repo with one asset, a companion and a link that leads out; returns its commit."""
    work = folder / "work"
    (work / "models").mkdir(parents=True)
    for name in ("bee.glb", "other.glb", "beside.glb"):
        (work / "models" / name).write_bytes((assets_dir / "bee.glb").read_bytes())
    (work / ".gitattributes").write_text(attributes)
    (work / "models" / "beside.png").write_bytes(b"png")
    (work / "models" / "out.glb").symlink_to("/etc/hostname")
    environment = os.environ | {
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": "/dev/null",
    }  # fmt: skip

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=work, env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "x")
    bare = folder / "repositories" / "owner" / "repo.git"
    git("clone", "--quiet", "--bare", ".", str(bare))
    return git("rev-parse", "HEAD")


def test_github_objects_and_their_traps_end_with_a_name(
    hub: Hub, config: FetchConfig, tmp_path: Path, assets_dir: Path
) -> None:
    commit = repository(tmp_path, assets_dir)
    sha256 = sha256_of(assets_dir / "bee.glb")
    base = f"https://github.com/owner/repo/blob/{commit}/models"
    rows = [
        {"fileIdentifier": f"{base}/bee.glb", "sha256": sha256},
        {"fileIdentifier": f"{base}/never.glb", "sha256": sha256},
        {"fileIdentifier": f"https://github.com/owner/dead/blob/{commit}/x.glb", "sha256": sha256},
        {"fileIdentifier": f"{base}/bee.stl", "sha256": sha256, "fileType": "stl"},
    ]
    annotate(hub, "github", *rows)
    found = gather(["objaverse-xl:github"], config)
    assert found.left_out == {"format stl": 1}
    sources = {source.path.rpartition("/")[2]: source for source in found.sources}
    bee = sources["bee.glb"]
    assert bee.uid == str(uuid.uuid5(uuid.NAMESPACE_DNS, bee.path))
    assert (bee.about.source, bee.about.licence) == ("objaverse-xl/github", "MIT")
    assert bee.about.attribution == "owner/repo"
    with fetched(bee, config) as here:
        assert sha256_of(here.file) == sha256
        assert (here.file.parent / "beside.png").read_bytes() == b"png"
        assert not (here.file.parent / "out.glb").is_symlink()
        assert here.root.name == "repo"
    assert remove_unused(cache_folder(config)) == 1
    assert list(cache_folder(config).iterdir()) == []
    assert rule_of(sources["never.glb"], config) == "dead_commit"
    assert rule_of(sources["x.glb"], config) == "dead_repository"
    other = Source(bee.uid, bee.path, bee.file, bee.root, "0" * 64, bee.remote, bee.about)
    assert rule_of(other, config) == "hash_mismatch"
    hub.troubles["/owner/repo.git/info/refs"] = [401] * 9
    asked = config.model_copy(update={"mirrors": {"https://github.com/": f"{hub.url}/"}})
    assert rule_of(bee, asked) == "git_needs_password"


def test_objects_of_one_commit_share_a_clone(
    hub: Hub, config: FetchConfig, tmp_path: Path, assets_dir: Path
) -> None:
    commit = repository(tmp_path, assets_dir)
    sha256 = sha256_of(assets_dir / "bee.glb")
    base = f"https://github.com/owner/repo/blob/{commit}/models"
    names = ("bee.glb", "other.glb", "never.glb", "beside.glb")
    announced = {"beside.glb": "0" * 64}
    rows = [{"fileIdentifier": f"{base}/{n}", "sha256": announced.get(n, sha256)} for n in names]
    annotate(hub, "github", *rows)
    found = gather(["objaverse-xl:github"], config).sources
    sources = {source.path.rpartition("/")[2]: source for source in found}
    cache = cache_folder(config)
    with fetched(sources["bee.glb"], config) as bee:
        shutil.rmtree(tmp_path / "repositories")  # whatever comes now is not cloned again
        with fetched(sources["other.glb"], config) as here:
            assert sha256_of(here.file) == sha256
            assert here.root == bee.root
        for name, rule in (("never.glb", "dead_commit"), ("beside.glb", "hash_mismatch")):
            with pytest.raises(AssetError, match="could not be fetched") as caught:
                fetched(sources[name], config).__enter__()
            assert caught.value.rule == rule
        assert remove_unused(cache) == 0  # it is in use
        assert bee.file.exists()
    assert sum(1 for _ in cache.glob("clone-*/")) == 1
    small = config.model_copy(update={"cache_mb": 0.3})  # enough for one of the two
    hub.files["/bee.glb"] = assets_dir / "bee.glb"
    (url,) = gather([f"{hub.url}/bee.glb"], config).sources
    with fetched(url, small) as here:
        assert sha256_of(here.file) == sha256
    assert list(cache.iterdir()) == []  # the clone made room


@pytest.mark.skipif(shutil.which("git-lfs") is not None, reason="git-lfs is installed")
def test_a_repository_that_needs_git_lfs_says_so(
    hub: Hub, config: FetchConfig, tmp_path: Path, assets_dir: Path
) -> None:
    commit = repository(tmp_path, assets_dir, "*.glb filter=lfs\n")
    place = f"https://github.com/owner/repo/blob/{commit}/models/bee.glb"
    annotate(hub, "github", {"fileIdentifier": place, "sha256": "a" * 64})
    (bee,) = gather(["objaverse-xl:github"], config).sources
    assert rule_of(bee, config) == "git_lfs_failed"


def test_sketchfab_and_smithsonian_objects(hub: Hub, config: FetchConfig, assets_dir: Path) -> None:
    sha256 = sha256_of(assets_dir / "bee.glb")
    model = f"https://sketchfab.com/3d-models/{UIDS['fox']}"
    annotate(hub, "sketchfab", {"fileIdentifier": model, "sha256": sha256})
    exhibit = "https://3d-api.si.edu/content/bee.glb"
    hub.files["/content/bee.glb"] = assets_dir / "bee.glb"
    about = {"metadata": json.dumps({"title": "A bee"}), "license": "CC0"}
    gone = {"fileIdentifier": "https://3d-api.si.edu/content/gone.glb", "sha256": sha256}
    annotate(hub, "smithsonian", {"fileIdentifier": exhibit, "sha256": sha256} | about, gone)
    sketchfab = list(gather(["objaverse-xl:sketchfab"], config).sources)
    smithsonian = list(gather(["objaverse-xl:smithsonian"], config).sources)
    assert UIDS["fox"] in sketchfab[0].names()  # Objaverse 1.0's lists find it
    for source in (sketchfab[0], smithsonian[0]):
        with fetched(source, config) as here:
            assert sha256_of(here.file) == sha256
    assert smithsonian[0].about.name == "A bee"
    assert rule_of(smithsonian[1], config) == "http_404"
    hub.troubles["/content/bee.glb"] = [500, 500]
    assert rule_of(smithsonian[0], config) == "http_500"

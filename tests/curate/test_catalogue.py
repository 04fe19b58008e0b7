"""Every kind of input becomes sources, and lists say which of them count."""

import os
import uuid
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import orbit4d
from curate import ledger
from curate.asset import done_file
from curate.catalogue import Gathered, gather
from curate.config import FetchConfig
from curate.id_lists import IdList, overlap, read_id_list
from curate.objaverse_sources import find_in_catalogue
from curate.sources import Source, find_sources, uid_for
from shards.errors import ConfigError
from tests.curate.gltf_builder import tiny
from tests.curate.hub import Hub
from tests.curate.staging import build, make_inputs

CONFIG = FetchConfig(attempts=1, pause_s=0, timeout_s=5)
PUBLISHED = "000457eecbd4428c92fdedd1465674cf"


def found(*inputs: str | Path) -> list[Source]:
    return list(gather(inputs, CONFIG).sources)


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.fsencode(name))


# local


def test_files_and_folders_are_what_they_always_were(tmp_path: Path) -> None:
    make(tmp_path, "a/x.glb", "a/y.fbx", "b/z.usda", "b/note.txt")
    inputs = [tmp_path / "a", tmp_path / "b"]
    assert found(*inputs) == find_sources(inputs)


def test_a_glob_is_searched_from_its_fixed_part(tmp_path: Path) -> None:
    make(tmp_path, "in/a/x.glb", "in/b/c/x.glb", "in/b/tex.png", "in/z.fbx")
    paths = [source.path for source in found(f"{tmp_path}/in/**/*.glb")]
    assert paths == ["a/x.glb", "b/c/x.glb"]
    assert [s.path for s in found(f"{tmp_path}/in/*/*")] == ["a/x.glb"]
    assert {s.root for s in found(f"{tmp_path}/in/**/*")} == {tmp_path / "in"}
    with pytest.raises(ConfigError, match=r"no file ends in \.glb"):
        found(f"{tmp_path}/in/*.nothing")


# lists and tables


def test_a_list_names_a_path_or_url_a_line(tmp_path: Path) -> None:
    make(tmp_path, "lists/sub/x.glb", "elsewhere/y.glb")
    lines = [
        "# mine",
        "sub/x.glb",
        "",
        str(tmp_path / "elsewhere/y.glb"),
        "http://127.0.0.1:9/z.glb",
    ]
    (tmp_path / "lists" / "all.txt").write_text("\n".join(lines))
    by_path = {source.path: source for source in found(tmp_path / "lists" / "all.txt")}
    assert len(by_path) == 3
    x = by_path["sub/x.glb"]
    assert (x.file, x.root) == (tmp_path / "lists/sub/x.glb", tmp_path / "lists")
    assert x.uid == uid_for("sub/x.glb")
    y = by_path[str(tmp_path / "elsewhere/y.glb")]
    assert (y.file, y.root) == (tmp_path / "elsewhere/y.glb", tmp_path / "elsewhere")
    assert by_path["http://127.0.0.1:9/z.glb"].remote is not None


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_says_what_is_known_of_each(tmp_path: Path, ending: str) -> None:
    make(tmp_path, "x.glb", "y.glb")
    rows = [
        {"path": "x.glb", "uid": "fox", "licence": "CC-BY-4.0", "attribution": "A. Nyone",
         "name": "Fox, red", "tags": "animal; skinned", "sha256": "AB" * 32, "more": "1"},
        {"path": "y.glb", "uid": "", "licence": "", "attribution": "", "name": "", "tags": "",
         "sha256": "", "more": ""},
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows)
    if ending == "csv":
        from pyarrow import csv

        csv.write_csv(table, tmp_path / "m.csv")
    else:
        pq.write_table(table, tmp_path / "m.parquet")
    x, y = found(tmp_path / f"m.{ending}")
    assert (x.uid, x.sha256, x.about.source) == ("fox", "ab" * 32, "local")
    assert (x.about.licence, x.about.attribution) == ("CC-BY-4.0", "A. Nyone")
    assert (x.about.name, x.about.tags) == ("Fox, red", ("animal", "skinned"))
    assert y == Source(uid_for("y.glb"), "y.glb", tmp_path / "y.glb", tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name\nfox\n", "entry 1: expected a column url or path"),
        ("path,uid\nx.glb,../x\n", "may hold letters"),
        ("path,sha256\nx.glb,12\n", "no hash of 64 hex digits"),
        ("path\n", "the list is empty"),
        ("path,uid\nx.glb,a\ny.glb,a\n", "both have the uid a"),
    ],
)
def test_a_mistake_in_a_table_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        found(tmp_path / "m.csv")


def test_a_table_behind_a_url_counts_from_there() -> None:
    pytest.importorskip("aiohttp")
    with Hub() as hub:
        hub.files["/set/m.csv"] = b"path,licence\nsub/x.glb,CC0-1.0\n"
        (source,) = found(f"{hub.url}/set/m.csv")
        assert source.path == f"{hub.url}/set/sub/x.glb"
        assert (source.about.source, source.about.licence) == ("http", "CC0-1.0")
        with pytest.raises(ConfigError, match=r"gone\.csv: cannot be read"):
            found(f"{hub.url}/gone.csv")


def test_the_manifest_of_the_real_assets(assets_dir: Path) -> None:
    sources = found(assets_dir / "manifest.csv")
    assert len(sources) > 60
    assert all(source.file.is_file() for source in sources)
    assert {source.about.licence for source in sources} >= {"CC0-1.0", "CC-BY-4.0"}
    assert all(len(source.sha256) == 64 for source in sources)


# allow and deny


def gathered(tmp_path: Path, allow: str | None = None, deny: str | None = None) -> Gathered:
    lists: dict[str, list[str]] = {}
    for name, text in (("allow", allow), ("deny", deny)):
        if text is not None:
            (tmp_path / f"{name}.txt").write_text(text)
            lists[name] = [str(tmp_path / f"{name}.txt")]
    return gather([tmp_path / "in"], CONFIG, **lists)


def test_lists_mark_and_never_drop(tmp_path: Path) -> None:
    make(tmp_path / "in", "a.glb", "b.glb", f"sub/{PUBLISHED}.glb")

    def refusals(**lists: str) -> list[str]:
        return [source.refusal for source in gathered(tmp_path, **lists).sources]

    assert refusals() == ["", "", ""]
    assert refusals(allow=f"{uid_for('a.glb')}\nb.glb\n") == ["", "", "not_allowed"]
    assert refusals(allow=PUBLISHED) == ["not_allowed", "not_allowed", ""]
    assert refusals(deny=PUBLISHED) == ["", "", "denied"]
    assert refusals(allow="a.glb", deny="a.glb") == ["denied", "not_allowed", "not_allowed"]
    assert gathered(tmp_path, allow="a.glb\nnever.glb").not_found == 1


def test_a_denied_asset_is_a_row_and_its_samples_go(tmp_path: Path) -> None:
    """What was built before a takedown is withdrawn by the next build."""
    from curate.asset import process
    from curate.clip import Job
    from curate.collect import Collector
    from tests.curate.staging import SETTINGS, open_run, samples

    inputs = make_inputs(tmp_path / "in", a="kept kept", b="kept")
    build(tmp_path / "run", inputs)
    assert len(samples(tmp_path / "run")) == 3

    def again(**lists: str) -> list[str]:
        sources = gathered(tmp_path, **lists).sources
        run = open_run(tmp_path / "run", SETTINGS)
        run.begin()
        collector = Collector(run, sources)
        missing = list(collector.take_over())
        for source in missing:
            job = Job(source, SETTINGS, run.versions, run.staging(source), {})
            process(job, None)  # pyright: ignore[reportArgumentType]  # no session is needed
            assert done_file(job.staging).exists()
            collector.finished(source, run.finished_rows(source))
        collector.flush()
        run.finish({})
        run.close()
        return [source.path for source in missing]

    assert again(deny="a.glb") == ["a.glb"]
    assert again(deny="a.glb") == []
    (row,) = [row for row in ledger.load(tmp_path / "run") if row["path"] == "a.glb"]
    assert (row["verdict"], row["stage"], row["rule"]) == ("rejected", "source", "denied")
    assert len(samples(tmp_path / "run")) == 1
    assert build(tmp_path / "run", inputs) == ["a.glb"]  # taken back: done anew
    assert len(samples(tmp_path / "run")) == 3


# overlap


def row(uid: str, path: str, verdict: str, rule: str = "") -> dict[str, str | None]:
    return {"uid": uid, "path": path, "verdict": verdict, "rule": rule, "sha256": None}


def test_overlap_counts_each_entry_once() -> None:
    rows = [
        row("a", "a.glb", "rejected", "too_still"), row("a", "a.glb", "kept"),
        row("b-1", f"in/{PUBLISHED}.glb", "rejected", "too_short"),
        row("c", "c.glb", "failed", "truncated_file"), row("d", "d.glb", "kept"),
    ]  # fmt: skip
    listed = IdList("list", (("a", "x"), (PUBLISHED,), ("c.glb",), ("nobody",)))
    compared = overlap(rows, listed)
    assert (compared.kept, compared.dropped, compared.unknown, compared.not_listed) == (1, 2, 1, 1)
    assert compared.rules == {"too_short": 1, "truncated_file": 1}


def test_tables_of_ids_have_many_names(tmp_path: Path) -> None:
    text = (
        "fileIdentifier,sha256,meta\n"
        "https://github.com/o/r/blob/c/x.glb,aa,\"{'animation_count': 2, 'save_uid': 'u-1'}\"\n"
    )
    (tmp_path / "xl.csv").write_text(text)
    (entry,) = read_id_list(str(tmp_path / "xl.csv")).entries
    assert entry == ("https://github.com/o/r/blob/c/x.glb", "aa", "u-1")
    (tmp_path / "no.csv").write_text("colour\nred\n")
    with pytest.raises(ConfigError, match="expected one of the columns uid"):
        read_id_list(str(tmp_path / "no.csv"))


@pytest.mark.slow
def test_published_lists_against_a_ledger(tmp_path: Path, assets_dir: Path) -> None:
    lists = assets_dir.parent / "lists"
    if not lists.is_dir():
        pytest.skip("no published lists beside the assets")
    animated, curated = sorted(str(path) for path in lists.glob("*.txt"))
    ids = [entry[0] for entry in read_id_list(animated).entries]
    kept = {entry[0] for entry in read_id_list(curated).entries}
    assert (len(ids), len(kept)) == (37_789, 11_087)
    rows = [
        row(uid, f"objaverse/{uid}.glb", *(("kept",) if uid in kept else ("rejected", "too_still")))
        for uid in ids[:5000]
    ]
    (tmp_path / "run").mkdir()
    ledger.recover(tmp_path / "run")
    ledger.append(tmp_path / "run", [r | {"clip_index": 0} for r in rows], 0)
    done = CliRunner().invoke(
        orbit4d.app, ["sources", "overlap", str(tmp_path / "run"), animated, curated]
    )
    assert done.exit_code == 0, done.output
    inside = len(kept & set(ids[:5000]))
    for number in (37_789, inside, 5000 - inside, 37_789 - 5000, 11_087, 11_087 - inside):
        assert str(number) in done.output


# objaverse-xl by table; the rest of the catalogues needs their client


def test_a_table_of_objaverse_xl_objects(tmp_path: Path) -> None:
    identifier = "https://github.com/owner/repo/blob/0123abc/models/Fox.fbx"
    text = (
        "fileIdentifier,source,license,fileType,sha256,metadata\n"
        f"{identifier},github,MIT,fbx,{'AB' * 32},{{}}\n"
        "https://www.thingiverse.com/thing:1/files?fileId=2,thingiverse,CC,stl,cd,{}\n"
    )
    (tmp_path / "xl.csv").write_text(text)
    left_out: Counter[str] = Counter()
    (source,) = find_in_catalogue(f"objaverse-xl:{tmp_path}/xl.csv", CONFIG, None, left_out)
    assert left_out == {"format stl": 1}
    assert source.uid == str(uuid.uuid5(uuid.NAMESPACE_DNS, identifier))
    assert (source.path, source.file.suffix) == (identifier, ".fbx")
    assert source.sha256 == "ab" * 32
    assert source.about.source == "objaverse-xl/github"
    assert (source.about.licence, source.about.attribution) == ("MIT", "owner/repo")
    assert source.about.name == "Fox"
    with pytest.raises(ConfigError, match="expected a csv or parquet table, or one of github"):
        list(find_in_catalogue("objaverse-xl:githup", CONFIG, None, Counter()))


# the command


def test_ls_prints_what_would_be_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    tiny().glb(tmp_path / "in" / "tri.glb")
    (tmp_path / "deny.txt").write_text("tri.glb")
    words = ["sources", "ls", str(tmp_path / "in"), "--deny-list", str(tmp_path / "deny.txt")]
    done = CliRunner().invoke(orbit4d.app, words)
    assert done.exit_code == 0, done.output
    assert "tri.glb\tdenied" in done.output

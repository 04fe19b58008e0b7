import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.sources import FORMATS, find_sources, uid_for
from shards.errors import ConfigError

# The shape of a sample key, as in shards.sample, less the clip index.
UID = re.compile(r"[A-Za-z0-9_-]+")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    return root


def paths(*inputs: Path) -> list[str]:
    return [source.path for source in find_sources(inputs)]


def uids(*inputs: Path) -> dict[Path, str]:
    return {source.file: source.uid for source in find_sources(inputs)}


def test_a_folder_is_searched_through_for_every_format(tmp_path: Path) -> None:
    touch(tmp_path, *(f"deep/er/asset{suffix}" for suffix in FORMATS), "UPPER.GLB")
    touch(tmp_path, "readme.txt", "texture.png", "glb", "asset.glb.part", "scene.bin")
    found = find_sources([tmp_path])
    assert [source.path for source in found] == sorted(
        [*(f"deep/er/asset{suffix}" for suffix in FORMATS), "UPPER.GLB"]
    )
    for source in found:
        assert source.file == tmp_path / source.path
        assert source.root == tmp_path
    assert len({source.uid for source in found}) == len(found)


def test_hidden_files_and_folders_are_no_assets_unless_they_are_the_input(tmp_path: Path) -> None:
    touch(tmp_path, ".hidden.glb", ".cache/a.glb", "b/.git/deep/c.glb", "d.glb", ".e/f/g.glb")
    assert paths(tmp_path) == ["d.glb"]
    assert paths(tmp_path / ".e") == ["f/g.glb"]
    assert paths(tmp_path / ".hidden.glb") == [".hidden.glb"]


def test_a_folder_that_is_named_like_an_asset_is_searched_not_taken(tmp_path: Path) -> None:
    touch(tmp_path, "pack.glb/a.glb")
    assert paths(tmp_path) == ["pack.glb/a.glb"]
    assert paths(tmp_path / "pack.glb") == ["a.glb"]


def test_a_file_that_is_named_itself_is_taken_whatever_its_ending(tmp_path: Path) -> None:
    touch(tmp_path, "model.obj", "model")
    assert paths(tmp_path / "model.obj", tmp_path / "model") == ["model", "model.obj"]


def test_a_file_reached_twice_counts_once_under_its_first_path(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.glb", "a/y.glb")
    x, again = tmp_path / "a/x.glb", tmp_path / "a" / ".." / "a"
    assert paths(x, x, tmp_path / "a", again) == ["x.glb", "y.glb"]
    assert paths(x, tmp_path) == ["a/y.glb", "x.glb"]
    assert paths(tmp_path, x) == ["a/x.glb", "a/y.glb"]


def test_the_order_is_that_of_the_paths(tmp_path: Path) -> None:
    touch(tmp_path, "one/b.glb", "two/a.glb", "two/c/a.glb")
    expected = ["a.glb", "b.glb", "c/a.glb"]
    assert paths(tmp_path / "one", tmp_path / "two") == expected
    assert paths(tmp_path / "two", tmp_path / "one") == expected


def test_relative_inputs_give_absolute_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "in/x.glb")
    monkeypatch.chdir(tmp_path)
    expected = find_sources([tmp_path / "in"])
    assert find_sources([Path("in")]) == expected
    assert find_sources([Path("in/x.glb")]) == expected
    monkeypatch.chdir(tmp_path / "in")
    assert find_sources([Path()]) == expected


def test_inputs_may_be_any_iterable(tmp_path: Path) -> None:
    touch(tmp_path, "x.glb")
    assert find_sources(iter([tmp_path])) == find_sources([tmp_path])
    with pytest.raises(ConfigError, match=r"empty: no file ends in \.glb"):
        find_sources(iter([touch(tmp_path / "empty", "x.txt")]))


# names


def test_a_name_survives_another_content_another_place_and_more_files(tmp_path: Path) -> None:
    touch(tmp_path / "here", "sub/x.glb")
    (before,) = find_sources([tmp_path / "here"])
    (tmp_path / "here" / "sub" / "x.glb").write_text("changed")
    touch(tmp_path / "here", "sub/y.glb", "a.glb")
    (tmp_path / "here").rename(tmp_path / "there")
    after = {source.path: source.uid for source in find_sources([tmp_path / "there"])}
    assert after["sub/x.glb"] == before.uid


def test_names_are_pinned() -> None:
    # A changed name renders every asset anew: change it on purpose only.
    assert uid_for("sub/My Fox (v2).glb") == "My_Fox_v2-452bf28a9b"


def test_the_same_path_under_two_roots_is_two_assets(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.glb", "a/y.glb", "b/x.glb")
    found = find_sources([tmp_path / "a", tmp_path / "b"])
    assert [source.path for source in found] == ["x.glb", "x.glb", "y.glb"]
    assert len({source.uid for source in found}) == 3
    assert {source.file for source in found} == set(tmp_path.rglob("*.glb"))


def test_a_root_that_is_added_renames_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.glb", "a/y.glb", "b/x.glb", "c/x.glb")
    alone = uids(tmp_path / "a")
    two = uids(tmp_path / "a", tmp_path / "b")
    three = uids(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert alone.items() < two.items() < three.items()


def test_the_same_path_under_roots_of_one_name_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "1/models/x.glb", "2/models/x.glb", "3/models/x.glb")
    first, second, third = (tmp_path / name / "models" for name in "123")
    assert len(uids(first, second)) == 2
    with pytest.raises(ConfigError, match=r"2/models/x\.glb and .*3/models/x\.glb have the same"):
        find_sources([first, second, third])
    assert len(uids(tmp_path)) == 3  # what the message advises


@given(st.text(min_size=1, max_size=60))
@settings(max_examples=30, deadline=None)
def test_every_name_makes_valid_keys(address: str) -> None:
    assert UID.fullmatch(uid_for(address))
    assert len(uid_for(address)) <= 51


@given(st.sets(st.text(alphabet="aA_-. /é", min_size=1, max_size=8), min_size=2, max_size=20))
@settings(max_examples=30, deadline=None)
def test_different_paths_have_different_names(addresses: set[str]) -> None:
    assert len({uid_for(address) for address in addresses}) == len(addresses)


def test_a_uid_and_a_clip_index_make_a_key_that_names_both(tmp_path: Path) -> None:
    from curate.run_folder import uid_of
    from shards.sample import sample_key

    touch(tmp_path, "a-000.glb", "-.glb", "0.glb")
    for source in find_sources([tmp_path]):
        for clip in (0, 7, 999, 1000, 12345):
            assert uid_of(sample_key(source.uid, clip)) == source.uid


def test_a_name_that_is_not_utf8_is_an_asset_too(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.glb")
    touch(tmp_path, odd, "café.glb")
    found = {source.path: source for source in find_sources([tmp_path])}
    assert set(found) == {"caf\\xe9.glb", "café.glb"}
    assert len({source.uid for source in found.values()}) == 2
    assert all(UID.fullmatch(source.uid) for source in found.values())
    "".join(found).encode()  # fit for JSON and Parquet


# links


def test_a_link_to_a_file_is_the_file_under_the_name_of_the_link(tmp_path: Path) -> None:
    touch(tmp_path, "store/0123abcd", "in/readme")
    (tmp_path / "in" / "fox.glb").symlink_to("../store/0123abcd")
    (source,) = find_sources([tmp_path / "in"])
    assert (source.path, source.file) == ("fox.glb", tmp_path / "in" / "fox.glb")
    assert source.file.suffix == ".glb"  # the format is told by it
    assert source.root == tmp_path / "in"


def test_a_file_and_links_to_it_count_once(tmp_path: Path) -> None:
    touch(tmp_path, "b.glb")
    (tmp_path / "a.glb").symlink_to("b.glb")
    (tmp_path / "c.glb").symlink_to("b.glb")
    assert paths(tmp_path) == ["a.glb"]


def test_links_to_folders_are_not_followed_unless_they_are_the_input(tmp_path: Path) -> None:
    touch(tmp_path, "real/x.glb", "in/y.glb")
    (tmp_path / "in" / "loop").symlink_to("..")
    (tmp_path / "link").symlink_to("real")
    assert paths(tmp_path / "in") == ["y.glb"]
    (source,) = find_sources([tmp_path / "link"])
    assert (source.path, source.root) == ("x.glb", tmp_path / "real")


def test_a_link_that_leads_nowhere_is_listed_so_that_it_fails_in_the_ledger(
    tmp_path: Path,
) -> None:
    (tmp_path / "gone.glb").symlink_to("elsewhere.glb")
    (tmp_path / "loop.glb").symlink_to("loop.glb")
    assert paths(tmp_path) == ["gone.glb", "loop.glb"]


# errors


def test_an_input_that_does_not_exist_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "x.glb")
    with pytest.raises(ConfigError, match=r"nothing\.glb: no such file or folder"):
        find_sources([tmp_path, tmp_path / "nothing.glb"])


def test_inputs_without_an_asset_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "one/x.txt", "two/y.txt")
    with pytest.raises(ConfigError, match=r"one, .*two: no file ends in \.glb \.gltf"):
        find_sources([tmp_path / "one", tmp_path / "two"])
    with pytest.raises(ConfigError, match=r"^no input: no file ends"):
        find_sources([])

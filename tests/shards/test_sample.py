import dataclasses
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.codec import clear_hidden_colour
from shards.errors import SampleError
from shards.files import dump_json
from shards.index import IndexEntry, read_entries
from shards.sample import (
    SCHEMA_VERSION,
    ArrayMeta,
    AssetMeta,
    ClipMeta,
    SampleMeta,
    SequenceMeta,
    WorldMeta,
    decode_sequence,
    members_of,
    motion_magnitude,
    over_white,
    sample_key,
    sample_to_tar,
)
from tests.make_shards import make_run, make_sample, pack_sample

META, IMAGES = make_sample("blob00", 0, frames=3, size=8)
PACKED = pack_sample(META, IMAGES)


def changed(**fields: Any) -> bytes:
    return json.dumps(META.model_dump(mode="json") | fields).encode()


def test_a_sample_round_trips_through_its_bytes() -> None:
    members = members_of(PACKED, "here")
    meta = SampleMeta.parse(members[f"{META.key}.json"], "here")
    assert meta == META
    for name, frames in IMAGES.items():
        np.testing.assert_array_equal(decode_sequence(meta, members, name), frames)


@given(
    seed=st.integers(0, 2**32 - 1),
    frames=st.integers(1, 4),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
)
@settings(max_examples=20, deadline=None)
def test_any_images_round_trip(seed: int, frames: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    images = {"front": rng.integers(0, 256, (frames, *size, 4), np.uint8)}
    about = META.sequences["front"].model_dump() | {
        "frames": frames,
        "height": size[0],
        "width": size[1],
        "layout": (frames, 1),
    }
    for name in ("times_s", "azimuth_deg", "elevation_deg", "K", "c2w"):
        about[name] = (about[name] * 2)[:frames]
    meta = SampleMeta.model_validate(META.model_dump() | {"sequences": {"front": about}})
    packed = pack_sample(meta, images)
    assert packed == pack_sample(meta, images)
    members = members_of(packed, "here")
    assert SampleMeta.parse(members[f"{META.key}.json"], "here") == meta
    np.testing.assert_array_equal(
        decode_sequence(meta, members, "front"), clear_hidden_colour(images["front"])
    )


def test_a_run_with_two_zero_blocks_is_a_plain_tar() -> None:
    with tarfile.open(fileobj=io.BytesIO(PACKED + bytes(1024))) as archive:
        names = archive.getnames()
    key = META.key
    assert names == [f"{key}.json"] + [f"{key}.{name}.rgba.webp" for name in sorted(IMAGES)]


def member_starts() -> list[int]:
    with tarfile.open(fileobj=io.BytesIO(PACKED + bytes(1024))) as archive:
        return [info.offset for info in archive]


@given(st.integers(1, len(PACKED) - 1))
@settings(max_examples=60, deadline=None)
def test_a_run_cut_within_a_member_is_refused(cut: int) -> None:
    if cut not in member_starts():
        with pytest.raises(SampleError, match="here: "):
            members_of(PACKED[:cut], "here")


@pytest.mark.parametrize("member", [0, 1, 2, 3])
def test_a_damaged_header_is_refused(member: int) -> None:
    damaged = bytearray(PACKED)
    damaged[member_starts()[member] + 20] ^= 1
    with pytest.raises(SampleError, match=r"here: (not a tar run|.* its tar run ends at byte)"):
        members_of(bytes(damaged), "here")


def test_two_samples_in_one_run_are_refused() -> None:
    other = pack_sample(*make_sample("blob01", 0, frames=3, size=8))
    with pytest.raises(SampleError, match="expected the members of one sample"):
        members_of(PACKED + other, "here")


def test_sheets_have_to_be_those_of_the_metadata() -> None:
    with pytest.raises(SampleError, match="but its metadata lists"):
        sample_to_tar(META, {"front.rgba": b""})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "here: metadata field ''"),
        (b"\xff", "here: metadata field ''"),
        (changed(key="a.b-000"), "is not <uid>-<clip index>"),
        (changed(extra=1), "'extra': Extra inputs"),
        (changed(schema_version=SCHEMA_VERSION + 1), "install a newer orbit4d"),
        (changed(schema_version=SCHEMA_VERSION + 1, tracks=[]), "install a newer orbit4d"),
        (changed(world={"scale": 0, "offset": [0, 0, 0]}), r"'world\.scale'"),
    ],
)
def test_metadata_that_does_not_fit_names_the_field(data: bytes, message: str) -> None:
    with pytest.raises(SampleError, match=message):
        SampleMeta.parse(data, "here")


@pytest.mark.parametrize("field", ["times_s", "azimuth_deg", "elevation_deg", "K", "c2w"])
def test_every_image_has_a_camera_and_a_time(field: str) -> None:
    about = META.model_dump(mode="json")
    about["sequences"]["orbit"][field].pop()
    with pytest.raises(SampleError, match=f"{field} has 2 entries for 3 frames"):
        SampleMeta.parse(json.dumps(about).encode(), "here")


def test_an_unknown_sequence_and_a_wrong_size_are_named() -> None:
    members = members_of(PACKED, "here")
    with pytest.raises(SampleError, match="not 'grid'"):
        decode_sequence(META, members, "grid")
    about = META.model_dump()
    about["sequences"]["orbit"]["width"] = 9
    with pytest.raises(SampleError, match="images are 8x8 px, its metadata says 8x9"):
        decode_sequence(SampleMeta.model_validate(about), members, "orbit")


def test_motion_magnitude_is_zero_for_a_still_clip_and_counts_pixels() -> None:
    still = IMAGES["static"]
    assert motion_magnitude(still, still).pixel_sum == 0
    black, clear = np.zeros((2, 4, 5, 4), np.uint8), np.zeros((2, 4, 5, 4), np.uint8)
    black[..., 3] = 255
    assert motion_magnitude(black, clear).pixel_sum == pytest.approx(3 * 4 * 5)


def test_over_white_shows_white_where_nothing_is() -> None:
    image = np.array([[0, 0, 0, 0], [255, 0, 0, 255], [0, 0, 0, 51]], np.uint8)
    np.testing.assert_allclose(over_white(image), [[1, 1, 1], [1, 0, 0], [0.8, 0.8, 0.8]])


def test_keys_hold_uid_and_clip() -> None:
    assert sample_key("fox", 7) == "fox-007"


def test_a_document_of_version_1_is_read_as_it_was_meant() -> None:
    old = META.model_dump(mode="json")
    for name in ("arrays", "joints", "time_axis_s"):
        del old[name]
    for name in ("root_motion", "drift_times_s", "drift"):
        del old["world"][name]
    old["schema_version"] = 1
    read = SampleMeta.parse(dump_json(old), "here")
    assert read == META.model_copy(update={"schema_version": 1})
    members = members_of(PACKED, "here")
    for name, frames in IMAGES.items():
        np.testing.assert_array_equal(decode_sequence(read, members, name), frames)


def test_the_schema_document_names_every_field_and_the_version() -> None:
    text = (Path(__file__).parents[2] / "shards" / "SCHEMA.md").read_text()
    assert f"Version {SCHEMA_VERSION} of samples" in text
    for model in (SampleMeta, AssetMeta, ClipMeta, WorldMeta, SequenceMeta, ArrayMeta):
        for field in model.model_fields:
            assert f"`{field}`" in text, field
    for field in dataclasses.fields(IndexEntry):
        assert f"`{field.name}`" in text, field.name


def test_an_index_from_before_the_asset_hash_is_read(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", assets=1, clips=2, frames=1, size=4)
    path = run / "index.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["asset_sha256", "geometry"]), path)
    entries = read_entries(path)
    assert [(entry.asset_sha256, entry.geometry) for entry in entries] == [("", "")] * 2

"""The Hugging Face export, read by the stock ``datasets`` package."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shards.arrays import encode_array
from shards.export import export_huggingface
from shards.read import SampleReader
from shards.sample import ArrayMeta, SampleMeta, decode_sequence, decode_stored, sample_to_tar
from shards.write import ShardWriter, StagedSample
from tests.make_shards import make_run

DEPTH = np.arange(6 * 16 * 16, dtype=np.uint16).reshape(6, 16, 16)


@pytest.fixture
def mixed_run(tmp_path: Path) -> Path:
    """Give a RUN whose first samples lack what its last one has."""
    reader = SampleReader(make_run(tmp_path / "plain"))
    writer = ShardWriter(tmp_path / "run", 1)
    staged: list[StagedSample] = []
    for i, (meta, members) in enumerate(reader):
        path = tmp_path / f"{meta.key}.tar"
        path.write_bytes(_richer(meta, members) if i == 11 else reader.read_bytes(i))
        staged.append(StagedSample(meta.key, path))
    writer.commit(staged[:6])
    writer.commit(staged[6:])
    writer.finish()
    return writer.run


def _richer(meta: SampleMeta, members: dict[str, bytes]) -> bytes:
    about = ArrayMeta(dtype="uint16", shape=DEPTH.shape, unit="sides")
    update = {"warnings": ("one",), "scores": {"other": 1.0}, "arrays": {"orbit.depth": about}}
    parts = {name.removeprefix(f"{meta.key}."): data for name, data in members.items()}
    del parts["json"]
    parts["orbit.depth.npy.zst"] = encode_array(DEPTH)
    return sample_to_tar(meta.model_copy(update=update), parts)


def assert_close(mine: Any, other: Any) -> None:
    """Compare documents; the package keeps ten decimals of a number."""
    if isinstance(other, float):
        assert mine == pytest.approx(other, abs=1e-9)
    elif isinstance(other, dict):
        assert mine.keys() == other.keys()
        for name in other:
            assert_close(mine[name], other[name])
    elif isinstance(other, list):
        for one, its in zip(mine, other, strict=True):
            assert_close(one, its)
    else:
        assert mine == other


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the package
@pytest.mark.parametrize("streaming", [True, False])
def test_datasets_loads_the_export(
    mixed_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    datasets: Any = pytest.importorskip("datasets")
    # Not by the environment: the packages read it once, on import, for the whole process.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    out = tmp_path / "hf"
    assert export_huggingface(mixed_run, out, "Blobs", 8000) == 12
    loaded = datasets.load_dataset(
        str(out), split="train", streaming=streaming, cache_dir=str(tmp_path / "cache")
    )
    met: list[str] = []
    for row, (meta, members) in zip(loaded, SampleReader(mixed_run), strict=True):
        met.append(row["__key__"])
        assert_close(row["json"], meta.model_dump(mode="json"))
        sheet = np.asarray(row["orbit.rgba.webp"]).reshape(6, 16, 16, 4)
        np.testing.assert_array_equal(sheet, decode_sequence(meta, members, "orbit"))
        if "orbit.depth" in meta.arrays:
            stored = decode_stored(meta, members, "orbit.depth")
            np.testing.assert_array_equal(row["orbit.depth.npy.zst"], stored)
        else:
            assert row["orbit.depth.npy.zst"] is None
    assert len(set(met)) == 12

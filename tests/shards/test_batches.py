import gc
import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shards.arrays import StoredArray, encode_array, quantised
from shards.batches import Batch, SharedBatches, slots_for
from shards.errors import ShardError
from shards.read import MapStyle, StreamConfig
from shards.ring import Ring, ring_of
from shards.sample import ArrayMeta, encode_members, sample_to_tar
from shards.view import ArrayForm
from shards.write import ShardWriter, StagedSample
from tests.make_shards import make_run, make_sample

VIEWS: list[dict[str, Any]] = [
    {"background": None, "dtype": "uint8"},
    {"background": None, "dtype": "uint8", "frames": 2, "stride": 2},
    {"background": "white"},
    {"background": (0.2, 0.3, 0.4), "dtype": "float16", "size": 8, "sequences": ("orbit",)},
]


def batches(run: Path, batch_size: int = 4, **settings: Any) -> SharedBatches:
    return SharedBatches(MapStyle(run, StreamConfig(**settings)), batch_size=batch_size)


def in_use(samples: SharedBatches) -> int:
    return sum(owner != 0 for owner in samples.ring._owners)


@pytest.mark.parametrize("settings", VIEWS)
def test_a_batch_is_its_samples_stacked(tiny_run: Path, settings: dict[str, Any]) -> None:
    one_by_one = MapStyle(tiny_run, StreamConfig(**settings))
    numbers = [3, 0, 11]
    batch = batches(tiny_run, **settings).__getitems__(numbers)
    views = [one_by_one.view(i) for i in numbers]
    assert batch.keys == tuple(view.key for view in views)
    np.testing.assert_array_equal(batch.motion_magnitude, [v.motion_magnitude for v in views])
    for name, arrays in batch.sequences.items():
        alone = [view.as_dict()[name] for view in views]
        assert set(arrays) == set(alone[0])
        for kind, array in arrays.items():
            np.testing.assert_array_equal(array, np.stack([part[kind] for part in alone]))
            assert array.dtype == alone[0][kind].dtype


@pytest.mark.slow
def test_a_slot_is_free_once_the_last_array_is_gone(tiny_run: Path) -> None:
    samples = batches(tiny_run, background=None, dtype="uint8")
    batch = samples.__getitems__([0, 1])
    kept = batch.sequences["orbit"]["rgba"][1]
    shown = kept.copy()
    del batch
    gc.collect()
    assert in_use(samples) == 1
    others = [samples.__getitems__([2, 3]) for _ in range(3)]
    np.testing.assert_array_equal(kept, shown)
    del kept, others
    gc.collect()
    assert in_use(samples) == 0


def test_a_reader_that_keeps_every_batch_gets_copies_not_a_standstill(tiny_run: Path) -> None:
    samples = batches(tiny_run, 2, background=None, dtype="uint8")
    kept = [samples.__getitems__([i, i + 1]) for i in range(0, 12, 2)] * 2
    kept += [samples.__getitems__([i, i + 1]) for i in range(0, 12, 2)]
    assert in_use(samples) == samples.ring.slots == slots_for(2, 2)
    for first, again in zip(kept[:6], kept[12:], strict=True):
        for name in first.sequences:
            np.testing.assert_array_equal(
                first.sequences[name]["rgba"], again.sequences[name]["rgba"]
            )


def test_a_batch_without_a_slot_travels_whole(tiny_run: Path) -> None:
    samples = batches(tiny_run, 1, background=None, dtype="uint8")
    large = samples.__getitems__([0, 1, 2])  # more than was reserved
    again: Batch = pickle.loads(pickle.dumps(large))
    assert in_use(samples) == 0
    np.testing.assert_array_equal(
        again.sequences["front"]["rgba"], large.sequences["front"]["rgba"]
    )


def test_slots_of_dead_processes_are_taken_again() -> None:
    ring = Ring(2, 10)
    assert [ring.take(), ring.take(), ring.take()] == [0, 1, None]
    ring._owners[1] = 2**22 + 5  # beyond the kernel's largest process id
    assert ring.take() == 1


def _takes(ring: Ring, pipe: Any) -> None:
    for _ in range(2):
        slot = ring.take()
        assert slot is not None
        ring.free(slot)
        pipe.send(slot)
        pipe.recv()


def test_a_worker_takes_slots_again_that_it_had_before() -> None:
    """The kernel maps a slot's pages into a process at their first use, which costs much."""
    context = multiprocessing.get_context("fork")
    ring = Ring(3, 10, context)
    here, there = context.Pipe()
    assert ring.take() == 0
    worker = context.Process(target=_takes, args=(ring, there), daemon=True)  # a failure must end
    worker.start()
    there.close()  # so that a worker that dies is noticed
    assert here.recv() == 1
    ring.free(0)
    here.send(None)
    assert here.recv() == 1  # though 0 is free as well
    here.send(None)
    worker.join(30)
    assert worker.exitcode == 0


def test_a_lost_ring_is_named() -> None:
    with pytest.raises(RuntimeError, match="keep the dataset"):
        ring_of((1, -1))


def test_samples_of_unlike_size_are_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", assets=1, clips=2, frames=2, size=8)
    samples = batches(run, background=None, dtype="uint8")
    inner: Any = samples.samples
    real = inner.view

    def odd(i: int, room: Any) -> Any:
        other = {"orbit": ArrayForm((2, 4, 4, 4), "uint8")}
        return room("odd-000", other) if i else real(i, room)

    inner.view = odd
    with pytest.raises(ShardError, match="'odd-000' has images"):
        samples.__getitems__([0, 1])
    assert in_use(samples) == 0


PASSES = ("depth", "index", "visible")


@pytest.fixture(scope="module")
def run_with_passes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give three samples; the first one's depth is zero all over, so its stored scale is 1."""
    folder = tmp_path_factory.mktemp("passes")
    writer = ShardWriter(folder / "run", 1)
    staged: list[StagedSample] = []
    for clip in range(3):
        meta, images = make_sample("blob00", clip, frames=4, size=8)
        draw = np.random.default_rng(clip)
        stored = {
            "orbit.depth": quantised(draw.random((4, 8, 8)) * clip, np.uint16, "sides"),
            "orbit.index": StoredArray(draw.integers(0, 9, (4, 8, 8, 2), np.uint8), "object"),
            "orbit.visible": StoredArray(draw.random((4, 5)) > 0.5, "bool"),
        }
        arrays = {
            name: ArrayMeta(
                dtype=str(a.values.dtype), shape=a.values.shape, unit=a.unit, scale=a.scale
            )
            for name, a in stored.items()
        }
        members, layouts = encode_members(images, "webp")
        sequences = {
            name: about.model_copy(update={"layout": layouts[name]})
            for name, about in meta.sequences.items()
        }
        meta = meta.model_copy(update={"arrays": arrays, "sequences": sequences})
        members |= {f"{name}.npy.zst": encode_array(a.values) for name, a in stored.items()}
        path = folder / f"{meta.key}.tar"
        path.write_bytes(sample_to_tar(meta, members))
        staged.append(StagedSample(meta.key, path))
    writer.commit(staged)
    writer.finish()
    return folder / "run"


@pytest.mark.parametrize("more", [{}, {"frames": 2, "stride": 2, "size": 4}])
def test_passes_lie_in_the_slot_too(run_with_passes: Path, more: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"sequences": ("orbit",), "passes": PASSES, **more}
    samples = batches(run_with_passes, 3, **settings)
    one_by_one = MapStyle(run_with_passes, samples.samples.config)
    orbit = samples.__getitems__([0, 2, 1]).sequences["orbit"]
    shared = np.frombuffer(samples.ring._memory.create_memoryview(), np.uint8)
    for kind in PASSES:
        alone = np.stack([one_by_one[i]["orbit"][kind] for i in (0, 2, 1)])
        np.testing.assert_array_equal(orbit[kind], alone)
        assert orbit[kind].dtype == alone.dtype
        assert np.may_share_memory(orbit[kind], shared)
    assert [orbit[kind].dtype for kind in PASSES] == [np.float32, np.uint8, np.bool_]
    assert orbit["depth"][1].max() > 0.9


def test_passes_do_not_travel(run_with_passes: Path) -> None:
    samples = batches(run_with_passes, 3, sequences=("orbit",), passes=PASSES)
    batch = samples.__getitems__([0, 1, 2])
    pickled = pickle.dumps(batch)
    bare = batches(run_with_passes, 3, sequences=("orbit",)).__getitems__([0, 1, 2])
    assert len(pickled) - len(pickle.dumps(bare)) < 500  # where they lie; depth has 3072 bytes
    again: Batch = pickle.loads(pickled)
    for kind in PASSES:
        np.testing.assert_array_equal(
            again.sequences["orbit"][kind], batch.sequences["orbit"][kind]
        )
    samples.ring.slots = 0  # none is free: the batch travels whole
    whole: Batch = pickle.loads(pickle.dumps(samples.__getitems__([0, 1, 2])))
    for kind in PASSES:
        np.testing.assert_array_equal(
            whole.sequences["orbit"][kind], batch.sequences["orbit"][kind]
        )


def test_a_pass_that_a_sample_lacks_is_named(tiny_run: Path) -> None:
    with pytest.raises(ShardError, match=r"arrays \[\], not 'static.depth'; render with"):
        batches(tiny_run, passes=("depth",), max_broken=0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_loader_shares_memory_with_its_workers(tiny_run: Path, method: str) -> None:
    import multiprocessing

    from torch.utils.data import DataLoader

    samples: Any = SharedBatches(
        MapStyle(tiny_run, StreamConfig(background=None, dtype="uint8")),
        batch_size=3,
        context=multiprocessing.get_context(method),
    )
    alone = MapStyle(tiny_run, samples.samples.config)
    batch: Any = None
    images: Any = None
    for epoch in range(2):
        sampler: Any = samples.sampler()
        loader: Any = DataLoader(
            samples,
            batch_size=3,
            sampler=sampler,
            num_workers=2,
            collate_fn=SharedBatches.collate,
            multiprocessing_context=method,
        )
        met: list[str] = []
        for batch in loader:
            met += batch.keys
            shares = np.frombuffer(samples.ring._memory.create_memoryview(), np.uint8)
            for place, key in enumerate(batch.keys):
                images = batch.sequences["orbit"]["rgba"]
                assert np.may_share_memory(images, shares)
                number = alone.reader.column("key").index(key)
                expected = alone.view(number).sequences["orbit"].images
                np.testing.assert_array_equal(images[place], expected)
            if epoch == 0 and len(met) == 6:
                break  # what was under way is lost; its slots are taken again
        assert met == [alone.view(i).key for i in list(sampler)[: len(met)]]
    batch = images = None
    gc.collect()
    assert os.getpid() not in list(samples.ring._owners)

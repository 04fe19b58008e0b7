import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from shards.errors import ConfigError, RunError
from shards.read import SampleReader
from shards.sample import decode_sequence, over_white
from shards.tombstones import add_tombstones
from tests.train.small import random_batch
from train.config import DataConfig
from train.data import (
    Batches,
    ClipBatch,
    Clips,
    check_space,
    open_clips,
    scaled_motion,
    stacked,
)
from train.latents import PixelSpace

CONFIG = DataConfig(size=16, frames=3)


@pytest.fixture
def clips(tiny_run: Path) -> Clips:
    return open_clips(tiny_run, CONFIG, seed=0)


def test_clips_are_the_stored_images_over_white(tiny_run: Path, clips: Clips) -> None:
    meta, members = SampleReader(tiny_run).read(0)
    stored = over_white(decode_sequence(meta, members, "orbit"))[::2]  # 3 of 6, spread evenly
    batch = stacked([clips[0]])
    shown = (batch.orbit[0].permute(0, 2, 3, 1).numpy() + 1) / 2
    np.testing.assert_allclose(shown, stored, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(batch.camera[0], np.array(meta.sequences["orbit"].c2w)[::2])
    assert batch.keys == (meta.key,)


def test_motion_is_the_mean_squared_difference_times_the_scale(tiny_run: Path) -> None:
    meta, members = SampleReader(tiny_run).read(0)
    orbit, static = (over_white(decode_sequence(meta, members, n)) for n in ("orbit", "static"))
    assert scaled_motion(meta, 50) == pytest.approx(50 * np.square(orbit - static).mean())


def test_a_sample_without_motion_magnitude_is_named(tiny_run: Path) -> None:
    meta = SampleReader(tiny_run).read(0)[0].model_copy(update={"motion_magnitude": None})
    with pytest.raises(RunError, match=f"{meta.key}.*no motion magnitude"):
        scaled_motion(meta, 50)


def test_more_frames_than_stored_are_refused(tiny_run: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.frames is 7.*has 6.*--set data.frames=6"):
        open_clips(tiny_run, DataConfig(size=16, frames=7), seed=0)


def test_frozen_clips_show_their_twins_and_have_no_motion() -> None:
    batch = random_batch()
    mixed = batch.frozen(torch.tensor([True, False]))
    assert mixed.orbit[0].equal(batch.static[0])
    assert mixed.orbit[1].equal(batch.orbit[1])
    assert mixed.motion.tolist() == [0.0, batch.motion[1].item()]
    assert mixed.conditions().image.equal(batch.image)


def test_frames_come_with_their_cameras_and_the_first_image_stays() -> None:
    batch = random_batch()
    part = batch.at_frames(torch.tensor([[0, 2], [1, 2]]))
    assert part.orbit[1].equal(batch.orbit[1, 1:])
    assert part.static[0].equal(batch.static[0, ::2])
    assert part.camera[1].equal(batch.camera[1, 1:])
    assert part.conditions().image.equal(batch.orbit[:, 0])


def taken(batches: Batches, count: int) -> list[ClipBatch]:
    found: list[ClipBatch] = []
    for batch in islice(batches, count):
        found.append(batch)
        batches.advance()
    return found


def test_an_epoch_has_every_clip(clips: Clips) -> None:
    keys = [key for batch in taken(Batches(clips, 4, 0), 3) for key in batch.keys]
    assert sorted(keys) == sorted(clips.samples.reader.column("key"))


@pytest.mark.parametrize("stop", [0, 1, 3, 4])
def test_batches_go_on_from_a_saved_place(clips: Clips, stop: int) -> None:
    whole = [batch.keys for batch in taken(Batches(clips, 4, 0), 7)]
    first, second = Batches(clips, 4, 0), Batches(clips, 4, 0)
    taken(first, stop)
    second.load_state_dict(first.state_dict())
    assert [batch.keys for batch in taken(second, 7 - stop)] == whole[stop:]


def test_memory_is_a_cache_and_changes_nothing(tiny_run: Path, clips: Clips) -> None:
    bare = open_clips(tiny_run, CONFIG.model_copy(update={"cache_mb": 0}), seed=0)
    assert clips[1] is clips[1]
    assert bare[1] is not bare[1]
    assert bare[1].orbit.tobytes() == clips[1].orbit.tobytes()


def test_a_clip_in_memory_is_forgotten_when_it_is_taken_down(
    tiny_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    clips = open_clips(run, CONFIG, seed=0)
    room = clips._room
    before = [clips[i].key for i in range(12)]
    add_tombstones(run, {"blob01": "", "blob03-002": ""})
    after = [clips[i].key for i in range(12)]
    gone = {key for key in before if key.startswith("blob01")} | {"blob03-002"}
    assert [a for a, b in zip(after, before, strict=True) if b not in gone] == [
        key for key in before if key not in gone
    ]
    assert not gone & set(after)
    assert room - clips._room == sum(clip.nbytes for clip in clips._kept.values())


def test_a_run_whose_first_clip_was_taken_down_is_opened(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    add_tombstones(run, {"blob00-000": ""})
    clips = open_clips(run, CONFIG, seed=0)
    check_space(clips, PixelSpace(), 16)
    assert {clips[i].key for i in range(12)} == set(clips.samples.reader.column("key")) - {
        "blob00-000"
    }
    add_tombstones(run, {f"blob{asset:02d}": "" for asset in range(4)})
    with pytest.raises(RunError, match="none of its 12 samples can be read"):
        open_clips(run, CONFIG, seed=0)


@pytest.mark.slow
def test_loader_processes_give_the_same_batches(clips: Clips) -> None:
    alone, helped = (taken(Batches(clips, 4, workers), 7) for workers in (0, 2))
    assert [batch.keys for batch in alone] == [batch.keys for batch in helped]
    assert all(a.orbit.equal(b.orbit) for a, b in zip(alone, helped, strict=True))

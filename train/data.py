"""Shards -> batches of orbit clips with their frozen twins, cameras and motion magnitude."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float16, Float32, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from shards.errors import ConfigError, RunError
from shards.follow import FollowingSampler
from shards.index import IndexEntry
from shards.read import MapStyle, SampleReader, StreamConfig
from shards.sample import SampleMeta
from shards.tombstones import is_named
from shards.view import SampleView
from train.config import DataConfig
from train.encoded import encoder_of, first_intact, samples_kind
from train.latents import Space
from train.models.api import Conditions, all_conditions
from train.perceptual import ClipImages
from train.text import TextEncoder

_COUNTED_ELSEWHERE = 1_000_000  # train.faults has one budget for all processes of all ranks


@dataclass(frozen=True, slots=True)
class Clip:
    """One sample as stored for training: images uint8 over white, or latents float16; m scaled."""

    key: str
    orbit: UInt8[np.ndarray, "t h w c"] | Float16[np.ndarray, "t c h w"]
    static: UInt8[np.ndarray, "t h w c"] | Float16[np.ndarray, "t c h w"]
    camera: Float32[np.ndarray, "t 4 4"]
    motion: float
    caption: str = ""
    broken: tuple[str, str] | None = None  # key and reason of a broken sample it stands in for

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self.orbit.nbytes + self.static.nbytes + self.camera.nbytes


@dataclass(frozen=True, slots=True)
class ClipBatch:
    """Clips stacked: ``orbit`` and ``static`` have the same cameras.

    Colours in [-1, 1], or latents (``encoded``). ``image`` is the first image of the whole clip,
    which models are given. ``text`` and ``text_null`` are there once a text encoder has read the
    captions.
    """

    keys: tuple[str, ...]
    image: Float32[Tensor, "b c h w"]
    orbit: Float32[Tensor, "b t c h w"]
    static: Float32[Tensor, "b t c h w"]
    camera: Float32[Tensor, "b t 4 4"]
    motion: Float32[Tensor, " b"]
    captions: tuple[str, ...] = ()
    broken: tuple[tuple[str, str], ...] = ()  # key and reason of samples that others stand in for
    encoded: bool = False
    text: Float32[Tensor, "b n d"] | None = None
    text_null: Float32[Tensor, "b n d"] | None = None
    clip: Float32[Tensor, "b e"] | None = None

    def to(self, device: torch.device) -> "ClipBatch":
        """Move to a device."""
        names = ("image", "orbit", "static", "camera", "motion")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def rows(self, rows: slice) -> "ClipBatch":
        """Take some of the clips."""
        names = ("keys", "image", "orbit", "static", "camera", "motion", "captions")
        taken = {name: getattr(self, name)[rows] for name in names}
        read = {
            name: None if getattr(self, name) is None else getattr(self, name)[rows]
            for name in ("text", "text_null", "clip")
        }
        return replace(self, **taken, **read)

    def frozen(self, where: Bool[Tensor, " b"]) -> "ClipBatch":
        """Replace some clips by their frozen twins, which have m = 0."""
        orbit = torch.where(where[:, None, None, None, None], self.static, self.orbit)
        return replace(self, orbit=orbit, motion=self.motion * ~where)  # twins begin alike

    def at_frames(self, frames: Int64[Tensor, "b s"]) -> "ClipBatch":
        """Take out some frames of each clip."""
        clip = torch.arange(len(frames), device=frames.device)[:, None]
        names = ("orbit", "static", "camera")
        return replace(self, **{name: getattr(self, name)[clip, frames] for name in names})

    def inside(self, space: Space) -> "ClipBatch":
        """Encode images into the space that the model works in."""
        if self.encoded:
            return self
        image = space.encode(self.image[:, None])[:, 0]
        orbit, static = space.encode(self.orbit), space.encode(self.static)
        return replace(self, image=image, orbit=orbit, static=static, encoded=True)

    def read_by(self, encoder: TextEncoder | None) -> "ClipBatch":
        """Have the captions encoded."""
        if encoder is None:
            return self
        text, null = encoder.encode(self.captions), encoder.null(len(self.keys))
        return replace(self, text=text, text_null=null)

    def seen_by(self, encoder: ClipImages | None, space: Space) -> "ClipBatch":
        """Have CLIP look at the reference images; latents are decoded for it."""
        if encoder is None:
            return self
        image = space.decode(self.image[:, None])[:, 0] if self.encoded else self.image
        return replace(self, clip=encoder.embed(image))

    def conditions(self, keep: Bool[Tensor, "b k"] | None = None) -> Conditions:
        """Give what a model may know; all of it kept by default."""
        if keep is None:
            keep = all_conditions(len(self.keys), self.motion.device)
        return Conditions(
            self.image,
            self.camera,
            self.motion,
            keep,
            self.text,
            self.text_null,
            self.static,
            self.clip,
        )


def scaled_motion(meta: SampleMeta, scale: float) -> float:
    """Turn the stored motion magnitude into the model's m; the one place where it is scaled.

    The shard holds Diffusion4D's eq. 1 as a sum over a frame's pixels and RGB. Divided by
    3 * width * height of the stored image it is a mean squared difference, the same at every image
    size; times ``scale`` (``data.motion_scale``) ordinary clips come out near 1.

    Raises:
        RunError: if the sample has none.
    """
    if meta.motion_magnitude is None:
        raise RunError(
            f"sample {meta.key!r} has no motion magnitude; training needs sequences orbit and "
            "static. Build the RUN again with both"
        )
    stored = meta.sequences["orbit"]
    return scale * meta.motion_magnitude.pixel_sum / (3 * stored.width * stored.height)


def caption_of(meta: SampleMeta) -> str:
    """Give the text of a sample: its first caption, else what its source calls the asset."""
    return meta.captions[0] if meta.captions else meta.asset.name


def stream_config(config: DataConfig, entries: list[IndexEntry], seed: int) -> StreamConfig:
    """Say how to read: T frames spread evenly over the orbit, small, over white.

    Raises:
        ConfigError: if the stored orbits are shorter than ``data.frames``.
    """
    shortest = min(entries, key=lambda entry: entry.frames)
    if shortest.frames < config.frames:
        raise ConfigError(
            f"data.frames is {config.frames}, but sample {shortest.key!r} has "
            f"{shortest.frames}; use --set data.frames={shortest.frames}"
        )
    return StreamConfig(
        sequences=("orbit", "static"),
        frames=config.frames,
        stride=shortest.frames // config.frames,
        size=config.size,
        background="white",
        dtype="uint8",
        seed=seed,
        remainder="pad",
        max_broken=_COUNTED_ELSEWHERE,
    )


class Clips(Dataset[Clip]):
    """Decoded clips by number, kept in memory up to ``data.cache_mb``.

    A clip shrinks to kilobytes where its sheets take tens of milliseconds to decode, so small runs
    decode everything once. One that is taken down meanwhile is forgotten at once.
    """

    def __init__(self, samples: MapStyle, config: DataConfig) -> None:
        self.samples = samples
        self.config = config
        self._kept: dict[int, Clip] = {}
        self._room = config.cache_mb * 1_000_000

    def __len__(self) -> int:
        """Count the clips."""
        return len(self.samples)

    def __getitem__(self, i: int) -> Clip:
        """Decode a clip, or recall it."""
        kept = self._kept.get(i)
        if kept is not None and self.samples.reader.tombstones.hold(kept.key):
            self._room += self._kept.pop(i).nbytes
        if i not in self._kept:
            clip = self._decode(self.samples.view(i))
            if clip.nbytes > self._room:
                return clip
            self._room -= clip.nbytes
            self._kept[i] = clip
        return self._kept[i]

    def _decode(self, view: SampleView) -> Clip:
        orbit, static = view.sequences["orbit"], view.sequences["static"]
        motion = scaled_motion(view.meta, self.config.motion_scale)
        reason = self.samples.broken.get(view.stand_in_for)  # none: it was taken down
        return Clip(
            **{"key": view.key, "orbit": orbit.images, "static": static.images},
            camera=orbit.c2w,
            motion=motion,
            caption=caption_of(view.meta),
            broken=None if reason is None else (view.stand_in_for, reason),
        )


def open_clips(
    run: Path,
    config: DataConfig,
    seed: int,
    keys: Collection[str] | None = None,
    *,
    follow: bool = False,
) -> Clips:
    """Open some clips of a RUN folder, of images or of latents.

    With ``follow`` those of the shards that are finished so far.
    """
    reader = SampleReader(run, follow=follow)
    entries = reader.entries()
    if not entries:
        raise RunError(f"{run}: its index lists no samples; see its ledger for why")
    kind = samples_kind(reader)
    settings = stream_config(config, entries, seed).model_copy(update={"follow": follow})
    return Clips(kind(run, settings, keys=keys), config)


def check_space(clips: Clips, space: Space, size: int) -> None:
    """Refuse latents of another autoencoder, or of images of another size, than asked for.

    Raises:
        RunError: naming both.
    """
    meta = first_intact(clips.samples.reader)
    found = encoder_of(meta)
    if found is None:
        return
    run, shape = clips.samples.reader.run, meta.arrays["orbit.latent"].shape
    if found != space.identity:
        raise RunError(
            f"{run}: holds latents of autoencoder {found}, the settings have {space.identity}; "
            "set latents.autoencoder to the one that wrote them"
        )
    if shape[-1] * space.factor != size:
        raise RunError(
            f"{run}: holds latents of images of {shape[-1] * space.factor} px, data.size is "
            f"{size}; use --set data.size={shape[-1] * space.factor}"
        )


@dataclass(frozen=True, slots=True)
class NotAmong:
    """A filter of clips, by key or by asset, that loader processes can be handed."""

    names: frozenset[str]

    def __call__(self, entry: IndexEntry) -> bool:
        """Say whether a clip is none of these."""
        return not is_named(entry.key, self.names)


def follow_clips(run: Path, config: DataConfig, seed: int, held_out: Collection[str]) -> Clips:
    """Open the clips of a RUN folder that is still being built, all but those held out.

    Those of shards that are finished meanwhile join at each new epoch.
    ``held_out`` names clips by their keys, or whole assets by their uids.
    """
    reader = SampleReader(run, follow=True)
    settings = stream_config(config, reader.entries(), seed).model_copy(update={"follow": True})
    kind = samples_kind(reader)
    return Clips(kind(run, settings, where=NotAmong(frozenset(held_out))), config)


def stacked(clips: list[Clip]) -> ClipBatch:
    """Collate."""
    orbit = _colours([clip.orbit for clip in clips])
    return ClipBatch(
        keys=tuple(clip.key for clip in clips),
        image=orbit[:, 0],
        orbit=orbit,
        static=_colours([clip.static for clip in clips]),
        camera=torch.from_numpy(np.stack([clip.camera for clip in clips])),
        motion=torch.tensor([clip.motion for clip in clips], dtype=torch.float32),
        captions=tuple(clip.caption for clip in clips),
        broken=tuple(clip.broken for clip in clips if clip.broken),
        encoded=clips[0].orbit.dtype != np.uint8,
    )


def _colours(images: list[np.ndarray]) -> Float32[Tensor, "b t c h w"]:
    stack = torch.from_numpy(np.stack(images))
    if stack.dtype != torch.uint8:  # latents
        return stack.float()
    stack = stack.permute(0, 1, 4, 2, 3)
    return stack.contiguous().float() / 127.5 - 1


class Batches:
    """Endless shuffled batches, and the place in them.

    Call ``advance`` after each batch that was trained on: the place then counts used batches,
    whatever the loader has fetched ahead.
    """

    def __init__(
        self, clips: Clips, batch: int, workers: int, *, rank: int = 0, world: int = 1
    ) -> None:
        """Stand at the start.

        ``batch`` counts the clips of all ranks; this one gets the ``rank``-th of ``world`` slices,
        so that a step's clips are the same at any number of ranks.
        """
        self.clips = clips
        self.batch = batch // world
        self.sampler = clips.samples.sampler(rank=rank, world=world, batch_size=self.batch)
        self.workers = workers

    def agree(self, agree: Callable[[list[str]], list[str]]) -> None:
        """Have the ranks agree on the shards of each epoch, where the RUN grows."""
        if isinstance(self.sampler, FollowingSampler):
            self.sampler.begin(agree)

    def __iter__(self) -> Iterator[ClipBatch]:
        """Give batches, epoch after epoch, from the present place."""
        while True:
            yield from DataLoader(
                self.clips,
                batch_size=self.batch,
                sampler=self.sampler,
                num_workers=self.workers,
                collate_fn=stacked,
                # Its own generator: a loader otherwise draws from torch's global one.
                generator=torch.Generator(),
            )

    def advance(self) -> None:
        """Count one batch as used."""
        self.sampler.advance()

    def state_dict(self) -> dict[str, Any]:
        """Return the place."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved place."""
        self.sampler.load_state_dict(state)

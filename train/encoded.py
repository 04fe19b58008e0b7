"""Latents kept as shards: a RUN folder whose samples hold latents in place of images.

A sample keeps its document, with sequences ``orbit`` and ``static`` of the one pass ``latent``: the
member ``KEY.<sequence>.latent.npy.zst`` is (t, c, h, w) float16, scaled as the autoencoder's config
says. Its unit names the autoencoder, so that latents of different ones are never mixed.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from shards.arrays import ARRAY_EXT, encode_array
from shards.errors import ConfigError, RunError, SampleError
from shards.files import write_atomic
from shards.read import MapStyle, SampleReader, StreamConfig
from shards.sample import ArrayMeta, SampleMeta, decode_stored, sample_to_tar
from shards.view import Room, SampleView, SequenceView, ViewedAs, view_sample
from shards.write import ShardWriter, StagedSample
from train.config import DataConfig, LatentConfig
from train.latents import Space, open_space

PASS = "latent"
SEQUENCES = ("orbit", "static")
_UNIT = "latents of autoencoder "


@dataclass(frozen=True, slots=True)
class Encoded:
    """What ``encode_run`` did."""

    samples: int
    already: int
    mb: float


def encoder_of(meta: SampleMeta) -> str | None:
    """Name the autoencoder (``Space.identity``) whose latents a sample holds, or none."""
    about = meta.arrays.get(f"orbit.{PASS}")
    return about.unit.removeprefix(_UNIT) if about else None


def first_intact(reader: SampleReader) -> SampleMeta:
    """Read the first sample that is neither broken nor taken down.

    Raises:
        RunError: if there is none.
    """
    for number in range(len(reader)):
        with contextlib.suppress(SampleError):
            return reader.read(number)[0]
    raise RunError(f"{reader.run}: none of its {len(reader)} samples can be read")


def samples_kind(reader: SampleReader) -> type[MapStyle]:
    """Say how the samples of a RUN are read: as images, or as latents."""
    return LatentSamples if encoder_of(first_intact(reader)) else MapStyle


class LatentSamples(MapStyle):
    """Samples of an encoded RUN; ``images`` of their views are latents (t, c, h, w), float16."""

    def decode(
        self,
        meta: SampleMeta,
        members: dict[str, bytes],
        about: ViewedAs,
        room: Room | None = None,
    ) -> SampleView:
        """Read latents."""
        taken = np.arange(self.config.frames or 1) * self.config.stride
        views = {name: self._sequence(meta, members, name, taken) for name in SEQUENCES}
        return SampleView(meta, views, PASS, about.stand_in_for)

    def _sequence(
        self, meta: SampleMeta, members: dict[str, bytes], name: str, taken: np.ndarray
    ) -> SequenceView:
        stored = meta.sequences[name]
        angles = (np.array(stored.azimuth_deg), np.array(stored.elevation_deg))
        return SequenceView(
            images=decode_stored(meta, members, f"{name}.{PASS}")[taken],
            K=np.array(stored.K, np.float32)[taken],
            c2w=np.array(stored.c2w, np.float32)[taken],
            times_s=np.array(stored.times_s, np.float32)[taken],
            azimuth_deg=angles[0].astype(np.float32)[taken],
            elevation_deg=angles[1].astype(np.float32)[taken],
        )


def encode_run(
    run: Path, out: Path, data: DataConfig, latents: LatentConfig, target_mb: float = 256
) -> Iterator[Encoded]:
    """Encode every sample of a RUN into ``out``, shard by shard; yields after each sample.

    What an earlier call finished is not done again. Samples taken down in ``run`` are left out.

    Args:
        run: with sequences ``orbit`` and ``static``.
        out: RUN folder to write; takes the place of ``run`` in ``orbit4d train fit``.
        data: ``size`` is that of the images that are encoded.
        latents: the autoencoder.
        target_mb: of a shard.

    Raises:
        ConfigError: without an autoencoder.
        RunError: if ``out`` holds latents of another autoencoder.
    """
    if latents.autoencoder is None:
        raise ConfigError(
            "encoding needs an autoencoder: --autoencoder FOLDER, or a published name"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    space = open_space(latents, device)
    reader, writer = SampleReader(run), ShardWriter(out, int(target_mb * 1e6))
    _check_same_encoder(out, space.identity, bool(writer.keys))
    todo = [
        number
        for number, key in enumerate(reader.column("key"))
        if key not in writer.keys and not reader.tombstones.hold(key)
    ]
    already, size, done = len(writer.keys), 0, 0
    settings = StreamConfig(sequences=SEQUENCES, size=data.size, background="white", dtype="uint8")
    with TemporaryDirectory(dir=out) as staging:
        waiting: list[StagedSample] = []
        for number in todo:
            meta, members = reader.read(number)
            packed = _encoded(meta, members, settings, space, latents)
            path = Path(staging) / f"{meta.key}.tar"
            write_atomic(path, packed)
            waiting.append(StagedSample(meta.key, path))
            size, done = size + len(packed), done + 1
            if sum(sample.path.stat().st_size for sample in waiting) >= writer.target_bytes:
                _commit(writer, waiting)
            yield Encoded(done, already, size / 1e6)
        if waiting:
            _commit(writer, waiting)
    writer.finish()
    yield Encoded(done, already, size / 1e6)


def _commit(writer: ShardWriter, waiting: list[StagedSample]) -> None:
    writer.commit(waiting)
    for sample in waiting:
        sample.path.unlink()
    waiting.clear()


def _check_same_encoder(out: Path, identity: str, begun: bool) -> None:
    if not begun:
        return
    found = encoder_of(first_intact(SampleReader(out, follow=True)))
    if found != identity:
        raise RunError(
            f"{out}: holds {_UNIT}{found}, asked for {identity}; give another --out, or the "
            "autoencoder that it was made with"
        )


def _encoded(
    meta: SampleMeta,
    members: dict[str, bytes],
    settings: StreamConfig,
    space: Space,
    latents: LatentConfig,
) -> bytes:
    view = view_sample(meta, members, settings)
    arrays: dict[str, ArrayMeta] = {}
    packed: dict[str, bytes] = {}
    for name in SEQUENCES:
        images = torch.from_numpy(view.sequences[name].images).permute(0, 3, 1, 2).float()
        inside = space.encode((images / 127.5 - 1)[None])[0].cpu().numpy().astype(np.float16)
        about = ArrayMeta(dtype=str(inside.dtype), shape=inside.shape, unit=_UNIT + space.identity)
        arrays[f"{name}.{PASS}"] = about
        packed[f"{name}.{PASS}.{ARRAY_EXT}"] = encode_array(inside)
    digest = hashlib.sha256(f"{meta.fingerprint} {settings.size} {space.identity}".encode())
    sequences = {
        name: meta.sequences[name].model_copy(update={"passes": (PASS,)}) for name in SEQUENCES
    }
    document = meta.model_copy(
        update={
            "sequences": sequences,
            "arrays": arrays,
            "joints": None,
            "time_axis_s": (),
            "versions": meta.versions | {"autoencoder": latents.autoencoder or ""},
            "fingerprint": digest.hexdigest(),
        }
    )
    return sample_to_tar(document, packed)

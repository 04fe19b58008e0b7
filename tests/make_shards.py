"""Make small RUN folders from nothing: moving coloured blobs, seen by proper cameras.

Used by the fixtures and by the benchmarks; from a shell: ``python -m tests.make_shards OUT``. Every
asset is a sphere with four lobes of its own colours and places, every clip moves the lobes its own
way, and all images are exact views of that one world, so that a model can learn from them.
"""

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float64, UInt8

from shards.camera import intrinsics, orbit_pose
from shards.codec import Codec
from shards.sample import (
    AssetMeta,
    ClipMeta,
    SampleMeta,
    SequenceMeta,
    WorldMeta,
    encode_members,
    motion_magnitude,
    sample_key,
    sample_to_tar,
)
from shards.seeding import rng_for
from shards.write import ShardWriter, StagedSample

FOV_DEG = 40.0
DISTANCE = 1.8
ELEVATION_DEG = 10.0
WINDOW_S = 1.0
SEQUENCES = ("static", "orbit", "front")

_LIGHT = np.array([0.45, -0.6, 0.66])  # towards the light, world axes


@dataclass(frozen=True, slots=True)
class Blob:
    """Spheres of one clip: the first is the body, the others swing around it.

    ``homes`` (n, 3) and ``swings`` (n, 3) in world units, ``radii`` (n,), ``colours`` (n, 3) in
    [0, 1], ``phases`` (n,) in turns. ``texture`` scales stripes and grain on the surface; 0 = none.
    """

    homes: Float64[np.ndarray, "n 3"]
    swings: Float64[np.ndarray, "n 3"]
    radii: Float64[np.ndarray, " n"]
    colours: Float64[np.ndarray, "n 3"]
    phases: Float64[np.ndarray, " n"]
    texture: float

    def centres(self, time_s: float) -> Float64[np.ndarray, "n 3"]:
        """Place the spheres at a time."""
        swing = np.sin(2 * np.pi * (time_s / WINDOW_S + self.phases))
        return self.homes + self.swings * swing[:, None]


def make_blob(uid: str, clip: int, seed: int = 0, texture: float = 0.0) -> Blob:
    """Draw a blob: shape and colours belong to the asset, movement to the clip."""
    body, move = rng_for(seed, "blob", uid), rng_for(seed, "blob", uid, clip)
    lobes = 4
    turn = 2 * np.pi * (np.arange(lobes) + body.random(lobes) * 0.6) / lobes
    homes = np.stack([np.cos(turn), np.sin(turn), body.random(lobes) * 1.2 - 0.6], axis=-1) * 0.32
    swings = move.random((lobes, 3)) * 0.24 - 0.12
    return Blob(
        homes=np.concatenate([np.zeros((1, 3)), homes]),
        swings=np.concatenate([np.zeros((1, 3)), swings]),
        radii=np.concatenate([[0.3], 0.11 + 0.06 * body.random(lobes)]),
        colours=0.15 + 0.8 * body.random((lobes + 1, 3)),
        phases=np.concatenate([[0.0], move.random(lobes)]),
        texture=texture,
    )


def draw_blob(
    blob: Blob, time_s: float, k: Float64[np.ndarray, "3 3"], c2w: Float64[np.ndarray, "4 4"]
) -> UInt8[np.ndarray, "h w 4"]:
    """Draw one image: straight-alpha sRGB, square, its size taken from ``k``."""
    size = round(2 * float(k[0, 2]))
    y, x = np.mgrid[:size, :size] + 0.5
    local = np.stack([(x - k[0, 2]) / k[0, 0], (y - k[1, 2]) / k[1, 1], np.ones_like(x)], axis=-1)
    rays = local @ c2w[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)  # (h, w, 3)
    eye = c2w[:3, 3]
    centres = blob.centres(time_s)
    colour, alpha = np.zeros((size, size, 3)), np.zeros((size, size, 1))  # premultiplied
    for i in np.argsort(-np.linalg.norm(centres - eye, axis=1)):  # far to near
        rgb, cover = _draw_sphere(blob, int(i), rays, eye - centres[i], DISTANCE / k[0, 0])
        colour, alpha = rgb * cover + colour * (1 - cover), cover + alpha * (1 - cover)
    straight = np.divide(colour, alpha, out=np.zeros_like(colour), where=alpha > 0)
    image = np.rint(np.concatenate([straight, alpha], axis=-1) * 255).astype(np.uint8)
    return image * (image[..., 3:] > 0)


def _draw_sphere(
    blob: Blob, i: int, rays: np.ndarray, to_eye: np.ndarray, pixel: float
) -> tuple[np.ndarray, np.ndarray]:
    radius = blob.radii[i]
    along = -(rays @ to_eye)
    miss = np.sqrt(np.maximum(to_eye @ to_eye - along**2, 0))  # ray to centre, at the closest
    cover = np.clip((radius - miss) / pixel + 0.5, 0, 1)[..., None]
    near = along - np.sqrt(np.maximum(radius**2 - miss**2, 0))
    normal = (to_eye + near[..., None] * rays) / radius
    shade = (0.35 + 0.65 * np.maximum(normal @ _LIGHT, 0))[..., None]
    if blob.texture:
        stripes = np.sin(
            normal @ np.array([23.0, 9.0, 31.0]) + 3 * np.sin(normal[..., 2:] * 17)[..., 0]
        )
        grain = rng_for(0, "grain", i).standard_normal(shade.shape)
        shade = shade * (1 + blob.texture * (0.3 * stripes[..., None] + 0.06 * grain))
    return np.clip(blob.colours[i] * shade, 0, 1), cover


def make_sample(
    uid: str, clip: int, frames: int = 6, size: int = 16, texture: float = 0.0
) -> tuple[SampleMeta, dict[str, UInt8[np.ndarray, "t h w 4"]]]:
    """Draw one sample: its metadata and the frames of ``static``, ``orbit`` and ``front``."""
    blob = make_blob(uid, clip, texture=texture)
    k = intrinsics(FOV_DEG, size, size)
    times = np.arange(frames) * WINDOW_S / frames
    turn = 360.0 * np.arange(frames) / frames
    paths = {  # sequence -> (azimuth, time) per image
        "static": (turn, np.zeros(frames)),
        "orbit": (turn, times),
        "front": (np.zeros(frames), times),
    }
    images: dict[str, np.ndarray] = {}
    about: dict[str, SequenceMeta] = {}
    for name, (azimuths, moments) in paths.items():
        poses = [orbit_pose(float(azimuth), ELEVATION_DEG, DISTANCE) for azimuth in azimuths]
        images[name] = np.stack(
            [draw_blob(blob, float(t), k, pose) for t, pose in zip(moments, poses, strict=True)]
        )
        about[name] = _sequence_meta(size, azimuths, moments, k, np.stack(poses))
    magnitude = motion_magnitude(images["orbit"], images["static"])
    meta = SampleMeta(
        key=sample_key(uid, clip),
        asset=AssetMeta(
            uid=uid,
            path=f"{uid}.glb",
            source="synthetic",
            format="glb",
            sha256=hashlib.sha256(uid.encode()).hexdigest(),
            licence="CC0-1.0",
        ),
        clip=ClipMeta(
            index=clip,
            name=f"swing {clip}",
            duration_s=WINDOW_S,
            window_start_s=0,
            window_stop_s=WINDOW_S,
        ),
        world=WorldMeta(scale=1, offset=(0, 0, 0)),
        sequences=about,
        motion_magnitude=magnitude,
        scores={"motion": magnitude.pixel_sum / (3 * size * size)},
        captions=(f"a blob with four lobes, {uid}",),
        fingerprint=hashlib.sha256(f"{uid} {clip} {frames} {size}".encode()).hexdigest()[:16],
    )
    return meta, images


def _sequence_meta(
    size: int, azimuths: np.ndarray, moments: np.ndarray, k: np.ndarray, poses: np.ndarray
) -> SequenceMeta:
    frames = len(poses)
    return SequenceMeta.model_validate(
        {
            "frames": frames,
            "width": size,
            "height": size,
            "layout": (frames, 1),
            "passes": ("rgba",),
            "times_s": moments.tolist(),
            "azimuth_deg": azimuths.tolist(),
            "elevation_deg": [ELEVATION_DEG] * frames,
            "K": [k.tolist()] * frames,
            "c2w": poses.tolist(),
        }
    )


def pack_sample(meta: SampleMeta, images: dict[str, np.ndarray], codec: Codec = "webp") -> bytes:
    """Encode a sample as the tar run that ``ShardWriter`` takes."""
    members, layouts = encode_members(images, codec)
    sequences = {
        name: meta.sequences[name].model_copy(update={"layout": layout})
        for name, layout in layouts.items()
    }
    return sample_to_tar(meta.model_copy(update={"sequences": sequences}), members)


def stage_samples(
    into: Path,
    assets: int,
    clips: int,
    frames: int,
    size: int,
    texture: float = 0.0,
    codec: Codec = "webp",
) -> Iterator[StagedSample]:
    """Draw ``assets * clips`` samples one by one into files of their own, asset by asset."""
    for asset in range(assets):
        for clip in range(clips):
            meta, images = make_sample(f"blob{asset:02d}", clip, frames, size, texture)
            path = into / f"{meta.key}.tar"
            path.write_bytes(pack_sample(meta, images, codec))
            yield StagedSample(meta.key, path)


def make_run(
    run: Path,
    *,
    assets: int = 4,
    clips: int = 3,
    frames: int = 6,
    size: int = 16,
    per_shard: int = 4,
    texture: float = 0.0,
    codec: Codec = "webp",
) -> Path:
    """Write a RUN folder of ``assets * clips`` samples and its index.

    Args:
        run: folder to make.
        assets: how many; asset i has uid ``blob00``, ``blob01``, ...
        clips: per asset.
        frames: images per sequence (T); the sequences are ``static``, ``orbit`` and ``front``.
        size: side of an image, pixels.
        per_shard: samples per shard; the last shard takes the rest.
        texture: strength of stripes and grain; 0 = smooth.
        codec: of the images.

    Returns:
        ``run``.
    """
    run.mkdir(parents=True, exist_ok=True)
    writer = ShardWriter(run, target_bytes=1)
    with TemporaryDirectory() as staging:
        staged = stage_samples(Path(staging), assets, clips, frames, size, texture, codec)
        while batch := list(islice(staged, per_shard)):
            writer.commit(batch)
    writer.finish()
    return run


def main() -> None:
    """Run from a shell."""
    parser = argparse.ArgumentParser(description="Write a RUN folder of synthetic samples.")
    parser.add_argument("out", type=Path)
    for name, value in (("assets", 4), ("clips", 3), ("frames", 6), ("size", 16), ("per-shard", 4)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--texture", type=float, default=0.0)
    given = vars(parser.parse_args())
    print(make_run(given.pop("out"), **given))


if __name__ == "__main__":
    main()

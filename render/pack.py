"""A rendered clip becomes a sample: sheets encoded, metadata written down."""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

from render.paths import Frame
from render.session import RenderedClip
from shards.arrays import ARRAY_EXT, StoredArray, encode_array
from shards.codec import Codec
from shards.sample import (
    ArrayMeta,
    AssetMeta,
    ClipMeta,
    Frames,
    SampleMeta,
    SequenceMeta,
    WorldMeta,
    encode_members,
    motion_magnitude,
    sample_key,
    sample_to_tar,
)


class EncodedImages:
    """The sheets of a clip, made in threads while Blender renders: codecs work outside the lock."""

    def __init__(self, codec: Codec, threads: int = 0) -> None:
        """Start empty.

        Args:
            codec: of the images.
            threads: at most; 0 = one per core.
        """
        self._codec: Codec = codec
        self._pool = ThreadPoolExecutor(max_workers=threads or os.cpu_count())
        self._pending: dict[str, Future[tuple[dict[str, bytes], dict[str, tuple[int, int]]]]] = {}

    def __enter__(self) -> Self:
        """Return self; leaving the block lets go of what was not asked for."""
        return self

    def __exit__(self, *_: object) -> None:
        """Drop what has not begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, name: str, frames: Frames) -> None:
        """Begin with a sequence."""
        self._pending[name] = self._pool.submit(encode_members, {name: frames}, self._codec)

    def members(self) -> dict[str, bytes]:
        """Wait for the tar members of all sequences, without the sample's key."""
        return {
            name: data for one in self._pending.values() for name, data in one.result()[0].items()
        }

    def layouts(self) -> dict[str, tuple[int, int]]:
        """Wait for the layout of each sequence: columns and rows of its sheet."""
        return {name: at for one in self._pending.values() for name, at in one.result()[1].items()}


def pack(
    asset: AssetMeta,
    clip: ClipMeta,
    frame: Frame,
    rendered: RenderedClip,
    extras: dict[str, Any],
    encoded: EncodedImages,
) -> tuple[SampleMeta, bytes]:
    """Encode a clip's sequences and describe them.

    Args:
        asset: where the geometry came from.
        clip: which animation and window.
        frame: normalisation and camera distance that the clip was rendered with.
        rendered: images, views and lights.
        extras: further fields of ``SampleMeta``: scores, warnings, versions, fingerprint.
        encoded: the images of ``rendered``.

    Returns:
        The document and the sample as a run of tar members.
    """
    members, layouts = encoded.members(), encoded.layouts()
    arrays = _arrays(rendered)
    extras = extras | {"warnings": (*extras.get("warnings", ()), *rendered.passes.warnings)}
    magnitude = None
    if {"orbit", "static"} <= rendered.images.keys():
        magnitude = motion_magnitude(rendered.images["orbit"], rendered.images["static"])
    meta = SampleMeta(
        key=sample_key(asset.uid, clip.index),
        asset=asset,
        clip=clip,
        world=_world(frame, rendered),
        sequences={
            name: _describe(rendered, name, layouts[name], frame) for name in rendered.images
        },
        arrays={
            name: ArrayMeta(
                dtype=str(array.values.dtype),
                shape=array.values.shape,
                unit=array.unit,
                scale=array.scale,
            )
            for name, array in arrays.items()
        },
        objects=rendered.passes.objects,
        materials=rendered.passes.materials,
        joints=rendered.passes.joints,
        time_axis_s=tuple(
            float(rendered.times_s[time])
            for time in (rendered.passes.times if rendered.passes.clip else ())
        ),
        motion_magnitude=magnitude,
        lights=tuple(rendered.lights),
        **extras,
    )
    members |= {f"{name}.{ARRAY_EXT}": encode_array(array.values) for name, array in arrays.items()}
    return meta, sample_to_tar(meta, members)


def _arrays(rendered: RenderedClip) -> dict[str, StoredArray]:
    passes = rendered.passes
    per_sequence = {
        f"{sequence}.{name}": array
        for sequence, arrays in passes.sequences.items()
        for name, array in arrays.items()
    }
    return per_sequence | passes.clip


def _world(frame: Frame, rendered: RenderedClip) -> WorldMeta:
    return WorldMeta(
        scale=frame.scale,
        offset=frame.offset,
        root_motion=frame.root_motion,
        drift_times_s=() if frame.drift is None else tuple(rendered.times_s.tolist()),
        drift=frame.drift or (),
    )


def _describe(
    rendered: RenderedClip, name: str, layout: tuple[int, int], frame: Frame
) -> SequenceMeta:
    views = rendered.views[name]
    frames, height, width, _ = rendered.images[name].shape
    return SequenceMeta.model_validate(
        {
            "frames": frames,
            "width": width,
            "height": height,
            "layout": layout,
            "passes": ("rgba",),
            "times_s": rendered.times_s[views.time_index].tolist(),
            "azimuth_deg": views.azimuth_deg.tolist(),
            "elevation_deg": views.elevation_deg.tolist(),
            "K": [rendered.k.tolist()] * frames,
            "c2w": frame.poses(views).tolist(),
        }
    )

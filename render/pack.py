"""A rendered clip becomes a sample: sheets encoded, metadata written down."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

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


def pack(
    asset: AssetMeta,
    clip: ClipMeta,
    frame: Frame,
    rendered: RenderedClip,
    extras: dict[str, Any],
    codec: Codec = "webp",
) -> tuple[SampleMeta, bytes]:
    """Encode a clip's sequences and describe them.

    Args:
        asset: where the geometry came from.
        clip: which animation and window.
        frame: normalisation and camera distance that the clip was rendered with.
        rendered: images, views and lights.
        extras: further fields of ``SampleMeta``: scores, warnings, versions, fingerprint.
        codec: of the images.

    Returns:
        The document and the sample as a run of tar members.
    """
    members, layouts = _encoded(rendered.images, codec)
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
        time_axis_s=tuple(rendered.times_s.tolist()) if rendered.passes.clip else (),
        motion_magnitude=magnitude,
        lights=tuple(rendered.lights),
        **extras,
    )
    members |= {f"{name}.{ARRAY_EXT}": encode_array(array.values) for name, array in arrays.items()}
    return meta, sample_to_tar(meta, members)


def _encoded(
    images: dict[str, Frames], codec: Codec
) -> tuple[dict[str, bytes], dict[str, tuple[int, int]]]:
    """Encode the sequences side by side: codecs work outside the interpreter's lock."""
    members: dict[str, bytes] = {}
    layouts: dict[str, tuple[int, int]] = {}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        one_each = ({name: frames} for name, frames in images.items())
        for part, layout in pool.map(partial(encode_members, codec=codec), one_each):
            members |= part
            layouts |= layout
    return members, layouts


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

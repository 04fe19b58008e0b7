"""Hand a RUN on: as a Hugging Face dataset folder, or in the folder layout of Diffusion4D."""

import csv
import io
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from shards.arrays import ARRAY_EXT
from shards.camera import opencv_to_blender
from shards.errors import ShardError
from shards.files import dump_json, write_atomic
from shards.manage import Found, balanced, standing
from shards.sample import AssetMeta, SampleMeta, SequenceMeta, decode_sequence

# sequence -> names of image and camera files; {} is the image's number
_D4D = {
    "orbit": ("multi_frame{}.png", "multi{}.json"),
    "static": ("multi_static_frame{}.png", "static{}.json"),
    "front": ("front_frame{}.png", "front.json"),
}
_HALF = 0.5  # of the unit cube that a clip is normalised to


def export_huggingface(run: Path, out: Path, name: str, target_bytes: int) -> int:
    """Write ``data/train-*.tar`` (WebDataset), a card with licences, and ``attribution.csv``.

    The folder loads with ``datasets.load_dataset(FOLDER)`` and can be pushed as it is. What was
    taken down is left out.

    Returns:
        How many samples were written.
    """
    samples = list(standing(run))
    data = _fresh(out) / "data"
    data.mkdir()
    counts = balanced([sample.entry.length for sample in samples], target_bytes)
    assets: dict[str, AssetMeta] = {}
    clips: Counter[str] = Counter()
    features: dict[str, Any] = {}
    rest = iter(samples)
    for number, count in enumerate(counts):
        chunks: list[bytes] = []
        for _ in range(count):
            sample = next(rest)
            content = sample.reader.read_bytes(sample.number)
            meta, members = sample.reader.read(sample.number, content)
            names = (name.removeprefix(f"{meta.key}.") for name in members)
            features |= {name: _feature(meta, name) for name in names}
            assets[meta.asset.uid] = meta.asset
            clips[meta.asset.uid] += 1
            chunks.append(content)
        path = data / f"train-{number:05d}-of-{len(counts):05d}.tar"
        write_atomic(path, b"".join([*chunks, bytes(1024)]))
    table = [
        (uid, clips[uid], asset.licence, asset.attribution, asset.source, asset.sha256)
        for uid, asset in sorted(assets.items())
    ]
    header = ("uid", "clips", "licence", "attribution", "source", "sha256")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *table])
    write_atomic(out / "attribution.csv", text.getvalue().encode())
    write_atomic(out / "README.md", _card(name, table, len(samples), features).encode())
    return len(samples)


def _feature(meta: SampleMeta, name: str) -> dict[str, Any]:
    """Say what ``datasets`` should take a member for.

    Left alone, it guesses from the first five samples, and stumbles over the first one that has
    something where those had nothing: a warning, a skeleton, a further pass.
    """
    if name == "json":
        return {"dtype": "json"}
    if name.endswith(f".{ARRAY_EXT}"):
        about = meta.arrays[name.removesuffix(f".{ARRAY_EXT}")]
        nested: Any = about.dtype
        for _ in about.shape:
            nested = {"list": nested}
        return nested
    return {"dtype": "image" if name.endswith((".webp", ".png")) else "binary"}


def _card(name: str, table: list[tuple[Any, ...]], samples: int, features: dict[str, Any]) -> str:
    licences = Counter(row[2] for row in table)
    front = {
        "pretty_name": name,
        "license": "other",
        "license_name": "per-asset",
        "license_link": "attribution.csv",
        "task_categories": ["image-to-video", "image-to-3d"],
        "tags": ["webdataset", "4d", "orbit4d"],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "data/*.tar"}]}
        ],
        "dataset_info": {
            "features": [
                *({"name": "__key__", "dtype": "string"}, {"name": "__url__", "dtype": "string"}),
                *({"name": field, **features[field]} for field in sorted(features)),
            ]
        },
    }
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False).strip(),
        "---",
        "",
        f"# {name}",
        "",
        f"{samples} clips of {len(table)} 3D assets, rendered by orbit4d (WebDataset).",
        "A sample is `KEY.json` (cameras, times, scores, licence) and the images of each sequence.",
        "",
        "## Licences",
        "",
        "Each asset has its own; what is made from it is bound by it.",
        "",
        "| licence | assets |",
        "| --- | --: |",
        *(f"| {_cell(licence)} | {count} |" for licence, count in licences.most_common()),
        "",
        "## Attribution",
        "",
        "| asset | clips | licence | attribution | source |",
        "| --- | --: | --- | --- | --- |",
        *("| " + " | ".join(_cell(value) for value in row[:5]) + " |" for row in table),
        "",
    ]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split()) or "-"


def export_diffusion4d(run: Path, out: Path) -> int:
    """Write ``KEY/multi_frame0.png``, ``multi0.json``, ... as Diffusion4D's loaders read them.

    ``multi`` is the sequence ``orbit``, ``multi_static`` is ``static``. Cameras are Blender's (x
    right, y up, looking along -z). ``front.json`` is one file: the camera stands still.

    Returns:
        How many samples were written.
    """
    _fresh(out)
    count = 0
    for sample in standing(run):
        _write_d4d(sample, out)
        count += 1
    return count


def _write_d4d(sample: Found, out: Path) -> None:
    meta, members = sample.reader.read(sample.number)
    folder = out / meta.key
    folder.mkdir()
    for name, (image_name, camera_name) in _D4D.items():
        if name not in meta.sequences:
            continue
        about = meta.sequences[name]
        for i, frame in enumerate(decode_sequence(meta, members, name)):
            Image.fromarray(frame).save(folder / image_name.format(i))
            if "{}" in camera_name or i == 0:
                camera = dump_json(_d4d_camera(about, i))
                (folder / camera_name.format(i)).write_bytes(camera)
    (folder / "metadata.json").write_bytes(dump_json(_d4d_metadata(meta)))


def _d4d_camera(about: SequenceMeta, i: int) -> dict[str, Any]:
    pose = opencv_to_blender(np.array(about.c2w[i]))
    k = about.K[i]
    return {
        "format_version": 6,
        "max_depth": 5.0,
        "bbox": [[-_HALF] * 3, [_HALF] * 3],
        "origin": pose[:3, 3].tolist(),
        "x": pose[:3, 0].tolist(),
        "y": pose[:3, 1].tolist(),
        "z": pose[:3, 2].tolist(),
        "x_fov": 2 * math.atan(about.width / 2 / k[0][0]),
        "y_fov": 2 * math.atan(about.height / 2 / k[1][1]),
        "matrix_world": pose.tolist(),
    }


def _d4d_metadata(meta: SampleMeta) -> dict[str, Any]:
    return {
        "key": meta.key,
        "asset": meta.asset.model_dump(mode="json"),
        "clip": meta.clip.model_dump(mode="json"),
        "times_s": {name: list(about.times_s) for name, about in meta.sequences.items()},
        "motion_magnitude": meta.motion_magnitude.pixel_sum if meta.motion_magnitude else None,
        "animation_count": 1,
    }


def _fresh(out: Path) -> Path:
    if out.exists() and any(out.iterdir()):
        raise ShardError(f"{out}: is not empty; give another --out")
    out.mkdir(parents=True, exist_ok=True)
    return out

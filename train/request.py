"""Generate orbits from what somebody has: a text, an image, or a static object from all sides."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from shards.errors import ConfigError
from shards.files import dump_json, publish, temporary_for, write_atomic
from train.config import SampleConfig
from train.data import ClipBatch
from train.generate import colours
from train.media import Frames, side_by_side, strips, write_gif, write_mp4, write_png
from train.models.api import Condition
from train.run import FitFolder
from train.trained import Trained

Format = Literal["mp4", "gif", "png"]
FORMATS: tuple[Format, ...] = get_args(Format)
_FPS = 12


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted. Images are uint8, RGB or straight-alpha RGBA, of any size.

    Attributes:
        prompt: a text, or nothing.
        image: the first frame, from the front.
        static: the object from all sides, T images in the order of the model's cameras.
        c2w: cameras of ``static`` where they are not the model's.
        motions: wanted m, as the model counts it (``data.motion_scale``): one orbit each.
        seed: of the noise, the same for every m.
    """

    prompt: str = ""
    image: UInt8[np.ndarray, "h w c"] | None = None
    static: UInt8[np.ndarray, "t h w c"] | None = None
    c2w: Float32[np.ndarray, "t 4 4"] | None = None
    motions: tuple[float, ...] = (1.0,)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """Files that ``fulfil`` wrote, and which conditions the model was given."""

    files: tuple[Path, ...]
    contact_sheet: Path
    given: tuple[Condition, ...]


def fulfil(
    fit: Path,
    request: Request,
    out: Path,
    sample: SampleConfig | None = None,
    formats: tuple[Format, ...] = ("mp4",),
) -> Made:
    """Generate one orbit per wanted m and write ``orbit-m<m>.<format>``, ``contact.png``, a record.

    Raises:
        ConfigError: if the model takes none of what was given, or sizes do not fit.
    """
    trained = Trained.load(fit)
    orbit = FitFolder(fit).orbit()
    picks, batch = _batch(trained, orbit["c2w"], request)
    given = _given(trained, request)
    dropped = tuple(name for name in ("image", "text", "static") if name not in given)
    sample = sample or trained.config.sample
    settings = sample.model_copy(update={"drop": tuple({*sample.drop, *dropped})})
    made = colours(trained.sample(batch, settings, request.seed))
    out.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for motion, frames in zip(request.motions, made, strict=True):
        files += _write(out, f"orbit-m{motion:g}", frames, formats)
    rows = [(f"m = {m:g}", frames) for m, frames in zip(request.motions, made, strict=True)]
    if "static" in given:
        rows.insert(0, ("given: static", colours(batch.static[:1])[0]))
    elif "image" in given:
        shown = colours(batch.image[:1, None])[0].repeat(len(picks), axis=0)
        rows.insert(0, ("given: image", shown))
    sheet = out / "contact.png"
    strips(rows, [orbit["azimuth_deg"][i] for i in picks]).save(temporary_for(sheet), format="PNG")
    publish(temporary_for(sheet), sheet)
    record = {
        "fit": str(fit),
        "step": trained.step,
        "prompt": request.prompt,
        "given": given,
        "motions": request.motions,
        "motion_unit": f"{trained.config.data.motion_scale:g} * mean squared difference",
        "seed": request.seed,
        "sample": settings.model_dump(mode="json"),
    }
    write_atomic(out / "sample.json", dump_json(record))
    return Made(tuple(files), sheet, given)


def _given(trained: Trained, request: Request) -> tuple[Condition, ...]:
    model = trained.config.model
    wanted: dict[Condition, tuple[bool, bool]] = {
        "text": (bool(request.prompt), model.text is not None),
        "image": (request.image is not None or request.static is not None, model.image is not None),
        "static": (request.static is not None, model.static),
    }
    given: tuple[Condition, ...] = tuple(n for n, (asked, can) in wanted.items() if asked and can)
    if not given:
        takes = [name for name, (_, can) in wanted.items() if can]
        raise ConfigError(
            f"this model takes {' and '.join(takes)}, and was given "
            f"{' and '.join(n for n, (asked, _) in wanted.items() if asked) or 'nothing'}"
        )
    return given


def _batch(
    trained: Trained, stored_c2w: list[list[list[float]]], request: Request
) -> tuple[list[int], ClipBatch]:
    """Lay out one clip per wanted m, and say which of the stored orbit's views it has."""
    config, count = trained.config.data, len(request.motions)
    stride = len(stored_c2w) // config.frames
    picks = [i * stride for i in range(config.frames)]
    cameras = np.array(stored_c2w, np.float32) if request.c2w is None else request.c2w
    if len(cameras) != len(stored_c2w):
        raise ConfigError(f"{len(cameras)} cameras, the model knows orbits of {len(stored_c2w)}")
    shape = (config.frames, 3, config.size, config.size)
    static = torch.ones(shape)
    if request.static is not None:
        given = request.static
        if len(given) not in (len(stored_c2w), config.frames):
            raise ConfigError(
                f"{len(given)} images of the static object; expected {len(stored_c2w)} or "
                f"{config.frames}, one for each camera of the orbit in its order"
            )
        chosen = given if len(given) == config.frames else given[picks]
        static = torch.stack([_fitted(image, config.size) for image in chosen])
    image = static[0] if request.image is None else _fitted(request.image, config.size)
    batch = ClipBatch(
        keys=("request",) * count,  # the same noise for every m
        image=image.expand(count, -1, -1, -1),
        orbit=static.expand(count, -1, -1, -1, -1),
        static=static.expand(count, -1, -1, -1, -1),
        camera=torch.from_numpy(cameras[picks]).float().expand(count, -1, -1, -1),
        motion=torch.tensor(request.motions, dtype=torch.float32),
        captions=(request.prompt,) * count,
    )
    return picks, batch


def _fitted(image: UInt8[np.ndarray, "h w c"], size: int) -> Float32[Tensor, "c s s"]:
    """Lay an image over white, centre it in a square, and resize it: [-1, 1]."""
    picture = Image.fromarray(image).convert("RGBA")
    side = max(picture.size)
    square = Image.new("RGBA", (side, side), "white")
    corner = ((side - picture.width) // 2, (side - picture.height) // 2)
    square.alpha_composite(picture, corner)
    small = square.convert("RGB").resize((size, size), Image.Resampling.BOX)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 127.5 - 1


def _write(out: Path, name: str, frames: Frames, formats: tuple[Format, ...]) -> list[Path]:
    files: list[Path] = []
    for kind in formats:
        path = out / (name if kind == "png" else f"{name}.{kind}")
        if kind == "png":
            write_png(path, frames)
        elif kind == "gif":
            write_gif(path, frames, _FPS)
        else:
            write_mp4(path, side_by_side(frames), _FPS)
        files.append(path)
    return files


def read_image(path: Path) -> UInt8[np.ndarray, "h w 4"]:
    """Read an image file.

    Raises:
        ConfigError: if it is none.
    """
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGBA"))
    except (OSError, UnidentifiedImageError) as error:
        raise ConfigError(f"{path}: no readable image ({error})") from error


def read_views(folder: Path) -> UInt8[np.ndarray, "t h w 4"]:
    """Read a folder of images of one size, in the order of their names.

    Raises:
        ConfigError: if there are none, or sizes differ.
    """
    kinds = {".png", ".webp", ".jpg", ".jpeg"}
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in kinds)
    images = [read_image(path) for path in paths]
    sizes = {image.shape for image in images}
    if len(sizes) != 1:
        raise ConfigError(
            f"{folder}: expected images of one size, of the object from all sides in the order of "
            f"their names; found {len(images)} of {len(sizes)} sizes"
        )
    return np.stack(images)

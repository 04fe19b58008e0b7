"""Generated clips for people: videos and one contact sheet."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from shards.files import publish, temporary_for

_TILE_PX = 96
_GAP_PX = 4
_LABEL_PX = 18
_VIDEO_SIDE_PX = 192

Frames = UInt8[np.ndarray, "t h w 3"]


def side_by_side(*clips: Frames) -> Frames:
    """Put clips of equal length next to each other, enlarged for looking at."""
    factor = max(1, _VIDEO_SIDE_PX // clips[0].shape[1])
    wide = np.concatenate(clips, axis=2)
    return wide.repeat(factor, axis=1).repeat(factor, axis=2)


def write_mp4(path: Path, frames: Frames, fps: int) -> None:
    """Write an H.264 video; sides are cut to even numbers of pixels, which the format asks for."""
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    temporary = temporary_for(path)
    with av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            image = np.ascontiguousarray(frame[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    publish(temporary, path)


def write_gif(path: Path, frames: Frames, fps: int) -> None:
    """Write an endless GIF; equal frames stay apart."""
    images = [Image.fromarray(frame) for frame in frames]
    temporary = temporary_for(path)
    images[0].save(
        temporary,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / fps),
        loop=0,
        disposal=1,
        optimize=False,
    )
    publish(temporary, path)


def write_png(folder: Path, frames: Frames) -> None:
    """Write ``000.png``, ``001.png``, ... into a folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        path = folder / f"{number:03d}.png"
        temporary = temporary_for(path)
        Image.fromarray(frame).save(temporary, format="PNG")
        publish(temporary, path)


def strips(rows: Sequence[tuple[str, Frames]], azimuth_deg: Sequence[float]) -> Image.Image:
    """Draw one row of evenly spread frames per clip, with its name and the azimuths above."""
    t = len(azimuth_deg)
    picks = sorted({round(i * t / min(8, t)) for i in range(min(8, t))})
    step, row_height = _TILE_PX + _GAP_PX, _TILE_PX + _LABEL_PX
    size = (_GAP_PX + step * len(picks), _LABEL_PX + row_height * len(rows))
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, frame in enumerate(picks):
        left = _GAP_PX + column * step
        pen.text((left, 2), f"{azimuth_deg[frame]:.0f}°", "dimgrey", font)
        for number, (_, frames) in enumerate(rows):
            tile = Image.fromarray(frames[frame])
            tile = tile.resize((_TILE_PX, _TILE_PX), Image.Resampling.BICUBIC)
            sheet.paste(tile, (left, _LABEL_PX + number * row_height))
    for number, (name, _) in enumerate(rows):
        pen.text((_GAP_PX, _LABEL_PX + number * row_height + _TILE_PX), name, "black", font)
    return sheet


def contact_sheet(
    rows: Sequence[tuple[str, Frames, Frames]], azimuth_deg: Sequence[float], views: int = 6
) -> Image.Image:
    """Draw one row per clip: the input image, true frames, generated frames.

    Args:
        rows: name, true clip, generated clip; the input is the first true frame.
        azimuth_deg: of every frame, for the labels.
        views: how many frames of each clip, spread evenly, the first (the input) left out.
    """
    t = len(azimuth_deg)
    picks = [min(t - 1, round((i + 0.5) * t / views)) for i in range(min(views, t))]
    columns = 1 + 2 * len(picks)
    step = _TILE_PX + _GAP_PX
    lefts = [_GAP_PX + i * step + (i > 0) * 12 + (i > len(picks)) * 12 for i in range(columns)]
    top, row_height = 2 * _LABEL_PX, _TILE_PX + _LABEL_PX
    sheet = Image.new("RGB", (lefts[-1] + step, top + row_height * len(rows)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    titles = {0: "input", 1: "ground truth", 1 + len(picks): "generated"}
    for column, left in enumerate(lefts):
        pen.text((left, 2), titles.get(column, ""), "black", font)
        frame = picks[(column - 1) % len(picks)] if column else 0
        pen.text((left, _LABEL_PX), f"{azimuth_deg[frame]:.0f}°", "dimgrey", font)
    for number, (name, truth, made) in enumerate(rows):
        y = top + number * row_height
        tiles = [truth[0], *truth[picks], *made[picks]]
        for left, tile in zip(lefts, tiles, strict=True):
            image = Image.fromarray(tile).resize((_TILE_PX, _TILE_PX), Image.Resampling.BICUBIC)
            sheet.paste(image, (left, y))
        pen.text((lefts[0], y + _TILE_PX), name, "black", font)
    return sheet

"""One texture for all charts of a model: packing, painting, PNG."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from render.blender.samples.model import Model
from render.blender.samples.surface import Array, Chart, Part, Texels

_GAP = 2  # texels painted beyond a chart's edge, so that filtering never mixes neighbours
_FINE = 2  # painted at this multiple and averaged: smooth edges of eyes and stripes


@dataclass(frozen=True)
class Slot:
    """Where a chart lies in the texture, in texels from the bottom left."""

    x: int
    y: int
    chart: Chart
    part: Part


def pack(model: Model, width: int = 512) -> tuple[list[Slot], int, int]:
    """Place all charts on shelves, tallest first; gives slots, width and height (a power of 2)."""
    charts = [(c, part) for node in model.nodes for part in node.parts for c in part.charts]
    order = sorted(range(len(charts)), key=lambda k: (-charts[k][0].pixels[1], k))
    slots: list[Slot | None] = [None] * len(charts)
    x = y = shelf = 0
    for k in order:
        chart, part = charts[k]
        w, h = chart.pixels[0] + 2 * _GAP, chart.pixels[1] + 2 * _GAP
        if x + w > width:
            x, y, shelf = 0, y + shelf, 0
        slots[k] = Slot(x + _GAP, y + _GAP, chart, part)
        x, shelf = x + w, max(shelf, h)
    height = 1 << max(4, (y + shelf - 1).bit_length())
    return [slot for slot in slots if slot is not None], width, height


def painted(slots: list[Slot], size: tuple[int, int], rng: np.random.Generator) -> Array:
    """Paint every chart; gives (height, width, 3) bytes, first row at the bottom."""
    width, height = size
    picture = np.full((height, width, 3), 0.5)
    for slot in slots:
        w, h = slot.chart.pixels
        tile = _tile(slot, rng)
        picture[slot.y - _GAP : slot.y + h + _GAP, slot.x - _GAP : slot.x + w + _GAP] = tile
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _tile(slot: Slot, rng: np.random.Generator) -> Array:
    w, h = slot.chart.pixels
    columns = (np.arange((w + 2 * _GAP) * _FINE) + 0.5) / _FINE - _GAP
    rows = (np.arange((h + 2 * _GAP) * _FINE) + 0.5) / _FINE - _GAP
    u, v = np.meshgrid(columns / w, np.clip(rows / h, 0, 1))
    q = slot.chart.local(u, v)
    colours = slot.part.paint(Texels(q, slot.part.world(q), u, v, rng))
    cells = colours.reshape(h + 2 * _GAP, _FINE, w + 2 * _GAP, _FINE, 3)
    return cells.mean(axis=(1, 3))


def png(picture: Array) -> bytes:
    """Encode (h, w, 3) bytes, first row at the bottom, as a PNG file."""
    height, width, _ = picture.shape
    rows = np.concatenate(
        [np.zeros((height, 1), np.uint8), picture[::-1].reshape(height, -1)], axis=1
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6))
        + chunk(b"IEND", b"")
    )

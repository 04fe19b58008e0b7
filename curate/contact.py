"""Contact sheets: PNG pages with one labelled row of frames per kept clip, to look at a run.

Rows come from the shards, in the order of their keys: a page shows what a trainer will read.
"""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from curate.report import read_samples
from curate.thumbs import Sample, read_sample, shrink, spread
from shards.errors import RunError, SampleError, ShardError
from shards.files import write_atomic
from shards.index import IndexEntry

FRAME_PX = 112
_GAP_PX = 4
_LABEL_PX = 18  # height of a line of text
_FONT_PX = 13
_GROUND, _STAGE, _TEXT, _MUTED, _ALARM = "#ffffff", "#eef0f2", "#1b2026", "#56606b", "#a11d26"


def contact_sheet(
    run: Path,
    out: Path,
    sequence: str | Sequence[str] = "orbit",
    columns: int = 6,
    rows: int = 24,
    only: Sequence[str] = (),
) -> list[Path]:
    """Write contact sheets of the kept clips.

    A clip that cannot be read has a row that says why.

    Args:
        run: RUN folder.
        out: the PNG to write, where all fits one page; else pages ``NAME-000.png``, ... beside it.
            A path without ``.png`` is a folder for ``contact.png`` or its pages.
        sequence: which sequence, or several that stand side by side in each row.
        columns: frames per row and sequence, spread evenly over it, the first among them.
        rows: clips per page.
        only: sample keys to show, in this order; all where empty.

    Returns:
        The files written.

    Raises:
        RunError: if there is nothing to show, or a key of ``only`` is unknown.
    """
    sequences = (sequence,) if isinstance(sequence, str) else tuple(sequence)
    if columns < 1 or rows < 1 or not sequences:
        raise RunError(f"a contact sheet of {columns} columns, {rows} rows, {sequences} is empty")
    entries = _choose(run, only)
    pages = [entries[start : start + rows] for start in range(0, len(entries), rows)]
    target = out if out.suffix.lower() == ".png" else out / "contact.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for number, page in enumerate(pages):
        path = target if len(pages) == 1 else target.with_stem(f"{target.stem}-{number:03d}")
        write_atomic(path, _as_png(_draw_page(run, page, sequences, columns)))
        written.append(path)
    return written


def _choose(run: Path, only: Sequence[str]) -> list[IndexEntry]:
    samples = read_samples(run)
    if buried := [key for key in only if key in samples.taken_down]:
        raise RunError(f"{run}: samples {buried} were taken down; they are not shown any more")
    unknown = [key for key in only if key not in samples.entries]
    if unknown:
        raise RunError(f"{run}: no samples {unknown}; the index has {len(samples.entries)}")
    if not samples.entries:
        found = "; ".join(samples.problems) or "its index lists no sample"
        raise RunError(f"{run}: no kept clip to show: {found}")
    return [samples.entries[key] for key in only or sorted(samples.entries)]


def _draw_page(
    run: Path, entries: Sequence[IndexEntry], sequences: Sequence[str], columns: int
) -> Image.Image:
    group = columns * (FRAME_PX + _GAP_PX)
    width = len(sequences) * (group + _GAP_PX) + _GAP_PX
    height = _LABEL_PX + len(entries) * (FRAME_PX + _LABEL_PX + _GAP_PX)
    page = Image.new("RGB", (width, height), _GROUND)
    for place, name in enumerate(sequences):
        _write(page, (_GAP_PX + place * (group + _GAP_PX), 2), name, _MUTED, group)
    top = _LABEL_PX
    for entry in entries:
        try:
            sample = read_sample(run, entry)
            strips = [_strip(sample, name, columns) for name in sequences]
        except (SampleError, ShardError) as error:
            _write(page, (_GAP_PX, top), f"{entry.key}: {error}", _ALARM, width)
        else:
            _write(page, (_GAP_PX, top), _label(sample), _TEXT, width)
            for place, strip in enumerate(strips):
                page.paste(strip, (_GAP_PX + place * (group + _GAP_PX), top + _LABEL_PX))
        top += FRAME_PX + _LABEL_PX + _GAP_PX
    return page


def _strip(sample: Sample, sequence: str, columns: int) -> Image.Image:
    frames = sample.frames(sequence)
    strip = Image.new("RGB", (columns * (FRAME_PX + _GAP_PX), FRAME_PX), _GROUND)
    for place, frame in enumerate(spread(len(frames), columns)):
        image = shrink(frames[frame], FRAME_PX)
        stage = Image.new("RGB", image.size, _STAGE)
        stage.paste(image, mask=image.getchannel("A"))
        strip.paste(stage, (place * (FRAME_PX + _GAP_PX), 0))
    return strip


def _label(sample: Sample) -> str:
    clip = sample.meta.clip
    window = f"{clip.window_start_s:.2f} to {clip.window_stop_s:.2f} s"
    return f"{sample.meta.key}   {clip.name}   {window}"


def _write(page: Image.Image, at: tuple[int, int], text: str, colour: str, width: int) -> None:
    # Pillow's own font: the same pixels on every machine, but Latin letters only.
    font = ImageFont.load_default(_FONT_PX)
    text = "".join(c if c.isprintable() and ord(c) < 0x250 else "?" for c in text[:400])
    draw = ImageDraw.Draw(page)
    room = width - 2 * _GAP_PX
    if draw.textlength(text, font) > room:
        while text and draw.textlength(text + "...", font) > room:
            text = text[:-1]
        text += "..."
    draw.text(at, text, colour, font)


def _as_png(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()

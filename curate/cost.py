"""How long an asset will take, from what is known before it is opened: its header, or its size.

Long assets go first within the window, and the time that is left is told from it. The coefficients
are fitted to the seconds in ledgers of real builds (``python -m tests.bench.scale --only cost``);
what they cannot know, such as the machine, the display corrects by what assets took so far.
"""

from dataclasses import dataclass

import numpy as np

from curate.clip import Job
from curate.config import BuildConfig
from curate.glance import glance
from curate.sources import Source
from render.paths import views
from shards.errors import AssetError

# Seconds per unit of each of ``terms``; see tests/bench/RESULTS.md.
COEFFICIENTS = (0.14, 0.011, 0.063, 0.029, 0.001, 0.052, 0.022, 0.2)
_MEAN_VERTICES, _MEAN_CLIPS = 10_000, 4  # of what nobody can look at before
_CLIPS_EXPECTED = 4  # kept clips of an asset that has more, where there is no limit


@dataclass(frozen=True, slots=True)
class Size:
    """What is known of an asset before it is opened.

    Attributes:
        megabytes: of its main file.
        clips: animations that it claims.
        vertices: of all its meshes, as often as they are shown.
        image_megabytes: of images inside the file.
    """

    megabytes: float
    clips: float
    vertices: float
    image_megabytes: float


def size_of(source: Source) -> Size | None:
    """Look at a local file's header; of others at what was announced. None: nothing is known."""
    if source.remote is not None:
        announced = source.remote.bytes
        return None if announced is None else _guess(announced)
    try:
        megabytes = source.file.stat().st_size / 2**20
        if source.file.suffix.lower() not in (".glb", ".gltf"):
            return _guess(megabytes * 2**20)
        found = glance(source.file)
    except (OSError, AssetError):
        return Size(0.0, 0.0, 0.0, 0.0)  # it will not get far
    return Size(megabytes, found.clips, found.vertices, found.image_bytes / 2**20)


def _guess(size: float) -> Size:
    return Size(size / 2**20, _MEAN_CLIPS, _MEAN_VERTICES, 0.0)


def terms(size: Size, config: BuildConfig) -> np.ndarray:
    """Return what the seconds of an asset are a weighted sum of, (8,) float64.

    A constant; megabytes of the file, and of images in it; clips; clips times 10,000 vertices,
    which are posed; images; images times megabytes, which is what each has to show; images times
    million samples of pixels.
    """
    sequences, engine = config.render.sequences, config.render.engine
    kept = min(size.clips, config.curate.clips.per_asset_max or _CLIPS_EXPECTED)
    images = kept * sum(len(views(sequences, name).time_index) for name in sequences.names)
    if config.curate.score_only:
        images = 0.0
    samples = sequences.width * sequences.height * engine.samples_per_pixel / 1e6
    # what has no clip, or claims more than is looked at, is rejected before it costs anything
    works = size.clips > 0 and size.vertices <= config.curate.geometry.vertices_max
    costs = [
        size.megabytes,
        size.image_megabytes,
        size.clips,
        size.clips * size.vertices / 1e4,
        images,
        images * size.megabytes,
        images * samples,
    ]
    return np.array([1.0, *(cost if works else 0.0 for cost in costs)])


class CostModel:
    """Predicts seconds; an asset of which nothing is known takes as long as one of middle size."""

    def __init__(self, config: BuildConfig) -> None:
        self._config = config
        self._middle = _guess(2**20)

    def __call__(self, job: Job, /) -> float:
        """Predict how long an asset takes one worker with one thread."""
        if job.source.refusal:
            return 0.0
        size = size_of(job.source) or self._middle
        return float(np.dot(COEFFICIENTS, terms(size, self._config)))

"""What a worker is given about an asset, and what one worker tells another."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.config import BuildConfig
from curate.facts import Decision, Facts
from curate.sources import Source
from render.paths import Frame
from shards.objects import Objects
from shards.sample import sample_key
from shards.tombstones import content_name, is_named
from shards.write import StagedSample


@dataclass(frozen=True, slots=True)
class Measured:
    """What judging a clip by its geometry found; what rendering it goes on from.

    Attributes:
        decision: what rejects it; None: nothing so far.
        window_s: its window.
        frame: where it is put and from where it is seen; None where it is rejected.
        fields: columns of its row so far.
        facts: what rules were asked about.
    """

    decision: Decision | None
    window_s: tuple[float, float]
    frame: Frame | None
    fields: dict[str, Any]
    facts: Facts


@dataclass(frozen=True, slots=True)
class HandOver:
    """What a worker that only curates tells the one that renders.

    Attributes:
        sha256: of the file that it looked at.
        measured: by clip; what is missing is measured again.
        rows: of clips whose end is known, by clip.
        spent: seconds on the asset as a whole, by column.
    """

    sha256: str = ""
    measured: Mapping[int, Measured] = field(default_factory=dict[int, Measured])
    rows: Mapping[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    spent: Mapping[str, float] = field(default_factory=dict[str, float])

    def of(self, sha256: str) -> "HandOver":
        """Return this if it is about a file of this hash, else nothing."""
        return self if sha256 == self.sha256 else HandOver()


@dataclass(frozen=True, slots=True)
class Job:
    """One asset to work on, and what is needed to judge whether old work still holds.

    Attributes:
        source: the input.
        config: all settings.
        versions: of everything that decides the bytes of a sample.
        staging: folder of this asset's results.
        finished: fingerprint of each sample of this asset that needs no rendering, because a
            committed or withdrawn shard holds it: such a clip is only judged again.
        taken_down: names of what is not rendered any more: keys of clips of this asset, which are
            only scored, and all assets and clips that are named by their bytes.
        only: index of the one clip to do; None: all.
        curate_only: stop before anything is rendered.
        handed: what a worker that only curates found.
        store: the object store that the RUN lies in, if it does; ``staging`` is a folder of the
            worker then, and what is finished goes to the store too.
        keeps: the staging folder stays when the asset is done, for the driver to read.
    """

    source: Source
    config: BuildConfig
    versions: Mapping[str, str]
    staging: Path
    finished: Mapping[str, str]
    taken_down: frozenset[str] = frozenset()
    only: int | None = None
    curate_only: bool = False
    handed: HandOver = HandOver()
    store: Objects | None = None
    keeps: bool = True

    @property
    def run(self) -> Path | str:
        """The RUN: its folder, or its URL."""
        return self.staging.parents[1] if self.store is None else self.store.url

    def holds(self, key: str, fingerprint: str) -> bool:
        """Tell whether a sample is there, made from the same: in a shard, or staged."""
        staged = StagedSample(key, self.staging / f"{key}.tar")
        return fingerprint in (self.finished.get(key), staged.fingerprint())

    def is_taken_down(self, clip_index: int, sha256: str) -> bool:
        """Tell whether a clip of this asset, whose file has this hash, was taken down."""
        key = sample_key(self.source.uid, clip_index)
        return key in self.taken_down or is_named(content_name(sha256, key), self.taken_down)

    def stands(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a clip's row still stands: as to takedown, and as to its sample."""
        down = self.is_taken_down(row["clip_index"], row.get("sha256") or "")
        if down != (row.get("rule") == "taken_down"):
            return False
        key = sample_key(self.source.uid, row["clip_index"])
        return row["verdict"] != "kept" or self.holds(key, row["fingerprint"])

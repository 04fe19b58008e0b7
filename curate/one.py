"""One clip alone, through the same code as a build: to see what it looks like, or why it fails."""

import contextlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curate.catalogue import gather
from curate.clip import Job
from curate.cluster import run_here
from curate.collect import Collector
from curate.config import BuildConfig
from curate.contact import contact_sheet
from curate.objaverse_sources import PREFIXES, find_in_catalogue
from curate.run_folder import RunFolder
from curate.sources import Source
from render.lights import light_file
from shards.errors import ConfigError
from shards.store import Missing, open_store

_MARK = Path("logs", "render_one")  # in folders that this module made


@dataclass(frozen=True, slots=True)
class One:
    """Which clip of which asset.

    Attributes:
        asset: file, URL, ``objaverse:`` or ``objaverse-xl:``.
        clip_index: counted from 0.
        uid: of the asset in the run that it comes from, which its random draws hang on; where the
            input holds several assets, the one that is meant. Empty: as if it were given alone.
        root: the input folder that it may read; None: its own.
    """

    asset: str
    clip_index: int
    uid: str = ""
    root: Path | None = None


def settings_of(run: Path | str) -> BuildConfig:
    """Return the settings with which a RUN was built.

    Raises:
        ConfigError: it is no RUN.
    """
    try:
        document = json.loads(open_store(run).read("run.json"))
    except Missing:
        raise ConfigError(f"{run}: is no RUN: run.json is missing") from None
    return BuildConfig.build(document["config"])


def render_one(one: One, out: Path, config: BuildConfig) -> tuple[dict[str, Any], list[Path]]:
    """Do one clip into a RUN folder of its own; what lies there of earlier calls is done anew.

    Returns:
        The ledger row, and the contact sheet where the clip was kept.

    Raises:
        ConfigError: there is no such asset, or the folder is the RUN of a build.
        RunError: the folder cannot be used.
    """
    if (out / "run.json").exists() and not (out / _MARK).exists():
        raise ConfigError(
            f"{out}: is the RUN of a build, whose settings, rows and samples this would replace; "
            "give a folder of its own as --out"
        )
    source = _find(one, config)
    roots = [source.root] if source.remote is None else []
    if (environment := light_file(config.render.lights)) is not None:
        roots.append(environment)
    with contextlib.closing(RunFolder(out, config, update=True, retry_failed=True)) as run:
        (out / _MARK).touch()
        run.begin()
        collector = Collector(run, [source])
        run.discard(source.uid)
        job = Job(source, config, run.versions, run.staging(source), {}, only=one.clip_index)
        list(run_here([job], config, roots))
        (row,) = run.finished_rows(source)
        collector.finished(source, [row])
        collector.flush()
        run.finish({"assets": 1, **collector.verdicts, "rules": collector.rules})
    if row["verdict"] != "kept":
        return row, []
    names = config.render.sequences.names
    return row, contact_sheet(out, out / "contact.png", names, only=[row["sample_key"]])


def _find(one: One, config: BuildConfig) -> Source:
    if one.asset.startswith(PREFIXES) and one.uid:
        found = list(find_in_catalogue(one.asset, config.fetch, {one.uid}, Counter()))
    else:
        found = list(gather([one.asset], config.fetch).sources)
    chosen = [source for source in found if source.uid == one.uid] or found
    if len(chosen) != 1:
        raise ConfigError(
            f"{one.asset}: holds {len(chosen)} assets, expected one; name it with --uid"
        )
    (source,) = chosen
    if one.root is None:
        return replace(source, uid=one.uid or source.uid)
    root = one.root.resolve()
    if not source.file.absolute().is_relative_to(root):
        raise ConfigError(f"{one.asset}: does not lie in --root {root}")
    path = str(source.file.absolute().relative_to(root))
    return replace(source, uid=one.uid or source.uid, root=root, path=path)

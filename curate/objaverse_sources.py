"""Objaverse 1.0 and Objaverse-XL as inputs: ``objaverse:`` and ``objaverse-xl:``.

    objaverse:                  every animated asset of Objaverse 1.0
    objaverse:ids.txt           the assets of a list, whether they claim animations or not
    objaverse-xl:               Objaverse-XL, as far as its formats are read
    objaverse-xl:github         one of its collections
    objaverse-xl:objects.csv    objects of a table: fileIdentifier, source, sha256, fileType

Objaverse-XL does not say what is animated: an allow list does, or a table of animated objects.
"""

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, cast

from curate.config import FetchConfig
from curate.id_lists import read_id_list
from curate.objaverse_process import ask
from curate.sources import FORMATS, About, Remote, Source
from curate.tables import read_rows, suffix_of
from shards.errors import AssetError, ConfigError

PREFIXES = ("objaverse:", "objaverse-xl:")
_UID = re.compile(r"[A-Za-z0-9_-]{1,100}")
COLLECTIONS = ("github", "sketchfab", "smithsonian", "thingiverse")


def find_in_catalogue(
    text: str, config: FetchConfig, allowed: set[str] | None, left_out: Counter[str]
) -> Iterator[Source]:
    """Find the assets of a catalogue, one after the other.

    Args:
        text: the input, with its prefix.
        config: where annotations are kept, and mirrors.
        allowed: names that are wanted; none: all.
        left_out: counts the others that the catalogue has, by reason.

    Raises:
        ConfigError: the annotations cannot be had, or the selection cannot be read.
    """
    prefix, _, selection = text.partition(":")
    try:
        if prefix == "objaverse":
            yield from _objaverse(selection, config, allowed, left_out)
        elif selection and selection not in COLLECTIONS:
            yield from _xl_table(selection, left_out)
        else:
            wanted = (selection,) if selection else COLLECTIONS
            yield from _xl_collections(wanted, config, allowed, left_out)
    except AssetError as error:
        raise ConfigError(f"{text} cannot be listed: {error} ({error.rule})") from error


def _objaverse(
    selection: str, config: FetchConfig, allowed: set[str] | None, left_out: Counter[str]
) -> Iterator[Source]:
    names = None if allowed is None else sorted(allowed)
    if selection:
        names = list(dict.fromkeys(entry[0] for entry in read_id_list(selection).entries))
    request = {
        "op": "list",
        "names": names,
        "animated_only": not selection,
        "report_unknown": bool(selection),
    }
    for answer in ask(request, config):
        if not selection:  # else the selection is the input
            left_out.update(answer.get("left_out", {}))
        if "unknown" in answer:
            yield _source(answer["unknown"], "", About("objaverse"))
        elif "uid" in answer:
            about = About(
                "objaverse",
                answer["licence"],
                answer["attribution"],
                answer["name"],
                tuple(tag for tag in answer["tags"] if tag),
            )
            yield _source(answer["uid"], answer["address"], about)


def _source(uid: str, address: str, about: About) -> Source:
    if not _UID.fullmatch(uid):
        raise ConfigError(f"{uid!r} is no uid of Objaverse 1.0; expected letters and digits")
    path = f"objaverse/{uid}.glb"
    remote = Remote("objaverse", address)
    return Source(uid, path, Path(f"{uid}.glb"), Path(), remote=remote, about=about)


def _xl_collections(
    collections: tuple[str, ...],
    config: FetchConfig,
    allowed: set[str] | None,
    left_out: Counter[str],
) -> Iterator[Source]:
    request = {
        "op": "list-xl",
        "collections": collections,
        "names": None if allowed is None else sorted(allowed),
        "formats": [suffix[1:] for suffix in FORMATS],
    }
    for answer in ask(request, config):
        left_out.update(answer.get("left_out", {}))
        if "row" in answer:
            yield _xl_source(answer["row"], answer["collection"])


def _xl_table(path: str, left_out: Counter[str]) -> Iterator[Source]:
    """Read objects from a table, for example the published one of all animated ones."""
    if suffix_of(path) not in (".csv", ".parquet"):
        known = ", ".join(COLLECTIONS)
        raise ConfigError(
            f"objaverse-xl:{path}: expected a csv or parquet table, or one of {known}"
        )
    for number, row in enumerate(read_rows(path, "fileIdentifier"), 1):
        identifier = row.get("fileIdentifier") or row.get("file_identifier", "")
        if not identifier or not row.get("sha256"):
            raise ConfigError(
                f"{path}: row {number}: expected fileIdentifier and sha256, found {', '.join(row)}"
            )
        ending = (row.get("fileType") or suffix_of(identifier)[1:]).lower()
        if f".{ending}" not in FORMATS and row.get("source") != "sketchfab":
            left_out[f"format {ending}"] += 1
            continue
        collection = row.get("source") or _collection_of(identifier)
        if collection not in COLLECTIONS:
            raise ConfigError(f"{path}: row {number}: source {collection!r} is not known")
        yield _xl_source(row | {"fileIdentifier": identifier}, collection)


def _collection_of(identifier: str) -> str:
    host = identifier.partition("://")[2].partition("/")[0]
    return next((name for name in COLLECTIONS if name[:-2] in host), "smithsonian")


def _xl_source(row: Mapping[str, str], collection: str) -> Source:
    identifier = row["fileIdentifier"]
    uid = str(uuid.uuid5(uuid.NAMESPACE_DNS, identifier))  # as the package and published lists do
    metadata = _metadata(row.get("metadata", ""))
    owner = "/".join(identifier.split("/")[3:5]) if collection == "github" else ""
    name = metadata.get("title") or metadata.get("name") or PurePosixPath(identifier).stem
    about = About(
        f"objaverse-xl/{collection}",
        row.get("license") or row.get("licence", ""),
        str(metadata.get("author") or owner or identifier),
        str(name),
    )
    ending = (row.get("fileType") or suffix_of(identifier)[1:] or "glb").lower()
    remote = Remote("objaverse-xl", identifier, collection)
    file = Path(f"{uid}.{ending}")
    return Source(uid, identifier, file, Path(), row["sha256"].lower(), remote, about)


def _metadata(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}

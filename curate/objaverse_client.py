"""The ``objaverse`` package, in a process of its own: ``python -m curate.objaverse_client``.

Reads one request as JSON from stdin, writes answers as JSON lines to stdout and, as the last one,
``{"ok": true, ...}`` or ``{"ok": false, "rule": ..., "error": ...}``. Release 0.1.7 has habits that
no worker should share: no time limits, progress on stdout, worker pools whose exceptions cannot be
pickled, annotation files that stay truncated for ever, and it keeps nothing of a repository unless
told how. All of them end here. The only module that imports ``objaverse``.
"""

import ctypes
import fcntl
import gzip
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

T = TypeVar("T")
Request = dict[str, Any]

_PR_SET_PDEATHSIG = 1
_PLACE = re.compile(r"glbs/[0-9-]+/\w+\.glb")
_IN_A_REPOSITORY = re.compile(r"https://github\.com/(?!\.)[\w.-]+/(?!\.)[\w.-]+/blob/\w+/.")
_COLLECTIONS = ("github", "sketchfab", "smithsonian", "thingiverse")


class Failed(Exception):
    """The request came to nothing, for a reason with a name."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


def main() -> None:
    """Serve one request."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 9)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the package prints to stdout
    request = json.loads(sys.stdin.read())
    socket.setdefaulttimeout(request["timeout_s"])

    def say(**answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")

    try:
        last = _OPERATIONS[request["op"]](request, say)
        say(ok=True, **(last or {}))
    except Exception as error:
        rule, message = _explain(error)
        say(ok=False, rule=rule, error=message)
    answers.close()


def _explain(error: Exception) -> tuple[str, str]:
    """Name what went wrong, whichever of the three HTTP clients met it."""
    import requests

    message = f"{type(error).__name__}: {error}"
    reason = getattr(error, "reason", None)
    match error:
        case Failed():
            return error.rule, str(error)
        case urllib.error.ContentTooShortError() | http.client.IncompleteRead():
            return "truncated_download", message
        case requests.exceptions.ChunkedEncodingError():
            return "truncated_download", message
        case urllib.error.HTTPError():
            return f"http_{error.code}", message
        case requests.exceptions.HTTPError() if error.response is not None:
            return f"http_{error.response.status_code}", message
        case TimeoutError() | requests.exceptions.Timeout():
            return "fetch_timeout", message
        case urllib.error.URLError() if isinstance(reason, TimeoutError):
            return "fetch_timeout", message
        case urllib.error.URLError() | requests.exceptions.ConnectionError() | ConnectionError():
            return ("fetch_timeout" if "timed out" in message else "connection_failed"), message
        case subprocess.CalledProcessError() if "lfs" in map(str, error.cmd):
            return "git_lfs_failed", f"{message}; is git-lfs installed?"
        case _:
            return "objaverse_client_failed", message


def _adapt(module: Any, request: Request) -> Any:
    """Give a module of the package time limits, mirrors, and a pool that hands errors on."""
    from multiprocessing.pool import ThreadPool

    import requests

    def moved(url: str) -> str:
        for beginning, other in request["mirrors"].items():
            if url.startswith(beginning):
                return other + url[len(beginning) :]
        return url

    def get(url: str, **options: Any) -> Any:
        response = requests.get(moved(url), timeout=request["timeout_s"], **options)
        if response.status_code != 404:  # the package knows that one, and takes others for content
            response.raise_for_status()
        return response

    def urlopen(url: str) -> Any:
        return urllib.request.urlopen(moved(url))

    def urlretrieve(url: str, path: str) -> Any:
        return urllib.request.urlretrieve(moved(url), path)

    module.urllib = SimpleNamespace(
        request=SimpleNamespace(urlopen=urlopen, urlretrieve=urlretrieve)
    )
    module.requests = SimpleNamespace(get=get)
    module.Pool = ThreadPool
    return module


def _objaverse(request: Request, folder: str | None = None) -> Any:
    """Return the package, with its files in a folder; the annotations' if none is given."""
    import objaverse

    objaverse._VERSIONED_PATH = str(Path(folder or request["annotations"]) / "hf-objaverse-v1")
    return _adapt(objaverse, request)


def _downloader(request: Request, collection: str) -> Any:
    import importlib

    from objaverse import xl

    _adapt(importlib.import_module(f"objaverse.xl.{collection}"), request)
    return xl.downloaders[collection]


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep workers from writing the same annotation file."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".orbit4d-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _mended(request: Request, load: Callable[[], T]) -> T:
    """Load annotations; what an interrupted download left is removed and loaded once more.

    The package writes them under their final names, and would trip over half a file for ever.
    """
    folder = Path(request["annotations"])
    with _one_at_a_time(folder):
        try:
            return load()
        except Exception:
            if not (broken := [path for path in _annotation_files(folder) if not _is_whole(path)]):
                raise
            for path in broken:
                path.unlink()
        return load()


def _annotation_files(folder: Path) -> list[Path]:
    tables = [folder / name / f"{name}.parquet" for name in _COLLECTIONS]
    packed = (folder / "hf-objaverse-v1").rglob("*.json.gz")
    return [path for path in [*tables, *packed] if path.is_file()]


def _is_whole(path: Path) -> bool:
    try:
        if path.suffix == ".parquet":
            with path.open("rb") as stream:
                stream.seek(-4, os.SEEK_END)
                return stream.read() == b"PAR1"
        with gzip.open(path) as stream:
            while stream.read(1 << 20):
                pass
    except (OSError, EOFError):
        return False
    return True


def _list_objaverse(request: Request, say: Callable[..., None]) -> None:
    """Say every animated asset of Objaverse 1.0; of ids that were asked for, each."""
    package = _objaverse(request)
    paths: dict[str, str] = _mended(request, package._load_object_paths)
    package._load_object_paths = lambda: paths
    wanted: list[str] | None = request["names"]
    chosen = paths.keys() if wanted is None else [uid for uid in wanted if uid in paths]
    folders: dict[str, list[str]] = {}
    for uid in chosen:
        folders.setdefault(paths[uid].split("/")[1], []).append(uid)
    left_out: Counter[str] = Counter()
    if wanted is not None:
        left_out["not on the allow list"] = len(paths) - len(chosen)
    for name in sorted(folders):  # one at a time: all of them fill the memory
        uids = folders[name]
        found = _mended(request, partial(package.load_annotations, uids))
        for uid in uids:
            about = found.get(uid, {})
            if request["animated_only"] and not about.get("animationCount"):
                left_out["not animated"] += 1
                continue
            user = about.get("user") or {}
            say(
                uid=uid,
                address=paths[uid],
                licence=about.get("license") or "",
                attribution=user.get("displayName") or user.get("username") or "",
                name=about.get("name") or "",
                tags=[tag.get("name", "") for tag in about.get("tags") or []],
            )
    if request["report_unknown"]:
        for uid in wanted or []:
            if uid not in paths:
                say(unknown=uid)
    say(left_out=left_out)


def _list_xl(request: Request, say: Callable[..., None]) -> None:
    """Say every object of Objaverse-XL whose format is read and whose name is wanted."""
    from objaverse.utils import get_uid_from_str

    wanted = None if request["names"] is None else set(request["names"])
    left_out: Counter[str] = Counter()
    for collection in request["collections"]:
        downloader = _downloader(request, collection)
        table = _mended(request, partial(downloader.get_annotations, request["annotations"]))
        formats = table["fileType"].str.lower()
        for name, count in formats[~formats.isin(request["formats"])].value_counts().items():
            left_out[f"format {name}"] += int(count)
        table = table[formats.isin(request["formats"])]
        for record in table.itertuples(index=False):  # millions: not as dictionaries
            row = record._asdict()
            uid = get_uid_from_str(row["fileIdentifier"])
            names = {uid, row["fileIdentifier"], row["sha256"]}
            names.add(row["fileIdentifier"].rstrip("/").rpartition("/")[2])
            if wanted is not None and not names & wanted:
                left_out["not on the allow list"] += 1
                continue
            say(uid=uid, row={key: str(row.get(key) or "") for key in row}, collection=collection)
    say(left_out=left_out)


def _fetch(request: Request, say: Callable[..., None]) -> dict[str, str]:
    """Download one object of Objaverse 1.0."""
    package = _objaverse(request, request["folder"])
    address = request["address"]
    if not _PLACE.fullmatch(address):
        raise Failed("bad_address", f"{address!r} is no place in the repository of Objaverse 1.0")
    _, file = package._download_object(Path(address).stem, address, 1, 0)
    return {"file": file, "root": str(Path(file).parent)}


def _fetch_xl(request: Request, say: Callable[..., None]) -> dict[str, str]:
    """Download one object of Objaverse-XL, with its whole repository where it lies in one."""
    import pandas as pd

    collection, address = request["collection"], request["address"]
    if collection == "github" and not _IN_A_REPOSITORY.match(address):
        raise Failed("bad_address", f"{address!r} is no file in a repository")
    downloader = _downloader(request, collection)
    folder = Path(request["folder"])
    if collection == "sketchfab":
        _lend_object_paths(downloader, request, folder)
    fates: list[tuple[str, str]] = []
    row = {"fileIdentifier": address, "source": collection, "sha256": request["sha256"]}
    downloaded: dict[str, str | None] = downloader.download_objects(
        pd.DataFrame([row]),
        str(folder),
        1,
        handle_found_object=lambda **_: fates.append(("found", "")),
        handle_modified_object=lambda new_sha256, **_: fates.append(("modified", new_sha256)),
        handle_missing_object=lambda **_: fates.append(("missing", "")),
        save_repo_format="files",  # nothing is saved by default
    )
    fate, detail = fates[-1] if fates else ("", "")
    if fate == "modified":
        raise Failed(
            "hash_mismatch",
            f"{address}: sha256 {detail}, its annotation says {request['sha256']}; not kept",
        )
    if fate == "missing" and collection == "github":
        raise _why_missing(address, request["timeout_s"])
    if fate == "missing":
        raise Failed("http_404", f"{address}: the server does not have it any more")
    file = downloaded.get(address)
    if not file or not Path(file).is_file():
        raise Failed("connection_failed", f"{address}: the package gave up without saying why")
    repository = Path(file)
    if collection == "github":
        repository = folder.joinpath("github", "repos", *address.split("/")[3:5])
        return {"file": str(file), "root": str(repository)}
    return {"file": str(file), "root": str(repository.parent)}


def _lend_object_paths(downloader: Any, request: Request, folder: Path) -> None:
    """Let the package find its 30 MB of paths where it wants to download them once more."""
    annotations = request["annotations"]
    _mended(request, lambda: downloader._get_object_paths(download_dir=annotations))
    place = folder / "hf-objaverse-v1" / "object-paths.json.gz"
    place.parent.mkdir(parents=True)
    place.symlink_to(Path(annotations).resolve() / "hf-objaverse-v1" / place.name)


def _why_missing(address: str, timeout_s: float) -> Failed:
    """Ask git why a repository, or an object in it, could not be had: the package does not say."""
    organisation, name = address.split("/")[3:5]
    url = f"https://github.com/{organisation}/{name}.git"
    try:
        done = subprocess.run(
            ["git", "ls-remote", url, "HEAD"], capture_output=True, text=True, timeout=timeout_s,
            stdin=subprocess.DEVNULL, errors="replace", check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Failed("fetch_timeout", f"{url}: git got no answer within {timeout_s:g} s")
    said = done.stderr.strip()
    if done.returncode == 0:
        return Failed("dead_commit", f"{address}: the repository lives, this file in it is gone")
    if any(word in said for word in ("could not read Username", "Authentication failed")):
        return Failed(
            "git_needs_password",
            f"{url}: git was asked for a password: the repository is private, renamed or deleted",
        )
    if any(word in said for word in ("not found", "does not exist", "not appear to be a git")):
        return Failed("dead_repository", f"{url}: there is no such repository any more: {said}")
    return Failed("connection_failed", f"{url}: {said}")


_OPERATIONS: dict[str, Callable[[Request, Callable[..., None]], dict[str, str] | None]] = {
    "list": _list_objaverse,
    "list-xl": _list_xl,
    "fetch": _fetch,
    "fetch-xl": _fetch_xl,
}


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main()

"""Single samples of a RUN, by number: from a local folder or from an object store, verified."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from shards import index
from shards.errors import SampleError, ShardError, TakenDown
from shards.index import IndexEntry
from shards.sample import SampleMeta, members_of
from shards.store import LocalStore, Missing, SampleCache, StoreConfig, open_store
from shards.tombstones import Tombstones, is_entry_named


class SampleReader:
    """Single samples of one RUN folder, numbered as in ``index.parquet``.

    Holds no open file, so it may be pickled, forked and used from several threads. What was taken
    down keeps its number and its index entry, but is not read.
    """

    def __init__(
        self,
        run: Path | str,
        *,
        verify: bool = True,
        store: StoreConfig | None = None,
        follow: bool = False,
    ) -> None:
        """Read the index.

        Args:
            run: a RUN folder, or the URL of one (``s3://``, ``https://``, ...).
            verify: compare samples with their sha256.
            store: how to read from a URL.
            follow: a local RUN is still being built; its finished shards count.

        Raises:
            ShardError: if the folder has no readable index.
        """
        store = store or StoreConfig()
        self.store = open_store(run, store)
        self.run = self.store.root
        self.verify = verify
        self.connections = store.connections
        self._cache = SampleCache(store.cache, store.cache_mb * 1e6) if store.cache else None
        self.follow = follow
        self._table = self._load()
        self.tombstones = Tombstones(self.store)

    def refresh(self) -> None:
        """Read the index again."""
        self._table = self._load()

    def _load(self) -> Any:
        if self.follow and isinstance(self.store, LocalStore):
            return index.committed_table(self.store.root)
        try:
            source = self.store.read("index.parquet")
        except Missing:
            raise ShardError(
                f"{self.run}: has no index.parquet, so it is no finished RUN folder. If a build "
                "was cut short, run the same command again; it ends with the index. If it is still "
                "being built, read with follow"
            ) from None
        return index.table_of(source, f"{self.run}/index.parquet")

    def __len__(self) -> int:
        """Count the samples."""
        return self._table.num_rows

    def __iter__(self) -> Iterator[tuple[SampleMeta, dict[str, bytes]]]:
        """Read all samples but those taken down, as ``read`` does."""
        for i in range(len(self)):
            with contextlib.suppress(TakenDown):
                yield self.read(i)

    def entry(self, i: int) -> IndexEntry:
        """Return what the index says of sample i."""
        if not 0 <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)} in {self.run}")
        return IndexEntry(**self._table.slice(i, 1).to_pylist()[0])

    def entries(self) -> list[IndexEntry]:
        """Return the whole index."""
        return [IndexEntry(**row) for row in self._table.to_pylist()]

    def column(self, name: str) -> list[Any]:
        """Return one column of the index, without building entries."""
        return self._table.column(name).to_pylist()

    def read_bytes(self, i: int) -> bytes:
        """Read the tar run of sample i.

        Raises:
            TakenDown: if it was taken down.
            SampleError: if the shard is too short or, with ``verify``, the sha256 differs.
            ShardError: if the shard is missing.
        """
        entry = self._standing(i)
        data = self._recalled(entry)
        if data is not None:
            return data
        name = f"shards/{entry.shard}.tar"
        where = f"{self.run}/{name}"
        try:
            data = self.store.read_range(name, entry.offset, entry.length)
        except Missing:
            raise ShardError(
                f"{where}: is in the index but missing; copy it here again, or run the build again"
            ) from None
        where = f"{where}: sample {entry.key!r}"
        if len(data) != entry.length:
            raise SampleError(
                f"{where} should be {entry.length} bytes at {entry.offset}, found {len(data)}; "
                f"the tar was cut. Copy it again, then: orbit4d shards check {self.run}"
            )
        if self.verify and hashlib.sha256(data).hexdigest() != entry.sha256:
            raise SampleError(
                f"{where}: its bytes do not have the sha256 of the index; the tar changed. Copy "
                f"it again, then: orbit4d shards check {self.run}"
            )
        if self._cache:
            with contextlib.suppress(OSError):  # a full disk only costs the cache
                self._cache.put(entry.sha256, data)
        return data

    def check_shards(self) -> None:
        """Look whether all shards of a local RUN are there, and as large as the index says.

        Raises:
            ShardError: naming those that are not.
        """
        if not isinstance(self.store, LocalStore):
            return  # asked for one by one it takes too long; reading finds out, and says which
        wrong: list[str] = []
        for shard in index.head(self.store.root).get("shards", []):
            try:
                size = self.store.size(f"shards/{shard['name']}.tar")
            except Missing:
                wrong.append(f"{shard['name']} is missing")
                continue
            if size != shard["bytes"]:
                wrong.append(f"{shard['name']} has {size} bytes instead of {shard['bytes']}")
        if wrong:
            raise ShardError(
                f"{self.run}: {len(wrong)} shards changed since the index was written: "
                f"{'; '.join(wrong[:5])}. Copy them here again, then: "
                f"orbit4d shards check {self.run}"
            )

    def fetch(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """Fetch several samples at once from a remote store; those that fail are left out.

        A local folder gains nothing from this, so nothing is read ahead there.
        """
        if isinstance(self.store, LocalStore) or len(numbers) < 2:
            return {}

        def attempt(number: int) -> tuple[int, bytes | None]:
            try:
                return number, self.read_bytes(number)
            except (SampleError, ShardError):
                return number, None  # met again, and told, when its turn comes

        with ThreadPoolExecutor(min(self.connections, len(numbers))) as pool:
            fetched = pool.map(attempt, numbers)
            return {number: data for number, data in fetched if data is not None}

    def _standing(self, i: int) -> IndexEntry:
        entry = self.entry(i)
        if is_entry_named(entry, self.tombstones.names):
            raise TakenDown(
                f"{self.run}: sample {entry.key!r} was taken down (see tombstones.json there); it "
                "is not read any more"
            )
        return entry

    def _recalled(self, entry: IndexEntry) -> bytes | None:
        data = self._cache.get(entry.sha256) if self._cache else None
        if data is None or hashlib.sha256(data).hexdigest() == entry.sha256:
            return data
        assert self._cache is not None
        self._cache.drop(entry.sha256)
        return None

    def read(self, i: int, data: bytes | None = None) -> tuple[SampleMeta, dict[str, bytes]]:
        """Read sample i, or take its fetched bytes: its metadata and its tar members by name.

        Raises:
            TakenDown: if it was taken down, be its bytes there or given.
            SampleError: if the sample is damaged.
            ShardError: if its shard is missing.
        """
        key = self._standing(i).key
        where = f"{self.run}: sample {key!r}"
        members = members_of(self.read_bytes(i) if data is None else data, where)
        if f"{key}.json" not in members:
            raise SampleError(f"{where}: {key}.json is missing; found {sorted(members)}")
        return SampleMeta.parse(members[f"{key}.json"], where), members

"""Which assets are one and the same shape: they belong on one side of a split."""

from collections.abc import Sequence

from shards.index import IndexEntry
from shards.likeness import GEOMETRY_TOLERANCE, Leaders, Sketch


def families_of(entries: Sequence[IndexEntry]) -> list[str]:
    """Name the family of each sample's asset.

    Equal files are one asset. Assets of one shape are one family, be they recoloured, renamed,
    turned or in other units; it is named for the least of its assets' hashes, so that the order of
    samples does not matter. An asset whose shape nobody noted is a family of its own.

    Args:
        entries: of an index; those of a merge of several runs find their copies too.
    """
    leaders = Leaders(GEOMETRY_TOLERANCE)
    of_asset: dict[str, int] = {}
    least: dict[int, str] = {}
    for entry in sorted(entries, key=_asset):
        asset = _asset(entry)
        if asset in of_asset:
            continue
        number = len(of_asset)
        if (sketch := Sketch.decode(entry.geometry)) is not None:
            if (match := leaders.find(sketch)) is not None:
                number = match.number
            else:
                leaders.add(sketch, number)
        of_asset[asset] = number
        least.setdefault(number, asset)
    return [least[of_asset[_asset(entry)]] for entry in entries]


def _asset(entry: IndexEntry) -> str:
    return entry.asset_sha256 or entry.uid

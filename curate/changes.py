"""Which settings and versions of a RUN differ from those of the build at hand."""

from collections.abc import Mapping
from typing import Any


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List the settings and versions that differ and that decide verdicts or bytes."""
    before, after = _flat(old), _flat(new)
    ignored = (
        "config.limits.",
        "config.shards.",
        "config.fetch.",
        "config.store.",
        "commit",
        "counts",
        "complete",
    )
    return [
        f"{name.removeprefix('config.')}: {before.get(name)!r}, now {after.get(name)!r}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name) and not name.startswith(ignored)
    ]


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}.{name}" if prefix else name)
    return flat

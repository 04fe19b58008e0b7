"""Filters over the index as text: ``motion > 0.05 and frames >= 24``.

Names are scores of the ledger that the index carries, and the columns ``motion_magnitude``,
``frames``, ``length``, ``clip_index``, ``uid``, ``key`` and ``shard``. A sample that lacks a score
passes no comparison with it.
"""

import ast
import functools
import json
import operator
from collections.abc import Callable
from typing import Any

from shards.errors import ConfigError
from shards.index import IndexEntry

Where = Callable[[IndexEntry], bool]

_COLUMNS = ("motion_magnitude", "frames", "length", "clip_index", "uid", "key", "shard")
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def parse_where(text: str) -> Where:
    """Turn a filter into a function of an index entry.

    Raises:
        ConfigError: if it is anything but comparisons joined by and, or, not.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        _check(tree)
    except (SyntaxError, ValueError) as error:
        raise ConfigError(
            f"filter {text!r}: {error}; "
            "expected comparisons such as: motion > 0.05 and frames >= 24"
        ) from error
    return functools.partial(_accepts, tree)


def _accepts(tree: ast.expr, entry: IndexEntry) -> bool:
    return _holds(tree, values_of(entry))


def values_of(entry: IndexEntry) -> dict[str, Any]:
    """Return what a filter may name: the scores, and the columns over them."""
    return json.loads(entry.scores or "{}") | {name: getattr(entry, name) for name in _COLUMNS}


def _check(node: ast.expr) -> None:
    if isinstance(node, ast.BoolOp):
        for part in node.values:
            _check(part)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check(node.operand)
    elif isinstance(node, ast.Compare):
        if any(type(op) not in _COMPARISONS for op in node.ops):
            raise ValueError("a comparison is one of < <= > >= == !=")
        for part in (node.left, *node.comparators):
            if not isinstance(part, ast.Name):
                ast.literal_eval(part)
    else:
        raise ValueError(f"{ast.unparse(node)} is no comparison")


def _holds(node: ast.expr, values: dict[str, Any]) -> bool:
    if isinstance(node, ast.BoolOp):
        joined = all if isinstance(node.op, ast.And) else any
        return joined(_holds(part, values) for part in node.values)
    if isinstance(node, ast.UnaryOp):
        return not _holds(node.operand, values)
    assert isinstance(node, ast.Compare)
    sides = [_value(part, values) for part in (node.left, *node.comparators)]
    if any(side is None for side in sides):
        return False
    try:
        return all(
            _COMPARISONS[type(op)](left, right)
            for op, left, right in zip(node.ops, sides, sides[1:], strict=False)
        )
    except TypeError as error:
        raise ConfigError(f"filter {ast.unparse(node)!r}: {error}") from error


def _value(node: ast.expr, values: dict[str, Any]) -> Any:
    return values.get(node.id) if isinstance(node, ast.Name) else ast.literal_eval(node)

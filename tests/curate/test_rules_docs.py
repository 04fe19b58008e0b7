"""docs/rules.md names every rule with what it measures, its setting and its default."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from curate import duplicates, refusals, sources
from curate.config import BuildConfig, CurateConfig
from curate.ledger import SCHEMA
from curate.rules import RULES
from curate.whatif import IMAGE_LIMITS, LIMITS, Limit

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "rules.md").read_text()
CONFIG = BuildConfig()
_DERIVED = {"visible_triangles": "triangles", "least_similar": "ssim_quarter"}


def table() -> list[list[str]]:
    """The cells of the rows between the headings of the first table and of the next part."""
    part = TEXT.partition("## Every rule")[2].partition("## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def row_of(rule: str) -> list[str]:
    (found,) = [row for row in table() if f"`{rule}`" in row[0]]
    return found


def default_of(setting: str) -> str:
    value: Any = CONFIG
    path = setting if setting.startswith("render.") else f"curate.{setting}"
    for name in path.split("."):
        value = getattr(value, name)
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


@pytest.mark.parametrize("rule", [*LIMITS, *IMAGE_LIMITS])
def test_rules_with_a_limit_have_column_setting_and_default(rule: str) -> None:
    limits: tuple[Limit, ...] = (LIMITS | IMAGE_LIMITS)[rule]
    _, measured, unit, settings, defaults = row_of(rule)
    assert [f"`{limit.setting}`" for limit in limits] == settings.split(", ")
    given = defaults.split(", ") if len(limits) > 1 else [defaults]
    assert given == [default_of(limit.setting) for limit in limits]
    columns = re.findall(r"`(\w+)`", measured)
    assert set(columns) <= set(SCHEMA.names)
    assert {_DERIVED.get(limit.score, limit.score) for limit in limits} <= set(columns)
    assert unit


def test_every_rule_has_a_row_and_every_row_is_a_rule() -> None:
    known = {rule.__name__ for rule in RULES} | {*duplicates.RULES, *IMAGE_LIMITS}
    known |= {*sources.REFUSALS, refusals.clip_limit(1).rule, "no_clips", "score_only"}
    named = [name for row in table() for name in re.findall(r"`(\w+)`", row[0])]
    assert len(named) == len(set(named))
    assert set(named) == known


def test_rules_stand_in_the_order_in_which_they_run() -> None:
    order = [rule.__name__ for rule in RULES]
    named = [row[0].strip("`") for row in table()]
    assert [name for name in named if name in order] == order


def settings_in(config: type[BaseModel]) -> list[str]:
    found: list[str] = []
    for name, field in config.model_fields.items():
        kind = field.annotation
        nested = isinstance(kind, type) and issubclass(kind, BaseModel)
        found += settings_in(kind) if nested else [name]  # type: ignore[arg-type]
    return found


def test_every_setting_of_the_rules_is_named() -> None:
    missing = [name for name in settings_in(CurateConfig) if not re.search(rf"\b{name}\b", TEXT)]
    assert not missing

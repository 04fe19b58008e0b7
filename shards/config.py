"""Settings: frozen pydantic models from YAML, changed by ``--set a.b=c``; unknown keys fail."""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from shards.errors import ConfigError

_REASONS = {"extra_forbidden": "there is no setting of this name"}


class Config(BaseModel):
    """Base of all settings: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        overrides: Sequence[str] = (),
        preset: Mapping[str, Any] | None = None,
    ) -> Self:
        """Read settings from a YAML file (or take the defaults) and apply overrides.

        Args:
            path: YAML file holding a mapping; missing keys take their defaults.
            overrides: ``"a.b=value"`` strings; the value is parsed as YAML.
            preset: settings that take the place of defaults.

        Raises:
            ConfigError: naming the key, the value found and what was expected.
        """
        tree: dict[str, Any] = {}
        if path is not None:
            try:
                loaded = yaml.safe_load(path.read_text())
            except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
                raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
            if loaded is not None and not isinstance(loaded, dict):
                raise ConfigError(f"{path}: expected a mapping of settings, found {type(loaded)}")
            tree = loaded or {}
        return cls.build(_laid_over(preset or {}, tree), overrides)

    @classmethod
    def build(cls, tree: Mapping[str, Any], overrides: Sequence[str] = ()) -> Self:
        """Validate a tree of settings after applying ``"a.b=value"`` overrides."""
        merged = copy.deepcopy(dict(tree))
        for override in overrides:
            key, separator, text = override.partition("=")
            if not separator or not key:
                raise ConfigError(
                    f"--set {override!r}: expected KEY=VALUE, for example motion.min=0.02"
                )
            node = merged
            *parents, leaf = key.split(".")
            for parent in parents:
                node = node.setdefault(parent, {})
                if not isinstance(node, dict):
                    raise ConfigError(f"--set {override!r}: {parent!r} is a value, not a section")
            try:
                node[leaf] = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ConfigError(f"--set {override!r}: the value is not YAML: {error}") from error
        try:
            return cls.model_validate(merged)
        except ValidationError as error:
            lines = [
                f"  {'.'.join(str(part) for part in issue['loc']) or '(whole)'}: "
                f"{_REASONS.get(issue['type'], issue['msg'])} (found {issue['input']!r})"
                for issue in error.errors()
            ]
            raise ConfigError("settings do not fit:\n" + "\n".join(lines)) from error

    def digest(self) -> str:
        """Hash the settings: 16 hex digits, equal for equal values."""
        return digest_of(self.model_dump(mode="json"))


def _laid_over(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two trees; where both hold a value, ``top`` wins."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = _laid_over(below, value)
        merged[key] = value
    return merged


def digest_of(value: Any) -> str:
    """Hash any JSON value by its canonical text: 16 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

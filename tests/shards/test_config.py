from pathlib import Path

import pytest
from pydantic import Field

from shards.config import Config, digest_of
from shards.errors import ConfigError


class Motion(Config):
    minimum: float = Field(default=0.02, ge=0)


class Settings(Config):
    seed: int = 0
    motion: Motion = Motion()
    name: str | None = None


def test_overrides_reach_into_sections_and_are_parsed_as_yaml() -> None:
    made = Settings.build({"seed": 1}, ["motion.minimum=0.5", "seed=3", "name=null"])
    assert made == Settings(seed=3, motion=Motion(minimum=0.5))


def test_a_file_gives_the_settings_and_an_empty_one_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("motion: {minimum: 0.1}\n")
    assert Settings.load(path).motion.minimum == 0.1
    path.write_text("")
    assert Settings.load(path) == Settings() == Settings.load()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sed=1"], r"sed: there is no setting of this name \(found 1\)"),
        (["motion.minimum=-1"], r"motion.minimum: .*greater than or equal to 0 \(found -1\)"),
        (["motion.minimum=fast"], "motion.minimum: .*valid number"),
        (["seed"], "expected KEY=VALUE"),
        (["=1"], "expected KEY=VALUE"),
        (["seed.x=1"], "'seed' is a value, not a section"),
        (["seed=[1"], "the value is not YAML"),
        (["seed=2024-01-01"], "seed: .*valid integer"),
    ],
)
def test_a_wrong_override_names_the_key_and_the_value(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings.build({"seed": 5}, overrides)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "cannot be read as YAML"),
        (b"\xff\xfe\xfa", "cannot be read as YAML"),
        (b"- 1", "expected a mapping"),
        (b"0", "expected a mapping"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"settings\.yaml: {message}"):
        Settings.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        Settings.load(tmp_path / "none.yaml")


def test_building_leaves_the_given_tree_alone() -> None:
    tree = {"motion": {"minimum": 0.1}}
    Settings.build(tree, ["motion.minimum=0.9"])
    assert tree == {"motion": {"minimum": 0.1}}


def test_the_digest_follows_the_values_only() -> None:
    assert Settings(seed=0).digest() == Settings().digest() != Settings(seed=1).digest()
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of(float("nan"))


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().seed = 4  # pyright: ignore[reportAttributeAccessIssue]

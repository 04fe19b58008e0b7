"""Every command explains itself, and a mistake ends in one sentence."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from rich import markup

import orbit4d
from curate.interrupts import Stopped

ROOT = Path(__file__).resolve().parents[1]


def commands() -> Iterator[tuple[str, Any]]:
    group = typer.main.get_command(orbit4d.app)
    stack: list[tuple[str, Any]] = [("orbit4d", group)]
    while stack:
        name, command = stack.pop()
        if subcommands := getattr(command, "commands", None):
            stack += [(f"{name} {sub}", found) for sub, found in subcommands.items()]
        else:
            yield name, command


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=str)
def test_help_has_an_example_that_names_the_command(name: str, command: Any) -> None:
    text = f"{command.help or ''}\n{command.epilog or ''}"
    assert "Example" in text
    assert f"{name} " in text


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=str)
def test_nothing_of_a_help_text_is_taken_for_markup(name: str, command: Any) -> None:
    texts = [
        command.help,
        command.epilog,
        *(one.help for one in command.params if "help" in vars(one)),
    ]
    for text in filter(None, texts):
        assert markup.render(text).plain == text


def test_all_stages_are_mounted() -> None:
    names = {name for name, _ in commands()}
    assert {"orbit4d build", "orbit4d report", "orbit4d shards check", "orbit4d train fit"} <= names


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["build", "/no/such/place"], "/no/such/place: no such file or folder"),
        (["build", str(ROOT / ".ci")], "no file ends in .glb"),
        (["build", str(ROOT), "--set", "render.sampels=1"], "render.sampels"),
        (["build", str(ROOT), "--set", "seed"], "expected KEY=VALUE"),
    ],
)
def test_a_mistake_ends_in_one_sentence_and_status_2(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["orbit4d", *words, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit, match="2"):
        orbit4d.main()
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("stop", "status"), [(Stopped(signal.SIGTERM), 143), (KeyboardInterrupt(), 130)], ids=str
)
def test_however_a_build_is_interrupted_it_says_that_it_can_go_on(
    stop: KeyboardInterrupt,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object) -> None:
        raise stop

    monkeypatch.setattr("curate.build.build", interrupted)
    monkeypatch.setattr("sys.argv", ["orbit4d", "build", "in", "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as ended:
        orbit4d.main()
    assert ended.value.code == status
    assert capsys.readouterr().err == "interrupted; the same command goes on from here\n"

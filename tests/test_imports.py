"""Nothing but Blender's own half needs Blender, and reading shards needs no framework at all."""

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = "import sys; sys.modules.update(dict.fromkeys({blocked!r})); import {modules}"


def modules_of(package: str) -> list[str]:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / package).rglob("*.py"))
        if "blender" not in path.relative_to(ROOT).parts
    ]
    return [name for name in names if not name.endswith("__main__")]


def import_blocked(modules: list[str], blocked: list[str]) -> None:
    code = BLOCK.format(blocked=blocked, modules=", ".join(modules))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["curate", "render", "train"])
@pytest.mark.slow
def test_modules_import_without_blender(package: str) -> None:
    import_blocked(modules_of(package), ["bpy", "mathutils", "bpy_extras"])


def test_shards_import_without_blender_ray_and_torch() -> None:
    import_blocked(modules_of("shards"), ["bpy", "mathutils", "torch", "ray", "curate", "train"])


def test_every_module_stands_in_the_table_of_files() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    _, _, table = text.partition("## Where things are")
    patterns = ["cli*.py", "config.py"]  # of each stage
    for line in table.partition("## Conventions")[0].splitlines():
        folder = ""
        for name in re.findall(r"`([^`]+)`", line.split("|")[1] if line.startswith("|") else ""):
            folder = name.rpartition("/")[0] if "/" in name else folder
            patterns.append(name if "/" in name else f"{folder}/{name}")
    modules = [
        path.relative_to(ROOT).as_posix()
        for package in ("curate", "render", "shards", "train")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    ]
    absent = [
        module
        for module in sorted(modules)
        if not any(
            fnmatch(module, one)
            or fnmatch(module.partition("/")[2], one)
            or (one.endswith("/") and module.startswith(one))
            for one in patterns
        )
    ]
    assert absent == []

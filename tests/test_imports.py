"""Nothing but Blender's own half needs Blender, and reading shards needs no framework at all."""

import subprocess
import sys
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

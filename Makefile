# make repro: everything, from nothing to release/. make test: the tests. make setup: the virtual environment alone.
# PYTHON: the interpreter that makes the environment. PIP_ARGS: further arguments of pip install (a mirror, an index).
PYTHON ?= python3.11
PIP_ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/installed
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(PIP_ARGS)
LOCKED = $(PIP_INSTALL) --require-hashes --requirement

# Stages run as `python -m stages.NAME`, so the environment's python comes first.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup repro test lint clean

setup: $(INSTALLED)

# The lock files are complete, so pip resolves nothing, and it refuses every file whose hash they lack. torch is the CPU build where
# the indexes have it (PIP_ARGS may name one that does), else that of the plain index: on Linux with NVIDIA's libraries, several GB.
$(INSTALLED): requirements.lock requirements-cpu.lock requirements-cuda.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(LOCKED) requirements.lock
	$(LOCKED) requirements-cpu.lock || \
		{ echo "No CPU build of torch to be had: installing the one with CUDA"; $(LOCKED) requirements-cuda.lock; }
	$(PIP_INSTALL) --no-build-isolation --editable .
	touch $@

repro: setup
	ofa check
	dvc repro

test: setup lint
	python -m pytest

lint: setup
	ruff check .
	ruff format --check .
	mypy

clean:
	rm -rf .venv .work build .mypy_cache .pytest_cache .ruff_cache .hypothesis

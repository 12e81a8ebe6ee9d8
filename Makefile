# make repro: everything, from nothing to release/. make test: the tests. make setup: the virtual environment alone.
# PYTHON: the interpreter that makes the environment. PIP_ARGS: further arguments of pip install (a mirror, an index).
PYTHON ?= python3.11
PIP_ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/installed

# Stages run as `python -m stages.NAME`, so the environment's python comes first.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup repro test lint clean

setup: $(INSTALLED)

$(INSTALLED): requirements.txt requirements-dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
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

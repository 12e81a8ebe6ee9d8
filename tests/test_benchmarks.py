"""The tests do not run benchmarks, but check that these still fit the library they import from."""

import importlib

import pytest

from tests.conftest import REPO


@pytest.mark.parametrize("name", sorted(path.stem for path in (REPO / "benchmarks").glob("[a-z]*.py")))
def test_every_benchmark_can_be_started(name):
    module = importlib.import_module(f"benchmarks.{name}")
    if hasattr(module, "main"):  # else part of others
        assert f"benchmarks.{name}" in module.__doc__  # how to start it

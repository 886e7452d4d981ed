"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib
import warnings

import pytest

MODULES = [f"estimators.{name}" for name in ("isolation_forest", "series", "sequences", "scans")]


@pytest.mark.parametrize("name", [*MODULES, "frames"])
def test_examples_run(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = doctest.testmod(importlib.import_module(f"anomaly_platform.ml.{name}"))
    assert result.attempted
    assert not result.failed

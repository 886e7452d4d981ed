"""The wheel has what an installation needs beside the modules."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


def test_types_migrations_and_the_project_of_dagster_are_in_it(names: set[str]) -> None:
    assert {
        "anomaly_platform/py.typed",
        "anomaly_platform/_migrations/env.py",
        "anomaly_platform/_project/dagster.yaml",
        "anomaly_platform/_project/workspace.yaml",
    } <= names


def test_every_module_is_in_it_and_nothing_of_the_tests(names: set[str]) -> None:
    modules = {str(one.relative_to(ROOT)) for one in ROOT.glob("anomaly_platform/**/*.py")}
    assert modules <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]

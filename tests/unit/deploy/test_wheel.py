"""The wheel has what an installation needs beside the modules."""

from __future__ import annotations

import re
import shutil
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


def test_the_files_that_the_image_copies_are_enough_to_build_it(tmp_path: Path) -> None:
    """The build stops where its hook is left out, in the container as here."""
    dockerfile, ignored = (ROOT / "Dockerfile").read_text(), (ROOT / ".dockerignore").read_text()
    build = dockerfile.split("FROM ")[1]
    let_through = {line[1:] for line in ignored.splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (.*)$", build, flags=re.MULTILINE):
        for name in line.split()[:-1]:
            assert name in let_through
            if (ROOT / name).is_dir():
                without = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, tmp_path / name, ignore=without)
            else:
                shutil.copyfile(ROOT / name, tmp_path / name)
    (wheel,) = WheelBuilder(str(tmp_path)).build(
        directory=str(tmp_path / "dist"), versions=["standard"]
    )
    first = "anomaly_platform/_migrations/versions/000x/0001_first_schema.py"
    with zipfile.ZipFile(wheel) as opened:
        assert first in opened.namelist()

"""What `anomaly api` prepares before it serves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anomaly_platform.cli.services import api
from anomaly_platform.ml import compiled
from anomaly_platform.settings import get_settings


def test_machine_code_is_kept_in_the_home_where_the_package_cannot_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = get_settings(home=tmp_path)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "own"))
    api._keep_machine_code(settings)
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "own")
    # Even root may write nothing there.
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/nothing")
    monkeypatch.setattr(compiled.os, "access", lambda path, _: str(path) != "/proc")
    older = tmp_path / "cache" / "compiled" / f"compiled-{'0' * 16}" / "kernel.nbc"
    older.parent.mkdir(parents=True)
    older.touch()
    api._keep_machine_code(settings)
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "cache" / "compiled")
    assert not older.exists(), "each upgrade leaves its own"
    assert compiled.can_be_kept()

"""`anomaly demo` from nothing to scores and pictures, with nine days of data for five weeks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anomaly_platform.cli import demo
from anomaly_platform.cli.main import app

pytestmark = pytest.mark.integration


@pytest.fixture
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALY_HOME", str(tmp_path))
    # Dagster goes through every day from the first one, at every step.
    monkeypatch.setenv("ANOMALY_START_DATE", demo.START.isoformat())
    monkeypatch.setattr(demo, "TRAINING_DAYS", 7)
    monkeypatch.setattr(demo, "TEST_DAYS", 2)
    monkeypatch.setattr(demo, "_ENTITIES", dict.fromkeys(demo._ENTITIES, 1))
    monkeypatch.setattr(demo, "_SCANS_A_DAY", 200)


@pytest.mark.usefixtures("_small")
def test_every_stream_is_trained_scored_to_the_last_row_and_drawn(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    result = CliRunner().invoke(app, ["demo", "--out", str(pictures)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for stream in ("iiot", "ems", "barcode"):
        assert f"{stream}: training" in result.output
        assert re.search(rf"│ {stream} .*│ +exact │", result.output)
        assert (pictures / f"{stream}.png").read_bytes().startswith(b"\x89PNG")
        assert str(pictures / f"{stream}.png") in result.output
    assert f"ANOMALY_HOME={tmp_path / 'demo'} anomaly up" in result.output

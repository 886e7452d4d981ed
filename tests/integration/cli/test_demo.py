"""`anomaly demo` from nothing to scores and pictures, with nine days of data for five weeks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from anomaly_platform.cli import demo
from tests.builders.commands import invoke

pytestmark = pytest.mark.integration


@pytest.fixture
def _small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALY_HOME", str(folder))
    # Dagster goes through every day from the first one, at every step.
    monkeypatch.setenv("ANOMALY_START_DATE", demo.START.isoformat())
    monkeypatch.setattr(demo, "TRAINING_DAYS", 7)
    monkeypatch.setattr(demo, "TEST_DAYS", 2)
    monkeypatch.setattr(demo, "_ENTITIES", 1)
    monkeypatch.setattr(demo, "_SCANS_A_DAY", 200)


@pytest.mark.usefixtures("_small")
def test_every_stream_is_trained_scored_to_the_last_row_and_drawn(folder: Path) -> None:
    pictures = folder / "pictures"
    said = invoke("demo", "--out", pictures)
    for stream in ("iiot", "ems", "barcode"):
        assert f"{stream}: training" in said
        assert re.search(rf"│ {stream} .*│ +exact │", said)
        assert (pictures / f"{stream}.png").read_bytes().startswith(b"\x89PNG")
        assert str(pictures / f"{stream}.png") in said
    assert f"ANOMALY_HOME={folder / 'demo'} anomaly up" in said

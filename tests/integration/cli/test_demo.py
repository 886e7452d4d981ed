"""`anomaly demo` from nothing to scores and pictures, with nine days of data for five weeks."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from anomaly_platform.assets.raw import ingest_files
from anomaly_platform.cli import demo
from anomaly_platform.cli.runtime import open_platform
from anomaly_platform.platform import Platform
from anomaly_platform.sensors.retraining import ask_for_what_is_due
from anomaly_platform.settings import get_settings
from anomaly_platform.streams import IIOT
from tests.builders.commands import invoke, run_command, too_long

pytestmark = pytest.mark.integration

END = date(2026, 3, 10)
FIRST = END - timedelta(days=8)
STREAMS = ("barcode", "ems", "iiot")


@pytest.fixture
def _small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANOMALY_HOME", str(folder))
    # Before there are data, Dagster goes through every day from this one, at every step.
    monkeypatch.setattr("anomaly_platform.platform._BEFORE_ALL_DATA", FIRST)
    monkeypatch.setattr(demo, "TRAINING_DAYS", 7)
    monkeypatch.setattr(demo, "TEST_DAYS", 2)
    monkeypatch.setattr(demo, "_ENTITIES", 1)
    monkeypatch.setattr(demo, "_SCANS_A_DAY", 200)


def scores(platform: Platform) -> pl.DataFrame:
    columns = ("entity", "metric", "event_time", "value", "score")
    days = [END - timedelta(days=n) for n in range(2)]
    frames = [platform.warehouse.scores.read_day("iiot", day, columns) for day in days]
    return pl.concat(frames).sort(columns)


def has_own_data(folder: Path) -> bool:
    return demo.home_of_demo(get_settings(home=folder)) != folder


@pytest.mark.usefixtures("_small")
def test_every_stream_is_trained_scored_to_the_last_row_and_drawn(
    folder: Path, tmp_path: Path
) -> None:
    pictures = folder / "pictures"
    said = invoke("demo", "--out", pictures, "--end", END, columns=80)
    assert not too_long(said)
    assert "…" not in said.split("Rows, from files")[1], "no heading is cut"
    for stream in STREAMS:
        assert f"{stream}: training" in said
        assert re.search(rf"│ {stream} .*│ +exact │", said)
        assert (pictures / f"{stream}.png").read_bytes().startswith(b"\x89PNG")
        assert str(pictures / f"{stream}.png") in said
    assert said.endswith("\n  anomaly up\n"), "which shows this very home"
    with open_platform(get_settings(home=folder)) as platform:
        # The one device of iiot is silent at first.
        files = [one.stem.removeprefix("iiot-") for one in folder.rglob("simulated/**/iiot-*.csv")]
        begins = dict.fromkeys(STREAMS, FIRST) | {"iiot": date.fromisoformat(min(files))}
        assert platform.first_days.read() == begins
        for one in platform.streams:
            # The printed table stays true: nothing is trained before there are newer data.
            assert ask_for_what_is_due(platform, one) == 0
        first = scores(platform)
    assert first.height
    for command in READING:
        arguments = [one.replace("COPY", str(tmp_path / "copy")) for one in command]
        result = run_command(*arguments, columns=80)
        assert (result.exit_code, too_long(result.output)) == (0, []), (command, result.output)
    invoke("demo", "--out", pictures, "--end", END)
    assert not has_own_data(folder)
    with open_platform(get_settings(home=folder)) as platform:
        assert scores(platform).equals(first), "the same day gives the same bits"
        own = folder / "own.csv"
        own.write_text("device_id,metric_name,timestamp,value\npress-9,load,2026-03-10,1\n")
        platform.landing.put("iiot", own, None)
        ingest_files(platform, IIOT, platform.landing.settled("iiot"), datetime.now(UTC))
    assert has_own_data(folder), "what somebody has put there is not made anew"


READING = (
    ("home",),
    ("streams",),
    ("doctor",),
    ("db", "url"),
    ("models", "list", "iiot"),
    ("models", "list", "barcode"),
    ("models", "show", "iiot", "1"),
    ("models", "show", "barcode", "1"),
    ("alerts", "list"),
    ("alerts", "list", "--all"),
    ("keys", "list"),
    ("layouts", "list"),
    ("labels", "list", "iiot"),
    ("thresholds", "list", "iiot"),
    ("check", "iiot"),
    ("prune", "--dry-run"),
    ("backup", "COPY"),
    ("sql", "SELECT * FROM bi_iiot_scores LIMIT 2"),
    ("sql", "SELECT * FROM bi_iiot_daily LIMIT 2"),
    ("sql", "SELECT 1 AS one, repeat('word ', 40) AS many"),
    ("simulate", "iiot", "--out", "COPY-SIM", "--days", "1", "--entities", "1"),
)


def test_a_home_where_files_wait_is_not_the_demos(folder: Path) -> None:
    assert not has_own_data(folder)
    (folder / "landing" / "ems").mkdir(parents=True)
    assert not has_own_data(folder)
    (folder / "landing" / "ems" / "january.csv").touch()
    assert has_own_data(folder)

"""`anomaly labels` and `anomaly train`: what is entered, and what is refused with a reason."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest

from anomaly_platform.ingest.bucketing import bucket
from anomaly_platform.platform import Platform
from anomaly_platform.settings import Settings
from anomaly_platform.warehouse import Warehouse
from tests.builders.commands import run_command
from tests.builders.readings import START
from tests.builders.tables import count, know_series

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("own_platform")]

DAY = START.date()


def anomaly(*arguments: str) -> tuple[int, str]:
    """Run a command; return its exit code and what it says, in one line."""
    result = run_command(*arguments)
    return result.exit_code, " ".join(result.output.split())


def test_a_training_is_asked_for_once_per_call(warehouse: Warehouse) -> None:
    know_series(warehouse, "iiot", "press-1", "load")
    code, said = anomaly(
        "train", "iiot", "--entity", "press-1", "--metric", "load", "--window-days", "10"
    )
    assert (code, said.startswith("Asked for as")) == (0, True)
    (asked,) = warehouse.training_requests.waiting("iiot")
    assert (asked.entity, asked.metric, asked.window_days) == ("press-1", "load", 10)
    assert asked.cause == "request"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("train", "iiot", "--metric", "load"), "--metric needs --entity"),
        (("train", "iiot", "--entity", "nobody"), "never seen nobody"),
        (("train", "iiot", "--entity", "press-1", "--metric", "x"), "never seen press-1 x"),
        (("train", "barcode", "--entity", "x"), "one model for all of its scans"),
        (("labels", "add", "iiot", "press-1", "2026-01-05", "--anomaly"), "--metric"),
        (("labels", "add", "iiot", "p", "noon", "--anomaly", "--metric", "m"), "ISO 8601"),
        (("labels", "add", "nowhere", "p", "2026-01-05", "--anomaly"), "nowhere"),
    ],
)
def test_what_cannot_be_is_refused(
    warehouse: Warehouse, arguments: tuple[str, ...], reason: str
) -> None:
    know_series(warehouse, "iiot", "press-1", "load")
    code, said = anomaly(*arguments)
    assert code == 2
    assert reason in said.replace("│ ", "")
    assert count(warehouse, "training_requests") == 0


def test_labels_come_from_the_command_line_and_from_files(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    know_series(warehouse, "iiot", "press-1", "load")
    reading = ("press-1", "2026-01-05T00:05:00Z")
    assert anomaly("labels", "add", "iiot", *reading, "--normal", "--metric", "load")[0] == 0
    file = tmp_path / "labels.csv"
    file.write_text(
        "entity,metric,event_time,is_anomaly,comment\n"
        "press-1,load,2026-01-05T00:05:00Z,true,bearing\n"
        "press-1,load,2026-01-05 00:10:00,no,\n"
    )
    code, said = anomaly("labels", "import", "iiot", str(file))
    assert (code, "2 labels stored" in said) == (0, True)
    assert warehouse.labels.between("iiot")["is_anomaly"].to_list() == [True, False]
    assert "bearing" in anomaly("labels", "list", "iiot")[1]
    file.write_text("entity,metric,event_time,is_anomaly\np,load,2026-01-05,true\np,load,x,maybe\n")
    code, said = anomaly("labels", "import", "iiot", str(file))
    assert code == 2
    assert "line 3" in said
    file.write_text("entity,is_anomaly\n")
    assert "lacks the columns metric, event_time" in anomaly("labels", "import", "iiot", str(file))[
        1
    ].replace("│ ", "")
    assert len(warehouse.labels.newest("iiot")) == 3


def test_wrong_lines_of_a_file_are_named_together(warehouse: Warehouse, tmp_path: Path) -> None:
    know_series(warehouse, "iiot", "press-1", "load")
    file = tmp_path / "labels.csv"
    lines = [
        "press-1,load,2026-01-05,true",
        "nobody,load,2026-01-05,true",
        "press-1,load,noon,true",
        "press-1,load,2026-01-05,maybe",
        *["press-1,,2026-01-05,true"] * 30,
    ]
    file.write_text("\n".join(("entity,metric,event_time,is_anomaly", *lines)) + "\n")
    code, said = anomaly("labels", "import", "iiot", str(file))
    said = said.replace("│ ", "")
    assert code == 2
    assert "nothing was stored" in said
    assert "line 2:" not in said
    assert "line 3: iiot has no readings of 'nobody' 'load'" in said
    assert "line 4: event_time 'noon'" in said
    assert "line 5: is_anomaly 'maybe'" in said
    assert "line 22: " in said
    assert "line 23: " not in said
    assert "and 13 more" in said
    assert warehouse.labels.newest("iiot") == []


def validated(platform: Platform, stream: str, **key: str) -> None:
    """Publish a day that holds one reading."""
    rows = pl.DataFrame(
        {"bucket": [bucket(next(iter(key.values())))], "event_time": [START], **key},
        schema_overrides={"event_time": pl.Datetime("us", "UTC"), "bucket": pl.Int32},
    )
    stage = "validated_events"
    written = platform.lake.write(stage, stream, DAY.isoformat(), [rows])
    platform.warehouse.partitions.publish(
        stream, stage, DAY.isoformat(), path=written.path, rows=1, watermark=1
    )


def test_labels_without_a_reading_are_stored_and_told_of(
    warehouse: Warehouse, settings: Settings, tmp_path: Path
) -> None:
    know_series(warehouse, "iiot", "press-1", "load")
    platform = Platform(settings)
    validated(platform, "iiot", entity="press-1", metric="load")
    with warehouse.transactions.begin() as connection:
        connection.execute(
            "INSERT INTO online_readings (stream, event_id, entity, metric, event_time, value, "
            "source, threshold, status) VALUES "
            "('iiot', %s, 'press-1', 'load', %s, 1.0, 'api', 0.7, 'insufficient_history')",
            (uuid4(), START + timedelta(minutes=1)),
        )
    file = tmp_path / "labels.csv"
    times = [f"2026-01-05T00:0{minute}:00Z" for minute in range(3)]
    file.write_text(
        "entity,metric,event_time,is_anomaly\n"
        + "".join(f"press-1,load,{time},true\n" for time in times)
    )
    assert anomaly("labels", "import", "iiot", str(file)) == (
        0,
        "3 labels stored; 1 of them has no reading yet: press-1 load 2026-01-05T00:02:00Z",
    )
    assert len(warehouse.labels.newest("iiot")) == 3
    tomorrow = ("press-1", "2026-01-06T01:00:00+01:00", "--metric", "load", "--normal")
    said = anomaly("labels", "add", "iiot", *tomorrow)[1]
    assert said == "1 label stored; it has no reading yet: press-1 load 2026-01-06T00:00:00Z"


def test_labels_of_scans_need_no_metric(warehouse: Warehouse, settings: Settings) -> None:
    validated(Platform(settings), "barcode", epc_code="001.1")
    scan = ("labels", "add", "barcode", "001.1")
    assert anomaly(*scan, "2026-01-05T00:00:00Z", "--anomaly") == (0, "1 label stored.")
    (label,) = warehouse.labels.newest("barcode")
    assert (label.entity, label.metric) == ("001.1", "scan")
    _, said = anomaly(*scan, "2026-01-05T00:05:00Z", "--anomaly")
    assert said == "1 label stored; it has no reading yet: 001.1 scan 2026-01-05T00:05:00Z"


def test_a_label_of_an_unknown_series_is_refused_by_name(warehouse: Warehouse) -> None:
    know_series(warehouse, "iiot", "press-1", "load")
    code, said = anomaly(
        "labels", "add", "iiot", "nobody", "2026-01-05T12:00:00Z", "--metric", "load", "--normal"
    )
    assert code == 2
    assert "no readings of 'nobody' 'load'" in said
    assert warehouse.labels.newest("iiot", limit=10) == []


def test_a_threshold_is_set_listed_and_unset(warehouse: Warehouse) -> None:
    know_series(warehouse, "iiot", "press-1", "load")
    series = ("iiot", "press-1", "load")
    assert "No series has its own" in anomaly("thresholds", "list", "iiot")[1]
    assert anomaly("thresholds", "set", *series, "0.85")[0] == 0
    listed = anomaly("thresholds", "list", "iiot")[1]
    assert "0.8500" in listed
    assert "(command line)" in listed
    code, said = anomaly("thresholds", "unset", *series)
    assert (code, said) == (0, "The threshold of press-1 load is 0.7 again.")
    assert warehouse.labels.thresholds.all("iiot") == {}
    with warehouse.transactions.begin() as connection:
        audited = connection.execute("SELECT action, before FROM audit_log ORDER BY id").fetchall()
    assert [action for action, _ in audited] == ["threshold.set", "threshold.clear"]
    assert audited[1][1] == {"threshold": 0.85, "origin": "person"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("set", "iiot", "press-1", "load", "1.5"), "from 0"),
        (("set", "iiot", "press-1", "load", "nan"), "to 1"),
        (("set", "iiot", "press-9", "load", "0.8"), "never seen press-9"),
        (("set", "barcode", "x", "y", "0.8"), "one threshold for all"),
        (("unset", "iiot", "press-1", "load"), "nobody set a threshold"),
        (("list", "nowhere"), "nowhere"),
    ],
)
def test_a_threshold_that_cannot_be_is_refused(
    warehouse: Warehouse, arguments: tuple[str, ...], reason: str
) -> None:
    know_series(warehouse, "iiot", "press-1", "load")
    code, said = anomaly("thresholds", *arguments)
    assert code == 2
    assert reason in said.replace("│ ", "")
    assert warehouse.labels.thresholds.all("iiot") == {}

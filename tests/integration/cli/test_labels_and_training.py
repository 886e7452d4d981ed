"""`anomaly labels` and `anomaly train`: what is entered, and what is refused with a reason."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from anomaly_platform.cli.main import app
from anomaly_platform.resources.warehouse import Warehouse
from anomaly_platform.settings import Settings

pytestmark = pytest.mark.integration

DAY = dt.date(2026, 1, 5)
FIRST = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, settings: Settings, database_url: str) -> None:
    monkeypatch.setenv("ANOMALY_HOME", str(settings.home))
    monkeypatch.setenv("ANOMALY_DATABASE_URL", database_url)


def anomaly(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return result.exit_code, " ".join(result.output.split())


def known(warehouse: Warehouse) -> None:
    extents = pl.DataFrame(
        {
            "entity": ["press-1"],
            "metric": ["load"],
            "rows": [288],
            "first_event": [FIRST],
            "last_event": [FIRST + dt.timedelta(hours=23)],
        }
    )
    warehouse.series.replace_day("iiot", DAY, extents)


def test_a_training_is_asked_for_once_per_call(warehouse: Warehouse) -> None:
    known(warehouse)
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
    known(warehouse)
    code, said = anomaly(*arguments)
    assert code == 2
    assert reason in said.replace("│ ", "")
    assert warehouse.training_requests.newest() == []


def test_labels_come_from_the_command_line_and_from_files(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    known(warehouse)
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
    labels = warehouse.labels.of_series("iiot", "press-1", "load")
    assert [one.is_anomaly for one in labels] == [True, False]
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


def test_labels_of_scans_need_no_metric(warehouse: Warehouse) -> None:
    code, _ = anomaly("labels", "add", "barcode", "001.1", "2026-01-05T00:05:00Z", "--anomaly")
    assert code == 0
    (label,) = warehouse.labels.newest("barcode")
    assert (label.entity, label.metric) == ("001.1", "scan")


def test_a_label_of_an_unknown_series_is_refused_by_name(warehouse: Warehouse) -> None:
    known(warehouse)
    code, said = anomaly(
        "labels", "add", "iiot", "nobody", "2026-01-05T12:00:00Z", "--metric", "load", "--normal"
    )
    assert code == 2
    assert "no readings of 'nobody' 'load'" in said
    assert warehouse.labels.newest("iiot", limit=10) == []


def test_a_threshold_is_set_listed_and_unset(warehouse: Warehouse) -> None:
    known(warehouse)
    series = ("iiot", "press-1", "load")
    assert "No series has its own" in anomaly("thresholds", "list", "iiot")[1]
    assert anomaly("thresholds", "set", *series, "0.85")[0] == 0
    listed = anomaly("thresholds", "list", "iiot")[1]
    assert "0.8500" in listed
    assert "(command line)" in listed
    code, said = anomaly("thresholds", "unset", *series)
    assert (code, said) == (0, "The threshold of press-1 load is 0.7 again.")
    assert warehouse.labels.thresholds.get(*series) is None
    with warehouse.transactions.begin() as connection:
        audited = connection.execute("SELECT action, before FROM audit_log ORDER BY id").fetchall()
    assert [action for action, _ in audited] == ["threshold.set", "threshold.clear"]
    assert audited[1][1] == {"threshold": 0.85, "origin": "person"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("set", "iiot", "press-1", "load", "0"), "above 0"),
        (("set", "iiot", "press-1", "load", "1"), "below 1"),
        (("set", "iiot", "press-9", "load", "0.8"), "never seen press-9"),
        (("set", "barcode", "x", "y", "0.8"), "one threshold for all"),
        (("unset", "iiot", "press-1", "load"), "nobody set a threshold"),
        (("list", "nowhere"), "nowhere"),
    ],
)
def test_a_threshold_that_cannot_be_is_refused(
    warehouse: Warehouse, arguments: tuple[str, ...], reason: str
) -> None:
    known(warehouse)
    code, said = anomaly("thresholds", *arguments)
    assert code == 2
    assert reason in said.replace("│ ", "")
    assert warehouse.labels.thresholds.all("iiot") == {}

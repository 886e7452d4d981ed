"""Calls raise alerts and so do severe anomalies; other anomalies keep an open alert open."""

from __future__ import annotations

import datetime as dt
from itertools import product
from typing import Any
from uuid import UUID

import numpy as np
import polars as pl
import pytest

from anomaly_platform.incidents.anomaly_alerts import METRIC_ROWS, DayAlerts
from anomaly_platform.ml.scoring.calls import FIRST, calls_of
from anomaly_platform.notifications.outbox import Alert, Outbox
from anomaly_platform.realtime.alerts import raise_for
from anomaly_platform.storage.tables.online import StoredReading
from anomaly_platform.streams import IIOT
from anomaly_platform.warehouse import Warehouse
from tests.builders.scored_rows import DAY, replace_day, scored

pytestmark = pytest.mark.integration

MIDNIGHT = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
STEP = dt.timedelta(minutes=5)
#: The last of twenty readings is five minutes old.
SOON = MIDNIGHT + 20 * STEP


def store(warehouse: Warehouse, frame: pl.DataFrame, now: dt.datetime = SOON) -> None:
    """Replace the day, whose alerts the moments of the test's clock then have."""
    replace_day(
        warehouse.scores,
        "ems",
        DAY,
        [frame],
        watermark=int(now.timestamp()),
        alerts=DayAlerts(Outbox(), "ems", "Hosts", DAY, METRIC_ROWS, now),
    )
    with warehouse.transactions.begin() as connection:
        connection.execute("UPDATE alerts SET last_seen_at = least(last_seen_at, %s)", (now,))


def told(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    with warehouse.transactions.begin() as connection:
        return connection.execute(
            "SELECT subject, severity, state FROM notifications ORDER BY seq"
        ).fetchall()


def anomalies(scores: list[float], calls: list[bool | None], rows: int = 20) -> pl.DataFrame:
    """Return a host whose last readings are anomalies of these scores, and the calls among them."""
    frame = scored(1, flagged=len(scores), rows=rows)
    before = [False] * (rows - len(scores))
    return frame.with_columns(
        pl.Series("score", [*frame["score"][: len(before)], *scores]),
        pl.Series("entity_is_call", [*before, *calls], dtype=pl.Boolean),
    )


def test_a_host_that_drifts_for_long_is_told_of_few_times_and_stays_open(
    warehouse: Warehouse,
) -> None:
    hours = 12
    every = 12 * hours
    calls, _ = calls_of(np.full(every, 0.004), 0.01, FIRST)
    day = anomalies([0.75] * every, calls.tolist(), rows=every + 1)
    now = MIDNIGHT
    for hour in range(1, hours + 1):
        now = MIDNIGHT + hour * dt.timedelta(hours=1)
        store(warehouse, day.filter(pl.col("event_time") <= now), now)
        if hour == 1:
            assert told(warehouse) == [("host-0", "warning", "firing")], "its beginning"
        with warehouse.transactions.begin() as connection:
            connection.execute(
                "UPDATE alerts SET last_notified_at = last_notified_at - interval '1 hour'"
            )
    with_calls = calls.reshape(hours, 12).any(axis=1).sum()
    assert with_calls < hours / 4
    assert told(warehouse) == [("host-0", "warning", "firing")] * with_calls
    with warehouse.transactions.begin() as connection:
        rows = connection.execute("SELECT state, last_seen_at FROM alerts").fetchall()
    assert rows == [("open", now)]


def test_a_severe_anomaly_after_calls_is_told_at_once(warehouse: Warehouse) -> None:
    store(warehouse, anomalies([0.75, 0.75], [True, False]))
    store(warehouse, anomalies([0.75] * 3, [True, False, False], rows=21), SOON + STEP)
    assert told(warehouse) == [("host-0", "warning", "firing")]
    store(warehouse, anomalies([0.75] * 3 + [0.9], [True] + [False] * 3, rows=22), SOON + 2 * STEP)
    assert told(warehouse)[1:] == [("host-0", "critical", "firing")]


def test_an_anomaly_that_is_no_call_opens_nothing(warehouse: Warehouse) -> None:
    store(warehouse, anomalies([0.75, 0.75], [False, False]))
    assert told(warehouse) == []


def test_rows_from_before_there_were_calls_alert_as_anomalies(warehouse: Warehouse) -> None:
    store(warehouse, anomalies([0.75], [None]))
    assert told(warehouse) == [("host-0", "warning", "firing")]


def test_the_call_of_the_whole_decides_where_there_is_one(warehouse: Warehouse) -> None:
    last = pl.col("event_time") == pl.col("event_time").max()
    frame = scored(3, flagged=0).with_columns(
        (last & (pl.col("entity") != "host-0")).alias("is_call"),
        pl.when(last & (pl.col("entity") == "host-1")).then(False).alias("entity_is_call"),
    )
    store(warehouse, frame)
    assert [subject for subject, *_ in told(warehouse)] == ["host-2"]


@pytest.mark.parametrize("is_open", [False, True])
def test_readings_taken_one_by_one_alert_as_the_batch_does(
    warehouse: Warehouse, is_open: bool
) -> None:
    """Scores on both sides of what is severe, and at it, at three thresholds."""
    scores = [(0.75, 0.7), (0.88, 0.7), (0.95, 0.7), (0.95, 0.9), (0.96, 0.9), (1.0, 1.0)]
    cases = list(product(scores, (True, False), (None, True, False)))
    rows = scored(len(cases), flagged=1).filter(pl.col("event_time") == SOON - STEP)
    frame = rows.with_columns(
        pl.Series("score", [score for (score, _), *_ in cases]),
        pl.Series("threshold", [threshold for (_, threshold), *_ in cases]),
        pl.Series("is_anomaly", [is_anomaly for _, is_anomaly, _ in cases]),
        pl.Series("is_call", [is_call for *_, is_call in cases], dtype=pl.Boolean),
    )
    outbox = Outbox()
    with warehouse.transactions.begin() as connection:
        for stream, entity in product(("ems", "iiot"), frame["entity"] if is_open else ()):
            name = f"anomaly/{stream}/{entity}"
            outbox.raise_alert(
                connection,
                Alert("anomaly", name, entity, "warning", "before", stream),
                now=MIDNIGHT,
            )
    store(warehouse, frame)
    readings = [
        StoredReading(
            UUID(row["event_id"]), row["entity"], row["metric"],
            int(row["event_time"].timestamp() * 1e6), row["value"], None, row["score"],
            row["p_value"], row["is_anomaly"], row["threshold"], row["status"], False, None,
            row["is_call"],
        )
        for row in frame.iter_rows(named=True)
        if row["is_anomaly"] or row["is_call"]
    ]  # fmt: skip
    with warehouse.transactions.begin() as connection:
        raise_for(connection, outbox, IIOT, readings, SOON)
        batch, online = (
            connection.execute(
                "SELECT subject, severity, occurrences, details -> 'anomalies', "
                "details -> 'score', last_seen_at >= %s FROM alerts WHERE stream = %s "
                "ORDER BY subject",
                (SOON, stream),
            ).fetchall()
            for stream in ("ems", "iiot")
        )
    assert batch == online
    raised = {subject for subject, _, occurrences, *_ in online if occurrences == 1 + is_open}
    severe = [(score - limit) >= 0.6 * (1 - limit) for score, limit in scores]
    assert len(raised) == 3 * len(scores) + sum(severe)

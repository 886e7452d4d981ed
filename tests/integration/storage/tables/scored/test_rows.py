"""A scored day is replaced as a whole, or stays, whoever writes and whenever they die."""

from __future__ import annotations

import contextlib
import datetime as dt
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from anomaly_platform.storage.postgres.transactions import StaleInput
from anomaly_platform.storage.tables.scored.metrics import SCORED_METRICS
from anomaly_platform.warehouse import Warehouse
from tests import builders
from tests.builders.models import HOSTS, register
from tests.builders.scored_rows import DAY, replace_day, scored

pytestmark = pytest.mark.integration

_WRITER = """
import sys
import time
sys.path.insert(0, sys.argv[2])
import contextlib
from tests.builders.scored_rows import DAY, replace_day, scored
from anomaly_platform.warehouse import Warehouse
url, _, value, watermark, how = sys.argv[1:]

def chunks():
    frame = scored(40, value=float(value), rows=200)
    yield frame.head(4000)
    if how == "hang":
        print("half", flush=True)
        sys.stdin.read()
    yield frame.tail(-4000)

with contextlib.closing(Warehouse(url)) as warehouse:
    if how == "race":
        print("ready", flush=True)
        sys.stdin.readline()
    for _ in range(5 if how == "race" else 1):
        replace_day(warehouse.scores, "ems", DAY, chunks(), watermark=int(watermark))
"""


def replace(
    warehouse: Warehouse,
    *chunks: pl.DataFrame,
    watermark: int = 1,
    version: int | None = None,
    day: dt.date = DAY,
) -> None:
    replace_day(warehouse.scores, "ems", day, chunks, watermark=watermark, bundle_version=version)


def detections(warehouse: Warehouse) -> list[tuple[object, ...]]:
    with warehouse.transactions.begin() as connection:
        return connection.execute(
            "SELECT id, model_id, device_id, score, confidence, source, metadata "
            "FROM anomaly_detections ORDER BY device_id"
        ).fetchall()


def champion(warehouse: Warehouse, version: int) -> None:
    while register(warehouse, "ems", series=HOSTS) < version:
        continue
    warehouse.bundles.promote_set("ems", {"isolation_forest": version}, "test")


def writer(url: str, value: float, watermark: int, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            _WRITER,
            url,
            str(Path(builders.__file__).parents[2]),
            str(value),
            str(watermark),
            how,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_detection_says_whether_a_model_had_a_say(warehouse: Warehouse) -> None:
    frame = scored(2).with_columns(
        status=pl.when(pl.col("entity") == "host-0")
        .then(pl.lit("insufficient_history"))
        .otherwise("status")
    )
    replace(warehouse, frame)
    said = [row[6]["detector"] for row in detections(warehouse)]  # type: ignore[index]
    assert said == ["statistical", "isolation_forest"]


def test_what_was_written_is_read_back(warehouse: Warehouse) -> None:
    frame = scored(5)
    replace(warehouse, frame.head(37), frame.tail(-37))
    back = warehouse.scores.read_day("ems", DAY)
    assert list(back.columns) == list(SCORED_METRICS.columns)
    expected = frame.sort("entity", "metric", "event_time")
    for name in frame.columns:
        if name != "causes":
            assert back[name].equals(expected[name], null_equal=True), name
    assert back["causes"].null_count() == 95
    stored = warehouse.scores.scored_day("ems", DAY)
    assert stored is not None
    assert (stored.rows, stored.anomalies, stored.watermark) == (100, 5, 1)
    assert warehouse.scores.count_rows("ems", DAY) == 100


def test_a_day_is_replaced_and_others_are_not_touched(warehouse: Warehouse) -> None:
    other = DAY + dt.timedelta(days=1)
    replace(warehouse, scored(3, day=other), day=other)
    replace(warehouse, scored(3))
    replace(warehouse, scored(2, value=7.0, flagged=2), watermark=2)
    assert warehouse.scores.count_rows("ems", DAY) == 40
    assert set(warehouse.scores.read_day("ems", DAY)["value"].drop_nulls()) == {7.0}
    assert warehouse.scores.count_rows("ems", other) == 60
    assert [day.day for day in warehouse.scores.scored_days("ems")] == [DAY, other]


def test_detections_follow_their_day_with_stable_ids(warehouse: Warehouse) -> None:
    champion(warehouse, 1)
    replace(warehouse, scored(2), version=1)
    first = detections(warehouse)
    assert len(first) == 2
    assert all(row[1] is not None for row in first), "each names its model"
    assert first[0][3:6] == (0.9, pytest.approx(2 / 3), "batch")
    assert first[0][6]["causes"] == [{"metric": "cpu"}]  # type: ignore[index]
    replace(warehouse, scored(2), version=1, watermark=2)
    assert detections(warehouse) == first
    replace(warehouse, scored(2, flagged=0), version=1, watermark=3)
    assert detections(warehouse) == []


def test_verdicts_given_in_real_time_stay(warehouse: Warehouse) -> None:
    replace(warehouse, scored(1))
    with warehouse.transactions.begin() as connection:
        connection.execute(
            "INSERT INTO anomaly_detections (id, stream, device_id, metric_name, is_anomaly, "
            '"timestamp", source, event_id, threshold, day) VALUES (gen_random_uuid(), '
            "'ems', 'host-0', 'cpu', true, now(), 'realtime', gen_random_uuid(), 0.7, %s)",
            (DAY,),
        )
    replace(warehouse, scored(1, flagged=0), watermark=2)
    assert [row[5] for row in detections(warehouse)] == ["realtime"]


def test_older_input_is_refused(warehouse: Warehouse) -> None:
    replace(warehouse, scored(3), watermark=5)
    with pytest.raises(StaleInput, match=r"newer input \(5\) than 4"):
        replace(warehouse, scored(1), watermark=4)
    assert warehouse.scores.count_rows("ems", DAY) == 60
    replace(warehouse, scored(2), watermark=5)
    assert warehouse.scores.count_rows("ems", DAY) == 40, "the same input is done again"


def test_a_bundle_of_yesterday_does_not_overwrite_the_champion(warehouse: Warehouse) -> None:
    champion(warehouse, 2)
    replace(warehouse, scored(1), version=1)
    replace(warehouse, scored(2), version=2)
    for version in (1, None):
        with pytest.raises(StaleInput, match=r"version (1|None) is not the champion"):
            replace(warehouse, scored(1), version=version)
    assert warehouse.scores.count_rows("ems", DAY) == 40
    replace(warehouse, scored(3), version=1, watermark=2)
    assert warehouse.scores.count_rows("ems", DAY) == 60, "newer input counts for more"


def test_rows_of_other_days_and_broken_rows_change_nothing(warehouse: Warehouse) -> None:
    replace(warehouse, scored(3))
    with pytest.raises(ValueError, match="event times of other days"):
        replace(warehouse, scored(1, day=DAY + dt.timedelta(days=1)), watermark=2)
    doubled = scored(1)
    with pytest.raises(Exception, match="duplicate key"):
        replace(warehouse, doubled, doubled, watermark=2)
    assert warehouse.scores.count_rows("ems", DAY) == 60
    stored = warehouse.scores.scored_day("ems", DAY)
    assert stored is not None
    assert stored.watermark == 1


def test_a_source_that_breaks_leaves_the_old_day(warehouse: Warehouse) -> None:
    replace(warehouse, scored(3))

    def chunks() -> Iterator[pl.DataFrame]:
        yield scored(1)
        raise RuntimeError("the disk broke")

    with pytest.raises(RuntimeError, match="the disk broke"):
        replace_day(warehouse.scores, "ems", DAY, chunks(), watermark=2)
    assert warehouse.scores.count_rows("ems", DAY) == 60


def test_a_writer_killed_half_way_leaves_the_old_day(
    warehouse: Warehouse, database_url: str
) -> None:
    replace(warehouse, scored(3))
    killed = writer(database_url, 9.0, 2, "hang")
    assert killed.stdout is not None
    assert killed.stdout.readline() == "half\n"
    assert warehouse.scores.count_rows("ems", DAY) == 60, "readers see the old day meanwhile"
    killed.kill()
    killed.wait()
    assert warehouse.scores.count_rows("ems", DAY) == 60
    replace(warehouse, scored(2), watermark=3)
    assert warehouse.scores.count_rows("ems", DAY) == 40, "its lock went with it"


def test_two_processes_over_one_day_leave_one_consistent_day(
    warehouse: Warehouse, database_url: str
) -> None:
    writers = [writer(database_url, value, 1, "race") for value in (1.0, 2.0)]
    for one in writers:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in writers:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    seen = set()
    while any(one.poll() is None for one in writers):
        rows = warehouse.scores.read_day("ems", DAY, ["value"])
        values = frozenset(rows["value"].drop_nulls().to_list())
        seen.add((rows.height, values))
    assert [one.wait() for one in writers] == [0, 0]
    seen.add((8000, frozenset(warehouse.scores.read_day("ems", DAY)["value"].drop_nulls())))
    assert seen <= {(0, frozenset()), (8000, frozenset({1.0})), (8000, frozenset({2.0}))}
    assert len(detections(warehouse)) == 40
    stored = warehouse.scores.scored_day("ems", DAY)
    assert stored is not None
    assert (stored.rows, stored.anomalies) == (8000, 40)


def test_what_a_server_allows_to_idle_transactions_does_not_end_a_day(
    warehouse: Warehouse, database_url: str
) -> None:
    name = warehouse.transactions.value("SELECT current_database()")
    for limit in ("idle_in_transaction_session_timeout", "transaction_timeout"):
        warehouse.transactions.execute(f'ALTER DATABASE "{name}" SET {limit} = 300'.encode())

    def chunks() -> Iterator[pl.DataFrame]:
        frame = scored(3)
        yield frame.head(30)
        time.sleep(0.6)
        yield frame.tail(-30)

    with contextlib.closing(Warehouse(database_url)) as limited:
        assert replace_day(limited.scores, "ems", DAY, chunks()).rows == 60
        limit = limited.transactions.value("SHOW idle_in_transaction_session_timeout")
        assert limit == "300ms", "other transactions are limited as before"


def test_what_a_server_allows_to_statements_and_locks_does_not_end_the_wait_for_a_day(
    warehouse: Warehouse, database_url: str
) -> None:
    name = warehouse.transactions.value("SELECT current_database()")
    for limit in ("statement_timeout", "lock_timeout"):
        warehouse.transactions.execute(f'ALTER DATABASE "{name}" SET {limit} = 300'.encode())
    made_by = {"detector": "isolation_forest", "bundle_version": None}
    with contextlib.closing(Warehouse(database_url)) as limited, ThreadPoolExecutor(1) as thread:
        with limited.scores.replacing("ems", DAY, watermark=1, **made_by) as first:
            second = thread.submit(
                replace_day, limited.scores, "ems", DAY, [scored(2)], watermark=2, **made_by
            )
            first.add(scored(3))
            time.sleep(0.6)
        assert second.result().rows == 40
        assert limited.transactions.value("SHOW lock_timeout") == "300ms"


def test_a_chunk_is_stored_while_the_next_is_made_and_seen_with_the_last(
    warehouse: Warehouse,
) -> None:
    replace(warehouse, scored(1))
    frame = scored(3)
    began = dt.datetime.now(dt.UTC)
    with warehouse.scores.replacing(
        "ems", DAY, watermark=2, detector="isolation_forest", bundle_version=None
    ) as new:
        new.add(frame.head(30))
        assert new.count() == 30
        assert warehouse.scores.count_rows("ems", DAY) == 20
        time.sleep(0.2)
        new.add(frame.tail(-30))
    assert warehouse.scores.count_rows("ems", DAY) == 60
    assert (new.stored.rows, new.stored.anomalies) == (60, 3)
    assert new.stored.written_at - began >= dt.timedelta(seconds=0.2), "when it had ended"
    # The transaction began before the rows were made: who polls for newer ones would miss them.
    created_at = warehouse.transactions.value("SELECT min(created_at) FROM anomaly_detections")
    assert created_at - began >= dt.timedelta(seconds=0.2)

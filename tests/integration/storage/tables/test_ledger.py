"""The ledger takes a content once, in order of commit, and knows which days are behind."""

from __future__ import annotations

import datetime as dt
import threading

import polars as pl
import pytest

from anomaly_platform.streams.staleness import input_watermarks, stale_scored_days
from anomaly_platform.warehouse import Warehouse
from tests.builders.scored_rows import replace_day

pytestmark = pytest.mark.integration

DAY = dt.date(2026, 1, 5)


def days_from(*offsets: int) -> dict[dt.date, int]:
    return {DAY + dt.timedelta(days=offset): 10 for offset in offsets}


def ingest(warehouse: Warehouse, digest: str, *offsets: int, stream: str = "ems") -> int:
    entry, _ = warehouse.ledger.record_ingest(
        stream,
        digest,
        source=f"{digest}.csv",
        raw_path=f"raw/{stream}/{digest}.parquet",
        rows_in=10 * len(offsets),
        days=days_from(*offsets),
    )
    return entry.seq


def score(warehouse: Warehouse, offset: int, watermark: int) -> None:
    replace_day(warehouse.scores, "ems", DAY + dt.timedelta(days=offset), [], watermark=watermark)


def stale(warehouse: Warehouse, lookback_days: int = 1) -> dict[int, int]:
    state = warehouse.progress.state("ems", "isolation_forest", 100)
    needed = input_watermarks(state.days, lookback_days)
    return {(day - DAY).days: needed[day] for day in stale_scored_days(state, lookback_days)}


def test_a_content_counts_once(warehouse: Warehouse) -> None:
    rejects = pl.DataFrame(
        {
            "row_number": [3, 4],
            "column": ["", None],
            "field": ["event_time", "event_time"],
            "reason": ["no time", "no time"],
            "raw": ['{"a": "x\x00y"}', None],
        }
    )
    arguments = {
        "source": "a.csv",
        "raw_path": "raw/a",
        "rows_in": 12,
        "days": days_from(0),
        "rejects": rejects,
        "mapping": {"set": {"device": "\x00"}},
    }
    first, is_new = warehouse.ledger.record_ingest("ems", "a", **arguments)
    assert (first.times_seen, first.last_seen_at) == (1, first.ingested_at)
    warehouse.ledger.record_repeat("ems", "a")
    first = warehouse.ledger.find("ems", "a")
    assert first is not None
    assert first.times_seen == 2
    assert first.last_seen_at > first.ingested_at
    again, is_new_again = warehouse.ledger.record_ingest("ems", "a", **arguments)
    assert (is_new, is_new_again) == (True, False)
    assert first == again
    assert (first.rows_in, first.rows_quarantined, first.status) == (12, 2, "ingested")
    assert first.ingest_date == dt.datetime.now(dt.UTC).date()
    assert warehouse.quarantine.reasons("ems") == {"no time": 2}
    assert [file.rows for file in warehouse.ledger.raw_files("ems", DAY)] == [10]
    assert warehouse.ledger.find("ems", "b") is None
    assert warehouse.ledger.find("iiot", "a") is None, "streams keep to themselves"


def test_many_at_once_take_a_content_once(warehouse: Warehouse) -> None:
    made = []

    def record() -> None:
        _, is_new = warehouse.ledger.record_ingest(
            "ems", "a", source="a.csv", raw_path="raw/a", rows_in=10, days=days_from(0)
        )
        made.append(is_new)

    threads = [threading.Thread(target=record) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 5 + [True]
    assert len(warehouse.ledger.entries("ems")) == 1


def test_a_refused_file_is_in_quarantine_and_can_be_taken_in_later(warehouse: Warehouse) -> None:
    refused, is_new = warehouse.ledger.record_rejected(
        "ems", "a", source="a\udc80\x00.gz", reason="truncated gzip\x00"
    )
    assert is_new
    assert (refused.status, refused.reason) == ("rejected", "truncated gzip\u2400")
    assert warehouse.quarantine.reasons("ems") == {"truncated gzip\u2400": 1}
    assert stale(warehouse) == {}
    _, repeated = warehouse.ledger.record_rejected("ems", "a", source="a.gz", reason="other")
    assert not repeated
    assert ingest(warehouse, "a", 0) > refused.seq
    assert warehouse.quarantine.reasons("ems") == {}
    entry, _ = warehouse.ledger.record_rejected("ems", "a", source="a.gz", reason="other")
    assert entry.status == "ingested", "what is in stays in"


def test_days_are_stale_until_scored_with_all_their_input(warehouse: Warehouse) -> None:
    first = ingest(warehouse, "a", 0, 1, 5)
    assert stale(warehouse) == {0: first, 1: first, 5: first}
    for offset in (0, 1, 5):
        score(warehouse, offset, first)
    assert stale(warehouse) == {}
    days = warehouse.progress.state("ems", "isolation_forest", 100).days
    assert [one.day for one in days] == [DAY + dt.timedelta(days=n) for n in (0, 1, 5)]


def test_late_data_reaches_the_days_that_look_back_on_it(warehouse: Warehouse) -> None:
    first = ingest(warehouse, "a", 0, 1, 2, 3)
    for offset in range(4):
        score(warehouse, offset, first)
    late = ingest(warehouse, "late", 1)
    assert stale(warehouse, lookback_days=0) == {1: late}
    assert stale(warehouse, lookback_days=1) == {1: late, 2: late}
    assert stale(warehouse, lookback_days=2) == {1: late, 2: late, 3: late}
    assert warehouse.ledger.watermark("ems", DAY) == first
    assert warehouse.ledger.watermark("ems", DAY + dt.timedelta(days=1)) == late
    assert warehouse.ledger.watermark("iiot", DAY) == 0


def test_a_failed_scoring_leaves_its_day_stale(warehouse: Warehouse) -> None:
    first = ingest(warehouse, "a", 0)
    with pytest.raises(ValueError, match="lack the columns"):
        replace_day(
            warehouse.scores, "ems", DAY, [pl.DataFrame({"entity": ["a"]})], watermark=first
        )
    assert stale(warehouse) == {0: first}


def test_a_slow_commit_cannot_hide_behind_a_faster_one(warehouse: Warehouse) -> None:
    """The number of a commit in progress stays below those after it, whoever is faster."""
    from anomaly_platform.storage.postgres.transactions import lock

    order = []
    entered = threading.Event()

    def slow() -> None:
        with warehouse.transactions.begin() as connection:
            lock(connection, "ledger", "ems")
            entered.set()
            fast_thread.join(0.5)
            assert fast_thread.is_alive(), "the other commit waits"
            order.append("slow")

    def fast() -> None:
        entered.wait()
        ingest(warehouse, "fast", 0)
        order.append("fast")

    fast_thread = threading.Thread(target=fast)
    slow_thread = threading.Thread(target=slow)
    fast_thread.start()
    slow_thread.start()
    slow_thread.join()
    fast_thread.join()
    assert order == ["slow", "fast"]


def test_entries_stand_in_order_of_commit(warehouse: Warehouse) -> None:
    committed = [ingest(warehouse, "b", 0), ingest(warehouse, "a", 1)]
    assert [e.seq for e in warehouse.ledger.entries("ems")] == committed
    assert [e.digest for e in warehouse.ledger.entries("ems")] == ["b", "a"]

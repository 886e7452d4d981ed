"""A day is scored, kept in the lake and copied in one pass: as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psycopg
import pytest
from rich.console import Console

from anomaly_platform.assets.scored import _HISTOGRAM_BINS, ScoredDayResult, score_day
from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.incidents.anomaly_alerts import DayAlerts
from anomaly_platform.kinds.base import Scorer
from anomaly_platform.ml.bundles.format import BundleError
from anomaly_platform.settings import Settings
from anomaly_platform.storage.lake.call_states import stage_of
from anomaly_platform.storage.lake.lake import Lake
from anomaly_platform.storage.lake.run_states import STAGE
from anomaly_platform.storage.postgres.transactions import lock
from anomaly_platform.storage.tables.partitions import Partition
from anomaly_platform.streams import EMS
from tests.builders.platforms import Drop, Keep, Kept, Restore, open_runtime
from tests.builders.readings import START, readings
from tests.builders.waiting import wait_until

pytestmark = pytest.mark.integration

DAY = START.date()
_LOSE_CONNECTIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_WAITING = (
    "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
    "WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted"
)


@pytest.fixture(scope="module")
def scored(keep: Keep) -> Kept:
    """Three hosts with a day that is scored."""

    def fill(runtime: Runtime, drop: Drop) -> None:
        drop(EMS, "a.csv", pl.concat([readings(EMS, f"host-{n}", days=1) for n in range(3)]))
        run_stream(runtime, EMS, Console(quiet=True))

    return keep(fill)


@pytest.fixture
def runtime(settings: Settings, scored: Kept, restore: Restore) -> Iterator[Runtime]:
    restore(settings, scored)
    with open_runtime(settings) as opened:
        yield opened


def score(runtime: Runtime, scorer: Scorer) -> ScoredDayResult:
    counts = np.zeros(_HISTOGRAM_BINS, dtype=np.int64)
    return score_day(runtime.platform, EMS, DAY, scorer, counts)


def stored(runtime: Runtime) -> tuple[Any, ...]:
    """What readers see: the rows, the current file, and the files that are there."""
    warehouse = runtime.platform.warehouse
    partition = warehouse.partitions.get(EMS.name, "scored_events", DAY.isoformat())
    assert partition is not None
    folder = Path(runtime.platform.settings.lake_url) / partition.path
    rows = warehouse.scores.read_day(EMS.name, DAY).write_csv()
    return rows, partition.path, sorted(path.name for path in folder.parent.iterdir())


def test_a_day_that_cannot_be_scored_to_its_end_stays_and_is_scored_anew(runtime: Runtime) -> None:
    before, scorer = stored(runtime), runtime.platform.kind(EMS).scorer()

    def breaks(trouble: object) -> Scorer:
        def parts(source: Any) -> Iterator[pl.DataFrame]:
            for whole in scorer.score(source):
                yield whole.head(100).with_columns(value=pl.lit(-1.0))
                if isinstance(trouble, Exception):
                    raise trouble
                runtime.platform.warehouse.transactions.execute(_LOSE_CONNECTIONS)
                yield whole.tail(-100)

        return replace(scorer, score=parts)

    with pytest.raises(BundleError, match="no model"):
        score(runtime, breaks(BundleError("no model")))
    assert stored(runtime) == before
    with pytest.raises(psycopg.OperationalError):
        score(runtime, breaks("the connection is lost"))
    # Where that shows only at the end, the file is whole, and nobody refers to it.
    *seen, files = stored(runtime)
    assert (*seen,) == before[:2]
    assert all(name.endswith(".parquet") and name[0] != "." for name in files)
    assert score(runtime, scorer).rows == 3 * 288
    assert stored(runtime)[:2] == before[:2], "the same input gives the same rows and file"


def test_nothing_is_scored_any_more_when_a_day_could_not_be_written(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, scorer = stored(runtime), runtime.platform.kind(EMS).scorer()
    source = runtime.platform.warehouse.partitions.get(EMS.name, "features", DAY.isoformat())
    assert source is not None
    frames, ended = list(scorer.score(source)), []

    def parts(_: object) -> Iterator[pl.DataFrame]:
        try:
            yield from frames
        finally:
            ended.append(True)

    def full(*given: Any, **_: object) -> None:
        next(given[4])
        raise OSError("no space")

    monkeypatch.setattr(Lake, "write", full)
    # What has failed is held, and with it all that was under way.
    with pytest.raises(OSError, match="no space") as failed:
        score(runtime, replace(scorer, score=parts))
    assert ended == [True], failed
    assert stored(runtime) == before


def test_the_file_is_whole_before_the_rows_are_seen_and_the_current_one_after_it(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, path, files = stored(runtime)
    at_the_end = []
    monkeypatch.setattr(DayAlerts, "after", lambda *_: at_the_end.append(stored(runtime)))
    scorer = runtime.platform.kind(EMS).scorer()

    def other(source: Any) -> Iterator[pl.DataFrame]:
        yield from (whole.with_columns(label=pl.lit(True)) for whole in scorer.score(source))

    assert score(runtime, replace(scorer, score=other)).rows == 3 * 288
    ((rows_then, path_then, files_then),) = at_the_end
    assert (rows_then, path_then) == (rows, path)
    assert len(set(files_then) - set(files)) == 1
    assert all(name.endswith(".parquet") for name in files_then)
    assert stored(runtime)[1].endswith(*set(files_then) - set(files))
    assert stored(runtime)[0] != rows


def test_what_a_day_leaves_to_the_next_is_published_with_its_rows_or_not_at_all(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = runtime.platform.kind(EMS).scorer()

    def left() -> list[Partition | None]:
        partitions = runtime.platform.warehouse.partitions
        return [partitions.newest(EMS.name, stage) for stage in (STAGE, stage_of(scorer.version))]

    before, at_the_end = left(), []
    assert None not in before

    def fail(*_: object) -> None:
        at_the_end.append(left())
        raise OSError("no commit")

    with monkeypatch.context() as patched:
        patched.setattr(DayAlerts, "after", fail)
        with pytest.raises(OSError, match="no commit"):
            score(runtime, scorer)
    assert left() == before
    assert at_the_end == [before]
    assert score(runtime, scorer).rows == 3 * 288
    # The same day leaves the same states, written anew.
    for old, new in zip(before, left(), strict=True):
        assert old is not None
        assert new is not None
        assert new == replace(old, updated_at=new.updated_at)
        assert new.updated_at > old.updated_at


def test_nothing_is_scored_for_a_day_that_was_scored_from_more(runtime: Runtime) -> None:
    before, scorer = stored(runtime), runtime.platform.kind(EMS).scorer()
    runtime.platform.warehouse.transactions.execute("UPDATE scored_days SET watermark = 1000")
    asked = []

    def score_nothing(source: Any) -> Iterator[pl.DataFrame]:
        asked.append(source)
        yield from scorer.score(source)

    assert "newer input (1000)" in score(runtime, replace(scorer, score=score_nothing)).skipped
    assert asked == []
    assert stored(runtime) == before


def test_features_published_while_another_run_scores_the_day_are_those_that_are_scored(
    runtime: Runtime,
) -> None:
    warehouse, scorer = runtime.platform.warehouse, runtime.platform.kind(EMS).scorer()
    before = warehouse.partitions.get(EMS.name, "features", DAY.isoformat())
    assert before is not None
    newest, seen = before.watermark + 1, []

    def score_these(source: Any) -> Iterator[pl.DataFrame]:
        seen.append(source.watermark)
        yield from scorer.score(source)

    with ThreadPoolExecutor(1) as thread:
        with warehouse.transactions.begin() as connection:
            lock(connection, "scored", EMS.name, DAY.isoformat())
            other = thread.submit(score, runtime, replace(scorer, score=score_these))
            wait_until(lambda: warehouse.transactions.value(_WAITING) == 1)
            warehouse.partitions.publish(
                *(EMS.name, "features", DAY.isoformat()),
                path=before.path,
                rows=before.rows,
                watermark=newest,
            )
        assert other.result().rows == 3 * 288
    assert seen == [newest], "the day is scored once"
    day = warehouse.scores.scored_day(EMS.name, DAY)
    assert day is not None
    assert day.watermark == newest

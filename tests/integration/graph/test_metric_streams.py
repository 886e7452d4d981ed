"""From files to scored rows: accounts, late data, repeats, ignorance."""

from __future__ import annotations

import io
import random
from datetime import date, timedelta

import polars as pl
import pytest
from dagster import AssetKey
from rich.console import Console

from anomaly_platform.cli.runtime import RunFailedError, Runtime
from anomaly_platform.cli.streams.checking import run_checks
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.platform import Platform
from anomaly_platform.storage.tables.scored.metrics import EXPLAINED
from anomaly_platform.streams import EMS, MetricStream
from tests.builders.platforms import Drop, Keep, Run
from tests.builders.readings import PER_DAY, START, readings

pytestmark = pytest.mark.integration

COLUMNS = ("entity", "metric", "event_time", "value", "score", "is_anomaly", "status")


def scored(platform: Platform, stream: MetricStream = EMS) -> pl.DataFrame:
    days = [state.day for state in platform.state_of(stream).days]
    frames = [platform.warehouse.scores.read_day(stream.name, day, COLUMNS) for day in days]
    return pl.concat(frames).sort("entity", "metric", "event_time")


def test_every_row_is_scored_quarantined_or_a_counted_duplicate(
    runtime: Runtime, drop: Drop, run: Run
) -> None:
    good = readings(EMS, "host-1", days=3)
    bad = good.head(5).with_columns(
        pl.Series("value", ["nan", "inf", "high", "1e999", "0x1F"]), timestamp=pl.lit("2026-01-06")
    )
    # A file of which no row can be used would be rejected as a whole: each has one.
    usable = bad.head(1).with_columns(asset_id=pl.lit("h"), value=pl.lit("1"))
    drop(EMS, "good.csv", good)
    drop(EMS, "repeated.csv", good.head(40))
    drop(EMS, "contradicting.csv", good.head(7).with_columns(pl.col("value") + 1))
    drop(EMS, "bad.csv", pl.concat([bad, usable]))
    no_time = "h,cpu,yesterday,1\nh,cpu,2026-01-06T01:00:00Z,1\n"
    drop(EMS, "no-time.csv", f"asset_id,metric_name,timestamp,value\n{no_time}")
    drop(EMS, "broken.csv.gz", b"\x1f\x8b\x08\x00 this is no gzip")
    account = run(EMS)
    assert account.rows_in == good.height + 2 + 40 + 7 + 5 + 1
    assert account.scored == good.height + 2
    assert account.duplicates == 40
    assert account.quarantined == 7 + 5 + 1
    entries = runtime.platform.warehouse.ledger.entries("ems")
    (broken,) = [entry for entry in entries if entry.status == "rejected"]
    assert broken.source == "broken.csv.gz"
    assert "gzip" in (broken.reason or "")
    assert runtime.platform.landing.waiting("ems") == []


def test_a_misread_long_file_is_rejected_as_a_whole(runtime: Runtime, drop: Drop, run: Run) -> None:
    """Its head alone is one series in good order."""
    lines = [
        f"P{pump};{START + timedelta(minutes=step):%Y-%m-%d %H:%M};{pump + step}"
        for pump in range(3)
        for step in range(11_000)
    ]
    drop(EMS, "long.csv", "\n".join(["Wer;Zeit;Stand", *lines]) + "\n")
    drop(EMS, "good.csv", readings(EMS, "host-1", days=1))
    assert run(EMS).rows_in == PER_DAY
    platform = runtime.platform
    (entry,) = [one for one in platform.warehouse.ledger.entries("ems") if one.rows_in == 0]
    assert (entry.source, entry.status) == ("long.csv", "rejected")
    assert '--map "Wer=entity"' in (entry.reason or "")
    assert set(scored(platform)["entity"]) == {"host-1"}


def test_each_day_of_a_run_over_days_shows_its_own_figures(
    runtime: Runtime, drop: Drop, run: Run
) -> None:
    """Not the totals of the run, and its picture as an image."""
    frame = readings(EMS, "host-1", days=3)
    first = pl.col("timestamp").dt.date() == START.date()
    drop(EMS, "uneven.csv", frame.filter(~first | (pl.int_range(pl.len()) < 40)))
    run(EMS)
    wanted = {"2026-01-05": 40, "2026-01-06": PER_DAY, "2026-01-07": PER_DAY}
    for stage in ("validated_events", "features", "scored_events", "monitoring_stats"):
        records = runtime.instance.fetch_materializations(AssetKey(EMS.key(stage)), limit=100)
        newest = {}
        for record in reversed(records.records):
            newest[record.partition_key] = record.asset_materialization.metadata
        shown = {day: one["dagster/row_count"].value for day, one in newest.items()}
        assert shown.keys() == wanted.keys()
        if stage != "monitoring_stats":
            assert shown == wanted
        if stage == "scored_events":
            pictures = {str(one["scores"].value) for one in newest.values()}
            assert len(pictures) >= 2
            assert all(one.startswith("![](data:image/svg+xml;base64,") for one in pictures)


def test_the_same_file_twice_changes_nothing(runtime: Runtime, drop: Drop, run: Run) -> None:
    drop(EMS, "a.csv", readings(EMS, "host-1", days=2))
    first = run(EMS)
    before = scored(runtime.platform)
    drop(EMS, "again.csv", readings(EMS, "host-1", days=2))
    assert run(EMS) == first
    assert scored(runtime.platform).equals(before)


def test_late_data_reaches_its_day_and_the_days_that_look_back_on_it(
    runtime: Runtime, drop: Drop, run: Run
) -> None:
    every = readings(EMS, "host-1", days=4)
    late = pl.col("timestamp").is_between(
        START + timedelta(days=1, hours=20), START + timedelta(days=1, hours=22)
    )
    drop(EMS, "most.csv", every.filter(~late))
    run(EMS)
    marks = {s.day: s.features for s in runtime.platform.state_of(EMS).days}
    drop(EMS, "late.csv", every.filter(late))
    run(EMS)
    after = {s.day: s.features for s in runtime.platform.state_of(EMS).days}
    touched = [day for day in after if after[day] != marks[day]]
    assert touched == [date(2026, 1, 6), date(2026, 1, 7)]


@pytest.fixture(scope="module")
def arrived_at_once(keep: Keep) -> pl.DataFrame:
    """Scores of two hosts whose rows came in one file."""
    scores = []

    def fill(runtime: Runtime, drop: Drop) -> None:
        drop(EMS, "whole.csv", two_hosts())
        run_stream(runtime, EMS, Console(quiet=True))
        scores.append(scored(runtime.platform))

    keep(fill)
    return scores[0]


def two_hosts() -> pl.DataFrame:
    return pl.concat([readings(EMS, "host-1", days=3), readings(EMS, "host-2", "disk", days=3)])


@pytest.mark.parametrize("manner", ["day by day", "shuffled"])
def test_scores_do_not_depend_on_how_the_rows_arrived(
    runtime: Runtime, arrived_at_once: pl.DataFrame, manner: str
) -> None:
    every = two_hosts()
    parts = list(every.group_by(pl.col("timestamp").dt.date(), maintain_order=True))
    frames = [frame for _, frame in parts]
    if manner == "shuffled":
        mixed = every.sample(fraction=1.0, shuffle=True, seed=3)
        frames = [mixed.slice(n, 500) for n in range(0, mixed.height, 500)]
        random.Random(4).shuffle(frames)
    folder = runtime.platform.landing.folder("ems")
    for number, frame in enumerate(frames):
        frame.write_csv(f"{folder}/{number}.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")
        last = number == len(frames) - 1
        run_stream(runtime, EMS, Console(quiet=True), train=last)
    assert scored(runtime.platform).equals(arrived_at_once)


def test_ignorance_is_never_called_normal(runtime: Runtime, drop: Drop, run: Run) -> None:
    drop(EMS, "long.csv", readings(EMS, "host-1", days=3))
    drop(EMS, "short.csv", readings(EMS, "host-2", days=60 / PER_DAY, first=2))
    drop(EMS, "tiny.csv", readings(EMS, "host-3", days=20 / PER_DAY, first=2))
    run(EMS)
    rows = scored(runtime.platform)
    short = rows.filter(pl.col("entity") == "host-2")
    tiny = rows.filter(pl.col("entity") == "host-3")
    long = rows.filter(pl.col("entity") == "host-1")
    assert set(long["status"].head(192)) == {"insufficient_history"}
    assert set(long["status"].tail(-192)) == {"trained"}
    assert set(short["status"]) == set(tiny["status"]) == {"insufficient_history"}
    assert tiny["score"].null_count() == tiny.height
    assert short["score"].tail(25).null_count() == 0
    assert False not in set(pl.concat([long.head(192), short, tiny])["is_anomaly"])


def test_a_constant_that_changes_is_an_anomaly_and_a_missing_reading_is_not(
    runtime: Runtime, drop: Drop, run: Run
) -> None:
    drop(EMS, "constant.csv", readings(EMS, "host-1", days=3).with_columns(value=pl.lit(7.0)))
    run(EMS)
    next_day = readings(EMS, "host-1", days=1, first=3)
    row = pl.int_range(pl.len())
    value = pl.when(row == 200).then(7.001).when(row == 100).then(None).otherwise(7.0)
    drop(EMS, "changed.csv", next_day.with_columns(value=value))
    run(EMS)
    rows = scored(runtime.platform).tail(288)
    assert rows[200, "is_anomaly"] is True
    day = runtime.platform.state_of(EMS).days[-1].day
    told = runtime.platform.warehouse.scores.read_day(EMS.name, day, ("event_time", *EXPLAINED))
    assert told[200, "expected_low"] <= 7.0 <= told[200, "expected_high"] < 7.001
    assert (told[200, "direction"], told[200, "lasting"]) == ("above", False)
    assert "features" in told[200, "explanation"]
    assert told.head(100)["explanation"].null_count() == 100
    assert rows[100, "status"] == "missing_value"
    assert rows[100, "is_anomaly"] is None
    assert rows.head(200)["is_anomaly"].sum() == 0


def test_a_run_trains_what_has_no_model_and_else_only_when_asked(
    runtime: Runtime, drop: Drop
) -> None:
    def said_by_run(*, train: bool | None = None) -> str:
        shown = Console(record=True, width=400, file=io.StringIO())
        run_stream(runtime, EMS, shown, train=train)
        return shown.export_text()

    def versions() -> list[int]:
        bundles = runtime.platform.warehouse.bundles.all("ems", "isolation_forest")
        return sorted(bundle.version for bundle in bundles)

    drop(EMS, "few.csv", readings(EMS, "host-1", days=60 / PER_DAY))
    assert "too little history for a model yet" in said_by_run()
    assert versions() == []
    drop(EMS, "more.csv", readings(EMS, "host-1", days=3).tail(-60))
    assert "has learned from the rows that it then scored" in said_by_run()
    assert versions() == [1]
    stuck = readings(EMS, "host-1", days=1, first=3).with_columns(value=pl.lit(90.0))
    other = readings(EMS, "host-2", days=1, first=3)
    drop(EMS, "incident.csv", pl.concat([stuck, other]))
    said = said_by_run()
    assert "1 series with enough readings have no model yet; `anomaly run ems --train`" in said
    assert versions() == [1]
    rows = scored(runtime.platform).filter(pl.col("entity") == "host-1")
    assert rows.tail(288).head(12)["is_anomaly"].all()
    assert "learned" not in said_by_run(train=False)
    assert versions() == [1]
    said_by_run(train=True)
    assert versions() == [1, 2]


def test_a_wide_file_is_one_entity_named_after_it(runtime: Runtime, drop: Drop, run: Run) -> None:
    one = readings(EMS, "host-1", days=2)
    wide = one.select("timestamp", cpu="value", memory=pl.col("value") * 2, is_anomaly=pl.lit(0))
    drop(EMS, "server-07.csv", wide)
    account = run(EMS)
    rows = scored(runtime.platform)
    assert account.scored == 2 * one.height
    assert set(rows["entity"]) == {"server-07"}
    assert set(rows["metric"]) == {"cpu", "memory"}


def test_every_check_passes_on_good_data(runtime: Runtime, drop: Drop, run: Run) -> None:
    drop(EMS, "a.csv", readings(EMS, "host-1", days=4))
    run(EMS)
    assert run_checks(runtime, EMS, Console(quiet=True)) == 0


def test_checks_find_what_was_broken_behind_their_back(
    runtime: Runtime, drop: Drop, run: Run
) -> None:
    drop(EMS, "a.csv", readings(EMS, "host-1", days=3))
    run(EMS)
    with runtime.platform.warehouse.transactions.begin() as connection:
        connection.execute("DELETE FROM scored_ems WHERE event_time = %s", (START,))
    console = Console(record=True, width=200, file=io.StringIO())
    assert run_checks(runtime, EMS, console) == 1
    assert "288 rows of features, 287 in PostgreSQL" in console.export_text()
    damaged, sound = START.date(), START.date() + timedelta(days=1)
    assert run_checks(runtime, EMS, Console(quiet=True), (damaged, damaged)) == 1
    assert run_checks(runtime, EMS, Console(quiet=True), (sound, sound)) == 0
    assert runtime.platform.account_of(EMS).missing == 1, "the account counts the table itself"


def test_days_without_data_are_named(runtime: Runtime, drop: Drop, run: Run) -> None:
    drop(EMS, "a.csv", readings(EMS, "host-1", days=2))
    run(EMS)
    with pytest.raises(RunFailedError, match="no data between 2020-01-01 and 2020-01-02; its data"):
        run_stream(
            runtime,
            EMS,
            Console(quiet=True),
            days=(date(2020, 1, 1), date(2020, 1, 2)),
            train=False,
        )

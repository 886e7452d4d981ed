"""From readings taken one by one to the scored day: each once, and with the same bits."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import polars as pl
import pytest
from dagster import build_sensor_context
from rich.console import Console

from anomaly_platform.assets.raw_online import claim_batches
from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.ingest.online.readings import Reading
from anomaly_platform.ml.scoring.online import OnlineScorer
from anomaly_platform.platform import Platform
from anomaly_platform.realtime.answers import Answer
from anomaly_platform.realtime.append_path import Judge
from anomaly_platform.realtime.ingest import OnlineIngest
from anomaly_platform.sensors.landing import build_landing_sensors, online_batch_due
from anomaly_platform.streams import EMS
from anomaly_platform.streams.staleness import stale_scored_days
from tests.builders.ingesting import take_in
from tests.builders.platforms import Drop, Run
from tests.builders.readings import START, daily_cycle
from tests.builders.tables import count
from tests.integration.metric_models import current_fleet

pytestmark = pytest.mark.integration

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def live_readings(first: int, last: int, asset: str = "host-1", seed: int = 1) -> list[Reading]:
    """Return readings `first` to `last` of a series, as they come one by one."""
    every = daily_cycle(last, seed).tolist()
    return [
        Reading(asset, "cpu", micros(n), every[n], uuid4(), '{"unit":"%"}')
        for n in range(first, last)
    ]


def as_file(every: list[Reading]) -> pl.DataFrame:
    """Return readings as a file has them, with all of their digits."""
    return pl.DataFrame(
        {
            "asset_id": [one.entity for one in every],
            "metric_name": [one.metric for one in every],
            "timestamp": [EPOCH + timedelta(microseconds=one.time) for one in every],
            "value": [one.value for one in every],
        }
    )


def micros(n: int) -> int:
    return int((START + timedelta(minutes=5 * n)).timestamp() * 1e6)


def judge_of(platform: Platform) -> Judge:
    version, scorer = current_fleet(platform, EMS)
    return Judge(version, OnlineScorer(scorer), platform.threshold_of(EMS))


@pytest.fixture
def ingest(runtime: Runtime) -> Iterator[OnlineIngest]:
    opened = runtime.platform.online_ingest()
    yield opened
    opened.close()


def take(
    ingest: OnlineIngest,
    platform: Platform,
    every: list[Reading],
    step: int = 37,
    now: datetime | None = None,
) -> list[Answer]:
    judge = judge_of(platform)
    answers = []
    for at in range(0, len(every), step):
        answers += take_in(ingest, EMS, every[at : at + step], judge, now=now)
    return answers


def test_the_batch_finds_the_same_rows_and_the_same_bits(
    runtime: Runtime, drop: Drop, run: Run, ingest: OnlineIngest
) -> None:
    """History comes as a file and is trained on; then readings come one by one."""
    platform = runtime.platform
    drop(EMS, "history.csv", as_file(live_readings(0, 3 * 288)))
    run(EMS)
    live = live_readings(3 * 288, 4 * 288 + 50)
    live[100] = Reading("host-1", "cpu", live[100].time, 400.0, live[100].event_id, None)
    answers = take(ingest, platform, live, now=EPOCH + timedelta(microseconds=live[0].time))
    assert {answer.outcome for answer in answers} == {"stored"}
    online = {answer.reading.event_time: answer.reading for answer in answers if answer.reading}
    assert online[live[100].time].is_anomaly
    assert online[live[100].time].is_call
    # Readings that are called without being anomalies alert as well, and are no detections.
    called = {n // 37 for n, one in enumerate(live) if online[one.time].is_call}
    alone = [one for one in online.values() if one.is_call and not one.is_anomaly]
    assert alone
    with platform.warehouse.transactions.begin() as connection:
        alerts = connection.execute(
            "SELECT subject, occurrences, details ->> 'event_id', details ->> 'reason' "
            "FROM alerts WHERE kind = 'anomaly'"
        ).fetchall()
    ((*alert, event_id, reason),) = alerts
    assert alert == ["host-1", len(called)]
    assert reason
    assert {one.status for one in online.values()} == {"trained"}

    # Without training: the version that judged them online judges them again.
    account = run_stream(runtime, EMS, Console(quiet=True), train=False)
    assert (account.missing, account.pending) == (0, 0)
    assert account.rows_in == 4 * 288 + 50
    assert account.scored == account.rows_in
    columns = ("event_time", "event_id", "value", "score", "p_value", "is_anomaly", "status")
    columns = (*columns, "is_call", "reason", "metadata", "bundle_version")
    days = [state.day for state in platform.state_of(EMS).days]
    scored = pl.concat([platform.warehouse.scores.read_day("ems", day, columns) for day in days])
    compared = 0
    for row in scored.iter_rows(named=True):
        one = online.get(int(row["event_time"].timestamp() * 1e6))
        if one is None:
            continue
        compared += 1
        assert str(one.event_id) == row["event_id"]
        assert (one.value, one.score, one.p_value) == (row["value"], row["score"], row["p_value"])
        assert (one.is_anomaly, one.status) == (row["is_anomaly"], row["status"])
        assert one.is_call == row["is_call"]
        assert one.bundle_version == row["bundle_version"]
        # White space behind JSON means nothing (``copying``).
        assert one.metadata == (row["metadata"] and row["metadata"].rstrip())
    assert compared == len(live)
    reasons = dict(scored.select("event_id", "reason").iter_rows())
    assert reasons[event_id] == reason
    assert all(reasons[str(one.event_id)] for one in alone)
    assert run_stream(runtime, EMS, Console(quiet=True), train=False) == account
    detections = count(platform.warehouse, "anomaly_detections", "source = 'realtime'")
    assert detections == sum(bool(one.is_anomaly) for one in online.values())


def test_a_series_known_from_files_goes_on_where_they_ended(
    runtime: Runtime, drop: Drop, run: Run
) -> None:
    history = live_readings(0, 2 * 288)
    drop(EMS, "history.csv", as_file(history))
    run(EMS)
    state = runtime.platform.series_states.look_back(EMS, "host-1", "cpu")
    assert state.times.tolist() == [one.time for one in history[-288:]]
    assert state.values.tolist() == [one.value for one in history[-288:]]


def test_readings_go_on_behind_a_file_that_overtook_them(
    runtime: Runtime,
    drop: Drop,
    run: Run,
    ingest: OnlineIngest,
) -> None:
    every = live_readings(0, 61)
    take(ingest, runtime.platform, every[:20])
    drop(EMS, "newer.csv", as_file(every[20:60]))
    run(EMS)
    (answer,) = take(ingest, runtime.platform, every[60:])
    assert answer.reading is not None
    assert answer.reading.provisional is False
    state = runtime.platform.series_states.look_back(EMS, "host-1", "cpu")
    assert state.times.tolist() == [one.time for one in every]
    assert state.values.tolist() == [one.value for one in every]


def test_readings_of_a_file_and_online_are_duplicates_of_each_other(
    runtime: Runtime, drop: Drop, run: Run, ingest: OnlineIngest
) -> None:
    every = live_readings(0, 40)
    take(ingest, runtime.platform, [Reading(o.entity, o.metric, o.time, o.value) for o in every])
    drop(EMS, "same.csv", as_file(every))
    account = run(EMS)
    assert (account.rows_in, account.scored, account.duplicates) == (80, 40, 40)


def test_a_batch_is_claimed_once_by_many(runtime: Runtime, ingest: OnlineIngest) -> None:
    platform = runtime.platform
    take(ingest, platform, live_readings(0, 95))
    batches = claim_batches(platform, EMS, datetime.now(UTC), batch_rows=20)
    first, _ = next(batches)
    other = Platform(platform.settings)
    rest = [rows for rows, _ in claim_batches(other, EMS, datetime.now(UTC), batch_rows=30)]
    other.close()
    assert [first, *rest] == [20, 30, 30, 15]
    assert list(batches) == []
    assert platform.account_of(EMS).rows_in == 95
    assert count(platform.warehouse, "online_readings", "batch_id IS NULL") == 0


_KILLED = """
    import os, signal, sys
    from datetime import UTC, datetime
    from anomaly_platform.assets import raw_online
    from anomaly_platform.platform import Platform
    from anomaly_platform.settings import get_settings
    from anomaly_platform.storage.tables.ledger import Ledger
    from anomaly_platform.streams import EMS
    from tests.integration.metric_models import current_fleet

    def die(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    real = Ledger.record_ingest
    if sys.argv[3] == "before the ledger":
        Ledger.record_ingest = die
    else:
        Ledger.record_ingest = lambda *a, **k: (real(*a, **k), die())
    platform = Platform(get_settings(home=sys.argv[1], database_url=sys.argv[2]))
    list(raw_online.claim_batches(platform, EMS, datetime.now(UTC)))
"""


@pytest.mark.parametrize("moment", ["before the ledger", "before the commit"])
def test_a_killed_claim_leaves_the_readings_to_the_next(
    runtime: Runtime, ingest: OnlineIngest, run: Run, moment: str
) -> None:
    platform = runtime.platform
    take(ingest, platform, live_readings(0, 60))
    url = platform.settings.database_url
    assert url is not None
    done = subprocess.run(
        [
            *(sys.executable, "-c", textwrap.dedent(_KILLED)),
            *(str(platform.settings.home), url.get_secret_value(), moment),
        ],
        check=False,
        timeout=120,
    )
    assert done.returncode == -9
    account = run(EMS)
    assert (account.rows_in, account.scored) == (60, 60)


def test_a_sensor_waits_for_a_batch_worth_a_run(runtime: Runtime, ingest: OnlineIngest) -> None:
    platform = runtime.platform
    now = datetime.now(UTC)
    assert online_batch_due(platform, EMS, now) == ""
    take(ingest, platform, live_readings(0, 5))
    assert online_batch_due(platform, EMS, now) == ""
    later = now + timedelta(seconds=platform.settings.online_batch_seconds + 5)
    assert online_batch_due(platform, EMS, later) == "5 readings taken one by one"
    (new_data,) = build_landing_sensors(EMS)
    with build_sensor_context(runtime.instance, resources={"platform": platform}) as context:
        assert new_data.evaluate_tick(context).run_requests == []
        with platform.warehouse.transactions.begin() as connection:
            connection.execute("UPDATE online_readings SET received_at = now() - interval '1 day'")
        (request,) = new_data.evaluate_tick(context).run_requests or []
    assert "5 readings" in request.tags["anomaly/reason"]


def door(days: int) -> list[Reading]:
    """Return a door that opens for some minutes by day, and that stays open over a midnight."""
    draw, values = random.Random(3), [0.0] * (days * 288)
    for day in range(days - 1):
        for at in draw.sample(range(96, 216), 10):
            first = day * 288 + at
            for n in range(draw.choice([1, 2, 3])):
                values[first + n] = 1.0
    last = (days - 1) * 288
    values[last - 30 : last + 60] = [1.0] * 90
    return [
        Reading("gate", "open", micros(n), value, uuid4(), None) for n, value in enumerate(values)
    ]


def test_a_run_goes_on_over_midnight_online_and_in_the_batch_and_late_rows_end_it(
    runtime: Runtime, drop: Drop, run: Run, ingest: OnlineIngest
) -> None:
    platform, every = runtime.platform, door(17)
    cut, midnight = 15 * 288, 16 * 288
    drop(EMS, "history.csv", as_file(every[:cut]))
    run(EMS)
    late = every[midnight - 10]
    others = [one for one in every[cut:] if one is not late]
    answers = take(ingest, platform, others)
    online = [answer.reading for answer in answers if answer.reading]
    run_stream(runtime, EMS, Console(quiet=True), train=False)
    day = platform.state_of(EMS).days[-1].day
    columns = ("event_time", "p_value", "is_anomaly", "is_call", "reason")

    def of_day() -> pl.DataFrame:
        return platform.warehouse.scores.read_day("ems", day, columns).sort("event_time")

    before = of_day()
    assert [one.p_value for one in online][-288:] == before["p_value"].to_list()
    assert [one.is_call for one in online][-288:] == before["is_call"].to_list()
    assert 0 < before["is_call"].sum() < before["is_anomaly"].sum()
    assert before["is_anomaly"][:60].sum() == 60

    closed = pl.lit(0.0).alias("value")
    drop(EMS, "late.csv", as_file([late]).with_columns(closed))
    run_stream(runtime, EMS, Console(quiet=True), train=False)
    after = of_day()
    assert before["reason"][0].startswith("at 1 for 2.5 h")
    assert after["reason"][0].startswith("at 1 for 45 min")
    assert stale_scored_days(platform.state_of(EMS), EMS.lookback_days) == []
    account = run_stream(runtime, EMS, Console(quiet=True), train=False)
    assert (account.missing, account.pending) == (0, 0)
    assert of_day().equals(after)

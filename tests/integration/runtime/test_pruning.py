"""What is old goes, what is needed stays: rows, models, files, and what a dry run would remove."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from anomaly_platform.ingest.online.readings import Reading
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.online import OnlineScorer
from anomaly_platform.platform import Platform
from anomaly_platform.realtime.append_path import Judge
from anomaly_platform.runtime.housekeeping import prune
from anomaly_platform.runtime.pruning import Pruned
from anomaly_platform.storage.tables.online import claim
from anomaly_platform.streams import IIOT
from tests.builders.ingesting import take_in
from tests.builders.models import FOREST, path_of, publish, register
from tests.builders.tables import requests_of

pytestmark = pytest.mark.integration

LATER = dt.datetime.now(dt.UTC) + dt.timedelta(days=1000)


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as opened:
        yield opened


def bundle(platform: Platform, *, parent: int | None = None) -> int:
    """Register a version with an old file of its own in the lake."""
    version = register(platform.warehouse, "iiot", parent=parent)
    path = path_of("iiot", FOREST, version)
    publish(platform.lake, path, {"arrays": "x" * 100})
    old = LATER.timestamp() - 2000 * 86_400
    for file in Path(platform.settings.lake_url, path).iterdir():
        os.utime(file, (old, old))
    return version


def pruned(
    platform: Platform,
    instance: DagsterInstance,
    *,
    dry_run: bool,
    now: dt.datetime | None = None,
) -> Iterator[Pruned]:
    transactions = platform.warehouse.transactions
    return prune(platform.settings, transactions, platform.lake, instance, dry_run=dry_run, now=now)


def counts(found: list[Pruned]) -> dict[str, int]:
    return {one.what: one.count for one in found}


def statuses(platform: Platform) -> dict[int, str]:
    return {b.version: b.status for b in platform.warehouse.bundles.all("iiot", FOREST)}


def test_what_serves_and_what_a_roll_back_brings_back_stays(
    platform: Platform, instance: DagsterInstance
) -> None:
    bundles = platform.warehouse.bundles
    for _ in range(2):
        bundles.promote_set("iiot", {FOREST: bundle(platform)}, "good")
    # The champion is made from 3, which was rejected: its parent stays as well.
    base = bundle(platform)
    bundles.promote_set("iiot", {FOREST: base}, "good")
    champion = bundle(platform, parent=base)
    bundles.promote_set("iiot", {FOREST: champion}, "good")
    rejected = bundle(platform)
    bundles.reject("iiot", FOREST, rejected, "bad")
    waiting = bundle(platform)

    told = counts(list(pruned(platform, instance, dry_run=True, now=LATER)))
    assert told["models that no longer serve"] == 3
    assert told["files that nobody refers to"] == 3
    before = statuses(platform)
    went = list(pruned(platform, instance, dry_run=False, now=LATER))
    assert counts(went) == told
    assert {one.what: one.size for one in went}["models that no longer serve"] == 300
    assert before[1] == "retired"
    assert statuses(platform) == {
        1: "deleted",
        2: "deleted",
        base: "retired",
        champion: "champion",
        rejected: "deleted",
        waiting: "challenger",
    }
    present = {
        version for version in before if platform.lake.size(f"models/iiot/{FOREST}/{version:06d}")
    }
    assert present == {base, champion, waiting}
    assert bundles.previous("iiot", FOREST) == base
    again = counts(list(pruned(platform, instance, dry_run=False, now=LATER)))
    assert again["models that no longer serve"] == again["files that nobody refers to"] == 0


def test_nothing_young_goes(platform: Platform, instance: DagsterInstance) -> None:
    bundles = platform.warehouse.bundles
    for _ in range(3):
        bundles.promote_set("iiot", {FOREST: bundle(platform)}, "good")
    create_run_for_test(instance, status=DagsterRunStatus.SUCCESS)
    assert set(counts(list(pruned(platform, instance, dry_run=False))).values()) == {0}
    assert statuses(platform)[1] == "retired"


def test_old_rows_go_and_those_that_still_matter_stay(
    platform: Platform, instance: DagsterInstance
) -> None:
    warehouse = platform.warehouse
    requests = warehouse.training_requests
    for reason in ("first", "second"):
        requests.ask("iiot", cause="request", reason=reason, requested_by="ann")
        (claimed,) = requests.claim("iiot")
        assert claimed.batch is not None
        requests.finish(claimed.batch, status="done", outcome="good")
    requests.ask("iiot", cause="request", reason="waiting", requested_by="ann")
    with warehouse.transactions.begin() as connection:
        for number in range(2):
            connection.execute(
                "INSERT INTO notifications (fingerprint, kind, subject, severity, state, title, "
                "body, created_at, routed_at) VALUES (%s, 'drift', 's', 'info', 'event', 't', "
                "'{}', now(), now())",
                (str(number),),
            )
        connection.execute(
            "INSERT INTO deliveries (notification_id, channel, seq, fingerprint, created_at, "
            "next_try_at) SELECT id, 'webhook', seq, fingerprint, now(), now() "
            "FROM notifications WHERE fingerprint = '1'"
        )
        connection.execute(
            "INSERT INTO quarantine (stream, digest, row_number, stage, reason) "
            "VALUES ('iiot', 'd', 1, 'validated', 'bad')"
        )
    warehouse.monitoring.replace_day("iiot", dt.date(2020, 1, 1), {("day", "readings"): 1.0})
    run = create_run_for_test(instance, status=DagsterRunStatus.SUCCESS).run_id
    running = create_run_for_test(instance, status=DagsterRunStatus.STARTED).run_id

    told = counts(list(pruned(platform, instance, dry_run=True, now=LATER)))
    assert instance.has_run(run)
    assert counts(list(pruned(platform, instance, dry_run=False, now=LATER))) == told
    assert told["refused rows"] == 1
    assert told["monitoring figures"] == 1
    assert told["messages that were delivered"] == 1
    assert told["training requests that ended"] == 2
    assert told["Dagster runs with their events"] == 1
    assert [one.reason for one in requests_of(warehouse, "iiot")] == ["waiting"]
    with warehouse.transactions.begin() as connection:
        left = connection.execute("SELECT fingerprint FROM notifications").fetchall()
    assert left == [("1",)]
    assert not instance.has_run(run)
    assert instance.has_run(running)


def test_readings_that_a_batch_has_go_and_may_be_sent_again(
    platform: Platform, instance: DagsterInstance
) -> None:
    scorer = OnlineScorer(FleetScorer.without_models(IIOT.features, alpha=0.001, threshold=0.7))
    judge = Judge(None, scorer, 0.7)
    start = int((dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).timestamp() * 1e6)
    sent = [
        Reading("pump", "temp", start + 300_000_000 * n, 90.0 if n == 60 else 20.0 + n % 7 / 10)
        for n in range(62)
    ]
    begin = platform.warehouse.transactions.begin
    ingest = platform.online_ingest()
    try:
        answers = take_in(ingest, IIOT, sent[:61], judge)
        assert answers[60].reading is not None
        assert answers[60].reading.is_anomaly
        with begin() as connection:
            assert claim(connection, "iiot", "batch", limit=100).height == 61
        assert (
            counts(list(pruned(platform, instance, dry_run=False)))["readings that a batch has"]
            == 0
        )
        take_in(ingest, IIOT, sent[61:], judge)

        told = counts(list(pruned(platform, instance, dry_run=True, now=LATER)))
        assert counts(list(pruned(platform, instance, dry_run=False, now=LATER))) == told
        assert told["readings that a batch has"] == 61
        assert told["look-backs of series that were silent"] == 1
        with begin() as connection:
            left = connection.execute("SELECT value FROM online_readings").fetchall()
        assert left == [(sent[61].value,)]
        # What waits for a batch comes back with the state, which this process still remembers.
        again = take_in(ingest, IIOT, sent[60:], judge)
        assert [one.outcome for one in again] == ["stored", "repeated"]
        state = platform.series_states.look_back(IIOT, "pump", "temp")
        assert state.times.tolist() == [sent[60].time, sent[61].time]
        # The same once more, flagged a second time: its detection is there and stays as it was.
        with begin() as connection:
            connection.execute("DELETE FROM online_readings")
            connection.execute("DELETE FROM series_state")
        repeated = take_in(ingest, IIOT, sent[:61], judge)
    finally:
        ingest.close()
    assert repeated[60].reading is not None
    assert repeated[60].reading.is_anomaly
    with begin() as connection:
        detections = connection.execute("SELECT count(*) FROM anomaly_detections").fetchone()
    assert detections == (1,)

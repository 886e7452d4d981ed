"""The retraining sensor at work: real ticks, real runs, real tables, and ticks that go wrong."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from dagster import (
    DagsterInstance,
    DagsterRunStatus,
    RunRequest,
    build_sensor_context,
)
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.test_utils import create_run_for_test
from rich.console import Console
from starlette.testclient import TestClient

from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.console.app import create_app
from anomaly_platform.labelling.labels import NewLabel
from anomaly_platform.sensors.retraining import BATCH_TAG, MOST_ATTEMPTS, build_retraining_sensors
from anomaly_platform.sensors.work import REASON_TAG
from anomaly_platform.settings import Settings
from anomaly_platform.storage.tables.api_keys import SCOPES
from anomaly_platform.streams import IIOT, MetricStream
from tests.builders.console import log_in
from tests.builders.platforms import Drop, Keep, Kept, Restore
from tests.builders.readings import START, readings
from tests.builders.tables import requests_of
from tests.integration.metric_models import current_fleet

pytestmark = pytest.mark.integration

TRAINED_DAYS = 7


def loads(first: int, days: int) -> list[pl.DataFrame]:
    """Return days of three devices with a daily rhythm."""
    return [readings(IIOT, f"press-{n}", "load", days=days, first=first) for n in range(3)]


def tick(runtime: Runtime, stream: MetricStream = IIOT) -> SensorExecutionData:
    (sensor,) = build_retraining_sensors(stream)
    with build_sensor_context(
        instance=runtime.instance, resources={"platform": runtime.platform}
    ) as context:
        return sensor.evaluate_tick(context)


def requested(runtime: Runtime) -> RunRequest:
    (run,) = tick(runtime).run_requests or []
    return run


def execute(runtime: Runtime, run: RunRequest) -> None:
    keys = [list(key.path) for key in run.asset_selection or []]
    runtime.materialize(keys, run.tags, run.run_config)


@pytest.fixture(scope="module")
def trained_once(keep: Keep) -> Kept:
    def fill(runtime: Runtime, drop: Drop) -> None:
        drop(IIOT, "first.csv", pl.concat(loads(0, TRAINED_DAYS)))
        run_stream(runtime, IIOT, Console(quiet=True))

    return keep(fill)


@pytest.fixture
def trained(runtime: Runtime, settings: Settings, restore: Restore, trained_once: Kept) -> Runtime:
    restore(settings, trained_once)
    return runtime


def test_drift_of_one_series_is_noticed_and_only_it_is_trained(
    trained: Runtime, drop: Drop
) -> None:
    requests = trained.platform.warehouse.training_requests
    skipped = tick(trained)
    assert not skipped.run_requests
    assert requests_of(trained.platform.warehouse, "iiot") == []
    moved, *others = loads(TRAINED_DAYS, 2)
    drop(IIOT, "moved.csv", pl.concat([moved.with_columns(pl.col("value") + 40.0), *others]))
    run_stream(trained, IIOT, Console(quiet=True), train=False)
    shifted = (START + timedelta(days=TRAINED_DAYS + 1)).date()
    drift = trained.platform.warehouse.drift.of_series("iiot", shifted)
    assert dict(drift.select("entity", "verdict").iter_rows()) == {
        "press-0": "severe",
        "press-1": "none",
        "press-2": "none",
    }
    told = {
        entity: [one["feature"] for one in json.loads(features)]
        for entity, features in drift.select("entity", "features").iter_rows()
    }
    assert {"mean_12", "mean_48"} & set(told["press-0"])
    assert max(len(told["press-1"]), len(told["press-2"])) < 3 < len(told["press-0"])
    over_series = trained.platform.warehouse.drift.of_features("iiot", shifted)
    assert {"value", "score", "std_12", "mean_288", "diff_1"} <= set(over_series["feature"])
    assert over_series["series"].to_list() == [3] * over_series.height
    unknown = over_series.filter(pl.col("usual_psi_median").is_null())
    assert unknown["feature"].to_list() == ["score"]

    run = requested(trained)
    config = run.run_config["ops"]["iiot__isolation_forest_model"]["config"]
    assert config["series"] == [["press-0", "load"]]
    assert (config["cause"], config["window_days"]) == ("drift", 2)
    assert "drifted on 2 days in a row" in run.tags[REASON_TAG]
    (asked,) = requests.running("iiot")
    assert run.tags[BATCH_TAG] == run.run_key == str(asked.batch)

    execute(trained, run)
    assert tick(trained).run_requests == []
    done = requests.get(asked.id)
    assert done is not None
    assert done.status == "done"
    assert done.version == 2
    assert done.run_id is not None
    assert "version 2" in str(done.outcome)
    assert requests.waiting("iiot") == []
    bundle = trained.platform.warehouse.bundles.get("iiot", "isolation_forest", 2)
    assert bundle is not None
    assert bundle.parent == 1


def test_a_series_that_became_quieter_is_told_before_it_is_trained_again(
    trained: Runtime, drop: Drop
) -> None:
    days = 3
    quiet = readings(IIOT, "press-0", "load", days=days, first=TRAINED_DAYS, spread=1 / 3)
    drop(IIOT, "quiet.csv", pl.concat([quiet, *loads(TRAINED_DAYS, days)[1:]]))
    run_stream(trained, IIOT, Console(quiet=True), train=False)
    last = (START + timedelta(days=TRAINED_DAYS + days - 1)).date()
    drift = trained.platform.warehouse.drift.of_series("iiot", last)
    assert drift["change"].to_list() == ["quieter", None, None]
    assert drift["verdict"].to_list() == ["none", "none", "none"]
    assert drift["noise_ratio"].to_list() == pytest.approx([0.37, 1.1, 1.1], abs=0.15)

    said = "its noise on 3 of the last"
    where = {"stream": "iiot", "metric": "load"}
    with TestClient(create_app(trained.platform)) as browser:
        log_in(browser, trained.platform.warehouse.api_keys.create("a", SCOPES, created_by="t")[1])
        pages = [
            browser.get("/console/series", params={**where, "entity": entity}).text
            for entity in drift["entity"]
        ]
    assert [said in page for page in pages] == [True, False, False]
    # Not on three days alone.
    assert requests_of(trained.platform.warehouse, "iiot") == []


def test_as_many_drifted_days_are_read_as_few_readings_take(trained: Runtime) -> None:
    warehouse, days = trained.platform.warehouse, 15
    last = (START + timedelta(days=TRAINED_DAYS - 1)).date()
    with warehouse.transactions.begin() as connection:
        connection.execute(
            "INSERT INTO series_drift (stream, day, entity, metric, rows, missing_share, "
            "anomaly_share, verdict, bundle_version) SELECT 'iiot', %s::date - n, 'press-0', "
            "'load', 50, 0, 0, 'drifted', 1 FROM generate_series(0, %s) AS n "
            "ON CONFLICT (stream, day, entity, metric) DO UPDATE SET verdict = 'drifted'",
            (last, days - 1),
        )
    evidence = warehouse.training_evidence.of(IIOT, min_training_samples=100)
    assert [len(one.days) for one in evidence.series if one.entity == "press-0"] == [days]


def test_a_tick_that_died_before_its_run_asks_for_the_same_run(trained: Runtime) -> None:
    requests = trained.platform.warehouse.training_requests
    requests.ask("iiot", cause="request", reason="a person", requested_by="ann")
    first = requested(trained)
    # The daemon was killed before it made a run of it.
    again = requested(trained)
    assert (first.run_key, first.tags, first.run_config) == (
        again.run_key,
        again.tags,
        again.run_config,
    )
    assert first.run_config["ops"]["iiot__isolation_forest_model"]["config"]["series"] == []


def run_of(instance: DagsterInstance, request: RunRequest, status: DagsterRunStatus) -> str:
    return create_run_for_test(instance, status=status, tags=dict(request.tags)).run_id


def test_many_requests_are_one_run_and_a_failing_one_backs_off(trained: Runtime) -> None:
    requests = trained.platform.warehouse.training_requests
    for entity in ("press-0", "press-1"):
        requests.ask("iiot", entity=entity, cause="request", reason="r", requested_by="ann")
    requests.ask("iiot", entity="nowhere", cause="request", reason="r", requested_by="ann")
    for attempt in range(1, MOST_ATTEMPTS + 1):
        run = requested(trained)
        config = run.run_config["ops"]["iiot__isolation_forest_model"]["config"]
        assert config["series"] == [["press-0", "load"], ["press-1", "load"]]
        run_of(trained.instance, run, DagsterRunStatus.FAILURE)
        assert not tick(trained).run_requests
        if attempt < MOST_ATTEMPTS:
            waiting = requests.waiting("iiot")
            assert [one.attempts for one in waiting] == [attempt] * 2
            assert all(one.not_before > datetime.now(UTC) for one in waiting)
            with trained.platform.warehouse.transactions.begin() as connection:
                connection.execute("UPDATE training_requests SET not_before = now()")
    ended = {one.entity: one for one in requests_of(trained.platform.warehouse, "iiot")}
    assert ended["press-0"].status == ended["press-1"].status == "failed"
    assert f"attempt {MOST_ATTEMPTS}" in str(ended["press-0"].outcome)
    assert ended["nowhere"].status == "cancelled"
    assert "no readings" in str(ended["nowhere"].outcome)


def test_while_a_run_is_under_way_nothing_else_is_asked_for(trained: Runtime) -> None:
    requests = trained.platform.warehouse.training_requests
    requests.ask("iiot", cause="request", reason="r", requested_by="ann")
    run = requested(trained)
    run_id = run_of(trained.instance, run, DagsterRunStatus.STARTED)
    requests.ask("iiot", cause="request", reason="another", requested_by="bob")
    assert not tick(trained).run_requests
    (running,) = requests.running("iiot")
    assert running.run_id == run_id
    assert len(requests.waiting("iiot")) == 1


def test_a_new_series_gets_its_model_by_itself(trained: Runtime, drop: Drop) -> None:
    # A fourth device joins; the fleet's last training was a day of data ago.
    drop(IIOT, "newcomer.csv", readings(IIOT, "press-3", "load", days=1, first=TRAINED_DAYS))
    run_stream(trained, IIOT, Console(quiet=True), train=False)
    run = requested(trained)
    config = run.run_config["ops"]["iiot__isolation_forest_model"]["config"]
    assert (config["series"], config["cause"]) == ([["press-3", "load"]], "volume")
    execute(trained, run)
    assert not tick(trained).run_requests
    with trained.platform.warehouse.transactions.begin() as connection:
        rows = connection.execute(
            "SELECT device_id FROM ml_models WHERE status = 'active' ORDER BY device_id"
        ).fetchall()
    assert [row[0] for row in rows] == [f"press-{n}" for n in range(4)]
    assert uuid.UUID(run.tags[BATCH_TAG])


def test_labels_and_thresholds_of_single_series_decide_and_models_know_their_last_use(
    trained: Runtime,
) -> None:
    warehouse = trained.platform.warehouse
    with warehouse.transactions.begin() as connection:
        used = connection.execute(
            "SELECT count(*) FROM ml_models WHERE status = 'active' AND last_used_at IS NOT NULL"
        ).fetchone()
        warehouse.labels.thresholds.set(
            connection, "iiot", "press-0", "load", 1e-6, origin="person", set_by="ann"
        )
    assert used == (3,)
    day = START.date().isoformat()
    source = warehouse.partitions.get("iiot", "features", day)
    assert source is not None
    _, scorer = current_fleet(trained.platform, IIOT)
    scored = pl.concat(scorer.score(chunk) for chunk in trained.platform.lake.chunks([source.path]))
    own = pl.col("entity") == "press-0"
    # All but what could not be more ordinary, at a score of 0.
    assert scored.filter(own & (pl.col("score") > 0))["is_anomaly"].all()
    assert scored.filter(own)["is_anomaly"].sum() > 0.9 * scored.filter(own)["is_anomaly"].count()
    assert scored.filter(own)["threshold"].unique().to_list() == [1e-6]
    assert scored.filter(~own)["threshold"].unique().to_list() == [0.7]
    assert not scored.filter(~own)["is_anomaly"].drop_nulls().all()


def test_what_people_said_enters_the_quality_of_its_day(trained: Runtime) -> None:
    from anomaly_platform.assets.monitoring import stats_of_day

    day = START.date()
    measure = trained.platform.kind(IIOT).monitor()
    assert ("day", "labelled") not in stats_of_day(trained.platform, IIOT, day, measure)
    given = [
        NewLabel("press-0", "load", START + timedelta(minutes=minutes), is_anomaly=minutes == 0)
        for minutes in (0, 5, 10)
    ]
    trained.platform.warehouse.labels.add_all("iiot", given, labelled_by="ann")
    stats = stats_of_day(trained.platform, IIOT, day, measure)
    assert stats["day", "labelled"] == 3

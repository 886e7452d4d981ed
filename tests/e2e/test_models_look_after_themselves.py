"""Behaviour changes; the platform notices, trains anew, and its scores recover, nobody asking.

The real daemon on a real PostgreSQL. A bad challenger leaves the champion in service and is told.
It takes the daemon many minutes, so that it is a long trial; the same story with real ticks and
real runs is ``tests/integration/graph/test_changed_behaviour.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from anomaly_platform.sensors.retraining import CAUSE_TAG
from anomaly_platform.sensors.work import REASON_TAG, STREAM_TAG
from anomaly_platform.simulator.metrics import simulate_ems
from anomaly_platform.streams import MetricStream
from tests.builders.tables import requests_of

from .conftest import RunningPlatform, start_platform

pytestmark = [pytest.mark.stress, pytest.mark.e2e, pytest.mark.timeout(1800)]

NAME = "hosts"
START = datetime(2026, 1, 5, tzinfo=UTC)
CHANGE = 20
PATIENCE = 6
NOTICED = CHANGE + PATIENCE
DAYS = NOTICED + 2
METRICS = ("cpu_usage", "latency", "network_in", "network_out", "disk_io")
#: A user's own stream. Its quality is no cause of its own here: the story is about drift.
STREAM = """
name: hosts
frequency: 5m
columns:
  entity: asset_id
alpha: 0.01
retraining:
  minimum_quality: 0.05
  drift_days: 6
"""


def story(days: int = DAYS, *, poisoned_from: int | None = None) -> pl.DataFrame:
    """Return two hosts with known anomalies whose days have two large tides from day 20 on.

    They live higher then, too; that alone would be followed. From the poisoned day on, readings
    are anything at all.
    """
    frame = simulate_ems(days=days, devices=2, seed=7, start=START, churn=0).frame
    frame = frame.filter(pl.col("metric").is_in(METRICS))
    change = START + timedelta(days=CHANGE)
    before = frame.filter(pl.col("event_time") < change)
    spread = before.group_by("entity", "metric").agg(
        spread=pl.col("value").std(), level=pl.col("value").mean()
    )
    days_since = (pl.col("event_time") - START).dt.total_seconds() / 86400
    tide = 8 * pl.col("spread") * (days_since * 4 * np.pi).sin()
    moved = pl.col("value") + 4 * pl.col("spread") + tide
    later = pl.col("event_time") >= change
    told = (
        frame.join(spread, on=["entity", "metric"])
        .with_columns(value=pl.when(later).then(moved).otherwise("value"))
        .sort("event_time", "entity", "metric")
    )
    if poisoned_from is None:
        return told
    noise = pl.Series(np.random.default_rng(1).standard_cauchy(told.height))
    bad = pl.col("event_time") >= START + timedelta(days=poisoned_from)
    anything = pl.col("level") + 50 * pl.col("spread") * noise
    return told.with_columns(value=pl.when(bad).then(anything).otherwise("value"))


@dataclass
class Story:
    """A platform with the stream of the story."""

    running: RunningPlatform
    frame: pl.DataFrame

    @property
    def stream(self) -> MetricStream:
        stream = self.running.platform.stream(NAME)
        assert isinstance(stream, MetricStream)
        return stream

    def day(self, number: int) -> date:
        return (START + timedelta(days=number)).date()

    def drop(self, first: int, last: int, frame: pl.DataFrame | None = None) -> None:
        """Put the days from the first to the last into landing, as one file."""
        rows = (self.frame if frame is None else frame).filter(
            pl.col("event_time").dt.date().is_between(self.day(first), self.day(last))
        )
        external = rows.select(
            asset_id="entity",
            metric_name="metric",
            timestamp="event_time",
            value="value",
            is_anomaly="label",
        )
        path = self.running.landing(NAME) / f"days-{first}-{last}.csv"
        external.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ")

    def scored(self, first: int, last: int, version: int) -> bool:
        """Return whether these days are there, scored by this version."""
        days = self.running.platform.warehouse.scores.scored_days(
            NAME, first=self.day(first), last=self.day(last)
        )
        return len(days) == last - first + 1 and all(d.bundle_version == version for d in days)

    def false_positive_rate(self, first: int, last: int) -> tuple[float, set[int]]:
        """Return the share of normal readings flagged, and the versions that said so."""
        with self.running.platform.warehouse.transactions.begin() as connection:
            row = connection.execute(
                "SELECT avg(is_anomaly::int), array_agg(DISTINCT bundle_version) "
                "FROM scored_metrics WHERE stream = %s AND day BETWEEN %s AND %s "
                "AND NOT label AND value IS NOT NULL",
                (NAME, self.day(first), self.day(last)),
            ).fetchone()
        assert row is not None
        return float(row[0] or 0.0), set(row[1] or ())

    def champion(self) -> int | None:
        found = self.running.platform.warehouse.bundles.champion(NAME, "isolation_forest")
        return None if found is None else found.version


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    home: Path = tmp_path_factory.mktemp("home")
    (home / "streams").mkdir()
    (home / "streams" / "hosts.yaml").write_text(STREAM)
    with start_platform(home) as running:
        yield Story(running, story())


def test_models_follow_what_they_watch(told: Story) -> None:
    told.drop(0, CHANGE - 1)
    told.running.wait_for(lambda: told.scored(0, CHANGE - 1, 1), 600)
    calm, _ = told.false_positive_rate(CHANGE - 5, CHANGE - 1)
    assert calm < 0.05
    assert requests_of(told.running.platform.warehouse, NAME) == []

    told.drop(CHANGE, NOTICED - 1)
    seen: dict[int, float] = {}

    def noticed_and_trained() -> bool:
        rate, versions = told.false_positive_rate(CHANGE, NOTICED - 1)
        if len(versions) == 1:
            seen[versions.pop()] = rate
        return told.champion() == 2 and told.scored(CHANGE, NOTICED - 1, 2)

    told.running.wait_for(noticed_and_trained, 600)
    assert seen[1] > 0.10, "the change went unnoticed by the old models as well"

    told.drop(NOTICED, DAYS - 1)
    told.running.wait_for(lambda: told.scored(NOTICED, DAYS - 1, 2), 300)
    recovered, versions = told.false_positive_rate(NOTICED, DAYS - 1)
    assert versions == {2}
    assert recovered < 0.05, seen


def test_every_step_is_visible_with_its_reason(told: Story) -> None:
    from dagster import RunsFilter

    from anomaly_platform.cli.runtime import open_runtime

    (request,) = requests_of(told.running.platform.warehouse, NAME)
    assert (request.cause, request.status, request.version) == ("drift", "done", 2)
    assert "days in a row" in request.reason
    assert "version 2 was promoted" in str(request.outcome)
    with open_runtime(told.running.platform.settings) as runtime:
        run = runtime.instance.get_run_by_id(str(request.run_id))
        assert run is not None
        assert run.tags[CAUSE_TAG] == "drift"
        assert "days in a row" in run.tags[REASON_TAG]
        trainings = runtime.instance.get_runs(
            RunsFilter(tags={STREAM_TAG: NAME, CAUSE_TAG: "drift"})
        )
        assert len(trainings) == 1
    history = told.running.platform.warehouse.bundles.history(NAME, "isolation_forest")
    assert [one.version for one in history] == [2, 1]
    assert all(one.reason for one in history)


def test_mlflow_tells_the_same(told: Story) -> None:
    from dagster import DagsterInstance
    from mlflow.tracking import MlflowClient

    from anomaly_platform.registry.mlflow.model_registry import tracking_uri
    from anomaly_platform.sensors.registry import build_registry_job

    platform = told.running.platform
    # The daemon's sensor may be at it already: then one works and the other waits for it.
    with DagsterInstance.ephemeral() as instance:
        job = build_registry_job()
        assert job.execute_in_process(instance=instance, resources={"platform": platform}).success
    told.running.wait_for(lambda: platform.warehouse.mlflow_updates.waiting() == 0, 300)
    uri = tracking_uri(platform.settings)
    mlflow = MlflowClient(tracking_uri=uri, registry_uri=uri)
    model = mlflow.get_registered_model(f"{NAME}.isolation_forest")
    serving = mlflow.get_model_version(model.name, model.aliases["champion"])
    assert serving.tags["anomaly.version"] == "2"
    run = mlflow.get_run(serving.run_id)
    assert run.data.tags["anomaly.cause"] == "drift"
    assert "days in a row" in run.data.tags["anomaly.reason"]
    assert "known anomalies found: passed" in run.data.tags["anomaly.gates"]
    assert run.data.tags["anomaly.status"] == "champion"
    assert "balanced accuracy" in run.data.tags["anomaly.status_reason"]


def test_a_challenger_of_poisoned_data_does_not_serve_and_is_told(told: Story) -> None:
    poisoned = story(DAYS + 2, poisoned_from=DAYS)
    told.drop(DAYS, DAYS + 1, poisoned)
    serving = told.champion()
    told.running.wait_for(lambda: told.scored(DAYS, DAYS + 1, serving or 0), 300)
    requests = told.running.platform.warehouse.training_requests
    asked = requests.ask(
        NAME, window_days=2, cause="request", reason="the poison", requested_by="test"
    )

    def ended() -> bool:
        found = requests.get(asked)
        return found is not None and found.status in ("done", "failed")

    told.running.wait_for(ended, 300)
    found = requests.get(asked)
    assert found is not None
    assert "is rejected" in str(found.outcome)
    assert told.champion() == serving
    with told.running.platform.warehouse.transactions.begin() as connection:
        alert = connection.execute(
            "SELECT state, occurrences FROM alerts WHERE fingerprint = %s",
            (f"gate_failed/{NAME}/isolation_forest",),
        ).fetchone()
        messages = connection.execute(
            "SELECT count(*) FROM notifications WHERE kind = 'gate_failed' AND stream = %s",
            (NAME,),
        ).fetchone()
    assert alert is not None
    assert alert[0] == "open"
    assert messages == (1,)

"""Behaviour changes on day 20: noticed, asked for once, trained, judged, promoted, and recovered.

The story of `tests/e2e/test_models_look_after_themselves.py` with real ticks and real runs but
without processes, so that a gate or a rule that breaks it is found in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from dagster import RunRequest, build_sensor_context
from rich.console import Console

from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.registry.training_requests import TrainingRequest
from anomaly_platform.sensors.retraining import CAUSE_TAG, build_retraining_sensors
from anomaly_platform.sensors.work import REASON_TAG
from anomaly_platform.settings import Settings
from anomaly_platform.streams import MetricStream
from tests.builders.platforms import Drop, open_runtime
from tests.builders.readings import PER_DAY, START, daily_cycle, series
from tests.builders.tables import requests_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]

NAME = "boilers"
STREAM = """
name: boilers
frequency: 5m
columns:
  entity: boiler
  label: known
alpha: 0.01
retraining:
  minimum_quality: 0.05
"""
CHANGE = 20
NOTICED = CHANGE + 6


def boilers(first: int, days: int, *, poisoned: bool = False) -> pl.DataFrame:
    """Return days of two boilers, which run at night from day 20 on, with three known spikes a day.

    They are hotter and wilder then, too; that alone would be followed. Poisoned readings are
    anything at all.
    """
    size = days * PER_DAY
    numbers = first * PER_DAY + np.arange(size)
    cycle = daily_cycle(size, 0, first=first * PER_DAY, level=0, spread=0)
    frames = []
    for boiler in range(2):
        rng = np.random.default_rng([first, boiler])
        noise = rng.normal(0, 1, size)
        changed = numbers >= CHANGE * PER_DAY
        values = np.where(changed, 90 + 2.5 * (noise - cycle), 50 + cycle + noise)
        known = np.isin(np.arange(size) % PER_DAY, rng.choice(PER_DAY, 3, replace=False))
        values[known] += 40.0
        if poisoned:
            values = 50 + 500 * rng.standard_cauchy(size)
        frame = series(f"boiler-{boiler}", "temperature", values.round(3), first=numbers[0])
        frames.append(frame.rename({"entity": "boiler"}).with_columns(known=known))
    return pl.concat(frames)


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    settings.streams_dir.mkdir()
    (settings.streams_dir / "boilers.yaml").write_text(STREAM)
    with open_runtime(settings) as opened:
        yield opened


def day(number: int) -> date:
    return (START + timedelta(days=number)).date()


def asked_for(runtime: Runtime) -> RunRequest | None:
    """Return what the retraining sensor asks for at a tick."""
    (sensor,) = build_retraining_sensors(runtime.platform.stream(NAME))
    with build_sensor_context(
        instance=runtime.instance, resources={"platform": runtime.platform}
    ) as context:
        runs = sensor.evaluate_tick(context).run_requests or []
    assert len(runs) <= 1
    return runs[0] if runs else None


def train(runtime: Runtime, run: RunRequest) -> TrainingRequest:
    """Run what was asked for; return the request with its outcome."""
    keys = [list(key.path) for key in run.asset_selection or []]
    runtime.materialize(keys, run.tags, run.run_config)
    assert asked_for(runtime) is None, "asked twice on the same data"
    return requests_of(runtime.platform.warehouse, NAME)[0]


def false_positive_rate(runtime: Runtime, first: int, last: int, version: int) -> float:
    """Return the share of normal readings that this version flagged; no other scored them."""
    with runtime.platform.warehouse.transactions.begin() as connection:
        row = connection.execute(
            "SELECT avg(is_anomaly::int), array_agg(DISTINCT bundle_version) FROM scored_metrics "
            "WHERE stream = %s AND day BETWEEN %s AND %s AND NOT label",
            (NAME, day(first), day(last)),
        ).fetchone()
    assert row is not None
    assert row[1] == [version]
    return float(row[0])


def test_models_follow_a_change_and_no_poison(runtime: Runtime, drop: Drop) -> None:
    platform = runtime.platform
    stream = platform.stream(NAME)
    assert isinstance(stream, MetricStream)
    bundles = platform.warehouse.bundles

    def arrive(first: int, days: int, *, poisoned: bool = False, train: bool = False) -> None:
        drop(stream, f"from-{first}.csv", boilers(first, days, poisoned=poisoned))
        run_stream(runtime, stream, Console(quiet=True), train=train)

    arrive(0, CHANGE, train=True)
    assert asked_for(runtime) is None
    assert false_positive_rate(runtime, CHANGE - 5, CHANGE - 1, 1) < 0.05

    arrive(CHANGE, NOTICED - CHANGE)
    assert false_positive_rate(runtime, CHANGE, NOTICED - 1, 1) > 0.10
    due = asked_for(runtime)
    assert due is not None
    assert due.tags[CAUSE_TAG] == "drift"
    assert "drifted on 6 days in a row" in due.tags[REASON_TAG]
    done = train(runtime, due)
    assert (done.cause, done.window_days, done.version) == ("drift", 6, 2)
    assert "version 2 was promoted" in str(done.outcome)
    record = bundles.get(NAME, "isolation_forest", 2)
    assert record is not None
    (known,) = [gate for gate in record.gates if gate["gate"] == "known anomalies found"]
    assert "more false alarms" in str(known["bound"])

    # Trained on the days since the change alone, it is not twice outgrown by those before.
    arrive(NOTICED, 2)
    assert false_positive_rate(runtime, NOTICED, NOTICED + 1, 2) < 0.05
    assert asked_for(runtime) is None

    arrive(NOTICED + 2, 2, poisoned=True)
    platform.warehouse.training_requests.ask(
        NAME, window_days=2, cause="request", reason="the poison", requested_by="test"
    )
    poison = asked_for(runtime)
    assert poison is not None
    rejected = train(runtime, poison)
    assert "version 3 is rejected: minimum quality" in str(rejected.outcome)
    assert bundles.champions(NAME) == {"isolation_forest": 2}
    with platform.warehouse.transactions.begin() as connection:
        alerts = connection.execute(
            "SELECT kind, state FROM alerts WHERE kind IN ('drift', 'gate_failed') ORDER BY kind"
        ).fetchall()
        messages = connection.execute(
            "SELECT count(*) FROM notifications WHERE kind = 'gate_failed'"
        ).fetchone()
    assert alerts == [("drift", "resolved"), ("gate_failed", "open")]
    assert messages == (1,)

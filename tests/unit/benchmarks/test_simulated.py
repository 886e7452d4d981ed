"""The benchmark on simulated data counts rows and events as it says."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from anomaly_platform.simulator.metrics import Simulation

ROOT = Path(__file__).resolve().parents[3]
START = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def simulated(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import simulated

    yield simulated
    sys.modules.pop("simulated", None)


def test_rows_and_events_are_counted_apart(simulated):
    times = [START + n * timedelta(minutes=5) for n in range(10)]
    labels = [2 <= n <= 4 or n == 8 for n in range(10)]
    flags = [n in (0, 3) for n in range(10)]
    scored = pl.DataFrame(
        {"entity": "a", "metric": "m", "event_time": times, "flag": flags, "label": labels}
    )
    events = pl.DataFrame(
        {
            "entity": "a",
            "metric": "m",
            "kind": ["drop", "spike"],
            "start": [times[2], times[8]],
            "end": [times[4], times[8]],
        }
    )
    month = simulated.judged(scored, Simulation("iiot", scored, events))
    assert month.false_positive_rate == pytest.approx(1 / 6)
    assert month.precision == 0.5
    assert (month.event_recall, month.events) == (0.5, 2)
    assert month.kinds == {"drop": 1.0, "spike": 0.0}


def test_windows_lie_around_the_anomalies_and_apart(simulated, monkeypatch):
    def small(simulate):
        return lambda days, devices, seed, **rest: simulate(min(days, 7), 1, seed, **rest)

    for name in ("simulate_iiot", "simulate_ems"):
        monkeypatch.setattr(simulated, name, small(getattr(simulated, name)))
    cases = simulated.streams(101)
    assert cases
    for frame, windows in cases:
        assert frame.columns == ["event_time", "value"]
        last = -1
        for first, stop in windows:
            assert last < first < stop < frame.height
            last = stop

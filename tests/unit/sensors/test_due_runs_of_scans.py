"""A stream of scans asks for its own models, and looks back thirty days."""

from __future__ import annotations

from datetime import date, timedelta

from anomaly_platform.sensors.landing import due_runs
from anomaly_platform.streams import BARCODE
from anomaly_platform.streams.staleness import DayState, StreamState

FIRST = date(2026, 1, 1)


def test_the_first_models_are_rules_svm_sequence_model_and_their_set() -> None:
    ready = StreamState([DayState(FIRST, 1, 1)], trainable_series=1)
    (run,) = due_runs(BARCODE, ready)
    stages = {key.path[-1] for key in run.asset_selection or []}
    assert stages == {"rules_model", "svm_model", "lstm_model", "champion"}


def test_late_scans_make_thirty_days_due_again() -> None:
    days = [DayState(FIRST + timedelta(days=n), 1, 1, 1, 1) for n in range(40)]
    days[2] = DayState(days[2].day, 9, 1, 1, 1)
    (run,) = due_runs(BARCODE, StreamState(days, champion=1))
    assert run.tags["dagster/asset_partition_range_start"] == str(days[2].day)
    assert run.tags["dagster/asset_partition_range_end"] == str(days[32].day)

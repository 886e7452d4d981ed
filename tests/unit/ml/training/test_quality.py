"""What is measured of a model: decided row by row, and anomaly by anomaly."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from anomaly_platform.ml.bundles.bundle import open_bundle
from anomaly_platform.ml.calibration.conformal import Calibration
from anomaly_platform.ml.evaluation.injection import inject, robust_scale
from anomaly_platform.ml.evaluation.measures import Confusion, confusion, events_found, segments
from anomaly_platform.ml.features.metrics.batch import microseconds
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.model_stack import Columns, ModelStack
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from anomaly_platform.ml.training.quality import INJECTED_SHARE, measure
from anomaly_platform.ml.training.quality_kernels import COUNTS, count_decisions
from tests.builders.readings import series

FEATURES = MetricFeatureSet(windows=(6, 24, 48), lags=(1, 6), frequency=timedelta(minutes=15))
ROWS, FIRST, SEED = 2_600, 1_000, 5
TO_MEASURE = ROWS - FIRST


class EveryNth:
    """Stands where a calibration does, and flags one row in n, whatever it reads."""

    def __init__(self, n: int) -> None:
        self.n = n

    def p_value(self, raw):
        return np.where(np.arange(raw.size) % self.n == 0, 0.0, 1.0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    values = np.random.default_rng(3).normal(50.0, 2.0, ROWS)
    frame = series("a", "cpu", values, step=FEATURES.frequency)
    directory = tmp_path_factory.mktemp("bundles") / "v1"
    lineage = Lineage(stream="ems", version="v1", code_version="0.1.0")
    train_fleet([FEATURES.compute(frame)], FEATURES, FleetPolicy(), directory, lineage=lineage)
    with open_bundle(directory) as bundle:
        yield bundle, microseconds(frame["event_time"]), values


def measured(trained, calibration):
    bundle, times, values = trained
    model = FleetScorer(bundle).load_model("a", "cpu")
    return measure(model, calibration, times, values, FIRST, FEATURES, alpha=0.01, seed=SEED)


def test_rows_and_anomalies_are_counted_apart(trained):
    found = measured(trained, EveryNth(7))
    *_, values = trained
    scale = robust_scale(values[:FIRST])
    labels = inject(values[FIRST:], seed=SEED, rate=INJECTED_SHARE, scale=scale).labels
    # The rows with injections come after those without, from the first of them on.
    first = int(np.argmax(labels))
    assert first > 0
    place = np.append(np.arange(first), TO_MEASURE + np.arange(TO_MEASURE - first))
    flagged = place % 7 == 0
    runs = [flagged[first : last + 1].any() for first, last in segments(labels)]
    assert found.true_positive_rate == pytest.approx(flagged[labels].mean())
    assert found.event_recall == pytest.approx(np.mean(runs))
    assert found.event_recall > found.true_positive_rate
    assert found.false_positive_rate == pytest.approx(1 / 7, abs=0.01)


@pytest.mark.parametrize(("n", "share"), [(1, 1.0), (10**9, 0.0)])
def test_who_flags_everything_or_nothing(trained, n, share):
    found = measured(trained, EveryNth(n))
    assert found.true_positive_rate == found.event_recall == share
    assert found.balanced_accuracy == pytest.approx(0.5, abs=1e-3)


def test_a_bundle_has_both_beside_the_accuracy(trained):
    bundle, *_ = trained
    (row,) = bundle.series.iter_rows(named=True)
    assert 0.2 < row["true_positive_rate"] <= row["event_recall"] <= 1.0
    metrics = bundle.manifest["metrics"]
    assert metrics["true_positive_rate_median"] == row["true_positive_rate"]
    assert metrics["event_recall_median"] == row["event_recall"]


def test_what_comes_before_the_first_anomaly_is_decided_as_without_any(trained):
    bundle, times, values = trained
    model = FleetScorer(bundle).load_model("a", "cpu")
    calibration = Calibration.fit(np.random.default_rng(1).normal(0.5, 0.2, 500))
    later = values[FIRST:]
    injection = inject(later, seed=SEED, rate=INJECTED_SHARE, scale=robust_scale(values[:FIRST]))
    wanted = []
    for changed in (later, injection.values):
        frame = series(
            "a", "cpu", np.concatenate((values[:FIRST], changed)), step=FEATURES.frequency
        )
        features = FEATURES.compute(frame).select(FEATURES.names).to_numpy().T[:, FIRST:]
        room = ModelStack.of(model).score_series(times[FIRST:], features.copy(), Columns(FEATURES))
        wanted.append(calibration.p_value(room.raw) <= 0.1)

    found = measure(model, calibration, times, values, FIRST, FEATURES, alpha=0.1, seed=SEED)

    counted = confusion(injection.labels, wanted[1])
    assert found.false_positive_rate == wanted[0].mean() > 0.0
    assert found.true_positive_rate == counted.recall > 0.0
    assert found.balanced_accuracy == counted.balanced_accuracy


def test_decisions_are_counted_as_the_measures_count_them():
    rng = np.random.default_rng(3)
    there = rng.random(300) < 0.9
    labels = np.array([np.repeat(rng.random(60) < share, 5) for share in (0.0, 0.05, 0.5, 1.0)])
    usual = rng.random(300) < 0.2
    # Of the variants, these are the last rows that were judged; those before are as usual.
    judged = np.array([300, 0, 300, 170, 1])
    flagged = np.concatenate((usual, rng.random(int(judged[1:].sum())) < 0.2))
    counts = np.zeros(COUNTS, dtype=np.int64)

    count_decisions(labels, flagged, there, judged, counts)

    wanted, events, end = Confusion(0, 0, 0, 0), [], 300
    for own, injected in zip(judged[1:].tolist(), labels, strict=True):
        decided = np.concatenate((usual[: 300 - own], flagged[end : end + own]))
        end += own
        wanted += confusion(injected[there], decided[there])
        events += events_found(injected[there], decided[there]).tolist()
    assert Confusion(*counts[:4].tolist()) == wanted
    assert counts[4:6].tolist() == [len(events), sum(events)]
    assert counts[6:].tolist() == [there.sum(), (usual & there).sum()]

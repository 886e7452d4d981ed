"""What is judged, and what settings are worth on it, with real models."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.tuning.held_out import HeldOut, TooLittleDataError, before_judged
from anomaly_platform.ml.tuning.judging import Judge, Measured
from anomaly_platform.ml.tuning.space import DetectorSettings
from tests.builders.readings import normal, series

ROWS = 1000
FEATURES = MetricFeatureSet(windows=(6, 12, 48))
TODAY = DetectorSettings(0.01, FEATURES.windows, 0.1, 10)


def rows(entities: int = 4, count: int = ROWS) -> pl.DataFrame:
    parts = [series(f"host-{n}", "cpu", normal(count, 50, 1, seed=n)) for n in range(entities)]
    return pl.concat(parts).with_columns(known=pl.lit(value=False))


def test_the_newest_fifth_is_judged_and_the_search_never_sees_it() -> None:
    whole = HeldOut.of(rows(), seed=1, min_samples=100)
    judged = whole.rows.filter("judged")
    assert judged.height == 4 * ROWS / 5
    assert before_judged(rows())["event_time"].max() < judged["event_time"].min()  # type: ignore[operator]
    assert (whole.units, judged["unit"].n_unique()) == (16, 16)


def test_anomalies_are_injected_into_judged_rows_only_and_by_seed() -> None:
    held, again = (HeldOut.of(rows(), seed=1, min_samples=100) for _ in range(2))
    other = HeldOut.of(rows(), seed=2, min_samples=100)
    judged = held.rows["judged"]
    sizes = []
    for one, same, another in zip(held.rounds, again.rounds, other.rounds, strict=True):
        assert one.equals(same)
        assert not one.equals(another)
        changed = one["value"] != held.rows["value"]
        assert not (changed & ~judged).any()
        assert not (one["truth"] & ~judged).any()
        assert 0.05 < one.filter(judged)["truth"].mean() < 0.2  # type: ignore[operator]
        sizes.append(float((one["value"] - held.rows["value"]).abs().max()))  # type: ignore[arg-type]
    # Every other round has anomalies of half the size.
    assert min(sizes[::2]) > max(sizes[1::2])


def test_known_anomalies_are_among_the_truths() -> None:
    known = rows().with_columns(
        known=(pl.col("entity") == "host-1") & (pl.int_range(ROWS).over("entity") >= ROWS - 7)
    )
    held = HeldOut.of(known, seed=1, min_samples=100)
    at = (held.rows["entity"] == "host-1").arg_true()[-7:]
    assert all(one["truth"].gather(at).all() for one in held.rounds)


@pytest.mark.parametrize(("entities", "count"), [(4, 90), (1, 300), (4, 150)])
def test_too_little_is_refused_with_what_is_needed(entities: int, count: int) -> None:
    with pytest.raises(TooLittleDataError, match="too little data"):
        HeldOut.of(rows(entities, count), seed=1, min_samples=100)


def test_a_short_series_is_left_out_of_a_small_stream() -> None:
    young = series("host-9", "cpu", normal(210, 50, 1, seed=9)).with_columns(
        known=pl.lit(value=False)
    )
    held = HeldOut.of(pl.concat([rows(1), young]), seed=1, min_samples=100)
    assert held.entities == ("host-0",)
    assert held.units == 16
    assert held.rows.height == ROWS


def test_settings_are_judged_by_what_they_find_and_falsely_flag(tmp_path: Path) -> None:
    held = HeldOut.of(rows(), seed=1, min_samples=100)
    judge = Judge(held, FEATURES, FleetPolicy(), lambda: Path(tempfile.mkdtemp(dir=tmp_path)))
    counts, area = judge.counts_and_ranking(TODAY)
    assert np.array_equal(counts, judge.counts_and_ranking(TODAY)[0])
    found = Measured.of(counts, limit=0.01)
    assert counts[:, 4].sum() == 4 * ROWS / 5
    assert found.event_recall > 0.6
    assert found.false_positive_rate < 0.05
    assert area is not None
    assert area > 0.4
    eager = DetectorSettings(0.1, TODAY.windows, 0.1, 10)
    flags_more = Measured.of(judge.counts(eager, held.entities), limit=0.01)
    assert flags_more.false_positive_rate > found.false_positive_rate
    assert flags_more.objective < found.objective
    assert not list(tmp_path.iterdir())
    half = held.entities[:2]
    some = judge.counts(TODAY, half)
    assert np.array_equal(some[:8], counts[:8])
    assert not some[8:].any()

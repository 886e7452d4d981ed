"""Series and hosts: the platform's pipeline over frames and arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from anomaly_platform import HostDetector, SeriesDetector
from anomaly_platform.ml.backtest.series import train_test
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from tests.builders.estimators import SMALL, host


def pipeline(train: pl.DataFrame, test: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Train and score as the assets do, over all rows in long form."""
    long = [
        frame.unpivot(index="event_time", variable_name="metric").with_columns(
            entity=pl.lit("entity")
        )
        for frame in (train, test)
    ]
    lineage = Lineage(stream="s", version="1", code_version="1")
    policy = FleetPolicy(evaluate=False)
    bundle = train_fleet([SMALL.compute(long[0])], SMALL, policy, folder / "b", lineage=lineage)
    since = test["event_time"].min()
    return FleetScorer(bundle).score(SMALL.compute(pl.concat(long), since=since))


def test_a_series_has_the_scores_of_the_platform(fitted: Any, tmp_path: Path) -> None:
    case, detector = fitted("series")
    expected = pipeline(case.train, case.test, tmp_path)["score"]
    assert detector.score_samples(case.test).equals(-expected, null_equal=True)


def test_a_host_has_the_entitys_scores(fitted: Any, tmp_path: Path) -> None:
    case, detector = fitted("host")
    expected = pipeline(case.train, case.test, tmp_path).unique("event_time").sort("event_time")
    assert detector.score_samples(case.test).equals(-expected["entity_score"])
    result = train_test(case.train, case.test, time_column="event_time", feature_set=SMALL)
    np.testing.assert_array_equal(detector.score_samples(case.test), -result.score)


def test_of_an_array_the_first_column_is_the_time(fitted: Any) -> None:
    case, detector = fitted("host")
    train, test = (
        frame.with_columns(pl.col("event_time").dt.epoch("us") / 1e6).to_numpy()
        for frame in (case.train, case.test)
    )
    scores = HostDetector(feature_set=SMALL).fit(train).score_samples(test)
    assert isinstance(scores, np.ndarray)
    assert scores.argmin() == len(scores) - 1
    np.testing.assert_array_equal(
        detector.score_samples(test), detector.score_samples(case.test).to_numpy()
    )


def test_missing_readings_have_no_score_and_raise_no_alarm() -> None:
    train, test = host(1)
    name = train.columns[1]
    holes = test.with_columns(pl.when(pl.int_range(pl.len()) != 3).then(pl.col(name)))
    detector = SeriesDetector(feature_set=SMALL).fit(train)
    assert np.isnan(detector.score_samples(holes)[3])
    assert detector.predict(holes)[3] == 1


def test_later_bundles_of_the_library_serve_as_the_platforms_do(
    fitted: Any, tmp_path: Path
) -> None:
    from anomaly_platform.ml.bundles.bundle import open_bundle

    case, detector = fitted("series")
    detector.save(tmp_path / "b")
    with open_bundle(tmp_path / "b") as bundle:
        assert FleetScorer(bundle).load_model("entity", case.train.columns[1]) is not None


def test_metrics_that_cannot_be_learned_are_told() -> None:
    train, _ = host(2)
    rare = train.with_columns(pl.when(pl.int_range(pl.len()) < 9).then(pl.last()))
    with pytest.warns(UserWarning, match=f"{train.columns[-1]}: 9 readings"):
        HostDetector(feature_set=SMALL).fit(rare)
    with pytest.raises(ValueError, match="12 readings, 100 are needed"):
        SeriesDetector(feature_set=SMALL).fit(host(1)[0][:12])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop("event_time"), "no column 'event_time'.*reset_index"),
        (lambda f: f.with_columns(pl.col("event_time").cast(pl.String)), "String, not a time"),
        (lambda f: pl.concat([f, f[:1]]), "repeated"),
        (lambda f: f.with_columns(other=pl.lit(1)), "SeriesDetector reads one column"),
        (lambda f: f.select("event_time"), "not none"),
        (lambda f: f.with_columns(pl.last().cast(pl.String)), "encode"),
        (lambda f: f.head(0), "no rows"),
        (lambda f: f.to_numpy()[:, 0], "reshape"),
    ],
)
def test_wrong_frames_are_refused_by_name(change: Any, message: str) -> None:
    train, _ = host(1)
    with pytest.raises((ValueError, TypeError), match=message):
        SeriesDetector().fit(change(train))


def test_another_metric_than_the_learned_one_is_refused(fitted: Any) -> None:
    case, detector = fitted("series")
    with pytest.raises(ValueError, match=r"unknown \['other'\]"):
        detector.predict(case.test.rename({case.test.columns[1]: "other"}))

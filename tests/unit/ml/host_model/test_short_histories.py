"""Where training is shorter than the longest window, what moves apart has a say of its own."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.backtest.series import train_test
from anomaly_platform.ml.calibration.conformal import Calibration, score_of_p
from anomaly_platform.ml.host_model.bundled import BundledHost
from anomaly_platform.ml.host_model.model import HostModel
from anomaly_platform.ml.host_model.reach import REACH
from anomaly_platform.ml.scoring.apart import heard

SECONDS = 1_000_000


def together(rows, seed, metrics=4):
    """Return (rows, metrics) readings that follow one slow load."""
    rng = np.random.default_rng(seed)
    load = np.zeros(rows)
    for row in range(1, rows):
        load[row] = 0.97 * load[row - 1] + rng.normal()
    return 50.0 + load[:, None] * (1.0 + np.arange(metrics)) + rng.normal(size=(rows, metrics))


def fitted(values, **short):
    times = np.arange(len(values)) * SECONDS
    return HostModel.fit([f"m{n}" for n in range(values.shape[1])], times, values, **short)


def test_all_rows_but_the_first_few_calibrate_each_part_judged_by_the_others():
    values = together(240, 1)
    assert fitted(values) is None  # a fifth is 48 rows
    model, distances = fitted(values, short=True)
    assert model.decides
    assert distances.shape == (240 - REACH, 4)
    # A regression that has seen them is nearer to the rows than those that have not.
    seen = model.distances(np.arange(240) * SECONDS, values)[REACH:]
    assert seen.mean() < distances.mean()


def test_a_short_history_is_written_and_read_and_older_bundles_decide_nothing():
    model, _ = fitted(together(300, 2), short=True)
    arrays = model.to_arrays()
    again = HostModel.from_arrays(arrays)
    times, rows = np.arange(60) * SECONDS, together(60, 3)
    np.testing.assert_array_equal(again.distances(times, rows), model.distances(times, rows))
    assert again.decides
    del arrays["decides"]
    assert not HostModel.from_arrays(arrays).decides


def test_the_say_of_both_is_worth_the_same_and_without_evidence_the_series_decide():
    model, _ = fitted(together(300, 2), short=True)
    calibration = Calibration.fit(np.linspace(0.1, 5.0, 200))
    host = BundledHost(model, calibration)
    p, apart = np.array([0.2, 0.2, 1e-4]), np.array([0.0, 6.0, 2.0])
    found, scores = heard(host, p, np.zeros(3), apart, 0.01)
    own = calibration.p_value(apart)
    np.testing.assert_allclose(found, [0.2, np.sqrt(0.2 * own[1]), np.sqrt(1e-4 * own[2])])
    np.testing.assert_array_equal(scores, score_of_p(found, 0.01))
    before = BundledHost(replace(model, decides=False), calibration)
    kept, ordered = heard(before, p, np.zeros(3), apart, 0.01)
    np.testing.assert_array_equal(kept, p)
    np.testing.assert_array_equal(ordered >= 0.7, score_of_p(p, 0.01) >= 0.7)


def test_a_metric_that_leaves_the_others_is_found_after_five_minutes_of_history():
    values = together(700, 5)
    # The third repeats what it was two minutes ago: no value of it is unusual.
    values[500:560, 2] = values[380:440, 2]
    times = [datetime(2026, 3, 2) + i * timedelta(seconds=1) for i in range(700)]  # noqa: DTZ001
    frame = pl.DataFrame({"t": times, **{f"m{n}": values[:, n] for n in range(4)}})
    found = train_test(frame[:300], frame[300:], time_column="t")
    flags = found.is_anomaly
    assert flags[200:270].mean() > 0.4
    assert np.delete(flags, slice(200, 290)).mean() < 0.05
    named = found.causes.filter(pl.Series(flags)).explode().to_list()
    assert "m2" in named


@pytest.mark.parametrize("rows", [110, 130])
def test_too_few_rows_have_no_model(rows):
    found = fitted(together(rows, 4), short=True)
    assert (found is None) == (rows - REACH < 100)

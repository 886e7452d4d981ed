"""Features over frames: against plain NumPy, at the edges, and over days."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.features.metrics import kernel_threads
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from tests.builders.readings import START, series

SMALL = MetricFeatureSet(windows=(3, 7), lags=(1, 4), frequency=timedelta(minutes=5))


def test_windows_agree_with_numpy_and_leave_the_row_itself_out():
    values = np.random.default_rng(1).normal(100.0, 3.0, 60)
    features = SMALL.compute(series("host", "cpu", values))
    for i in range(8, 60):
        row = features.row(i, named=True)
        for w in SMALL.windows:
            window = values[i - w : i]
            assert row[f"mean_{w}"] == pytest.approx(window.mean(), rel=1e-12)
            assert row[f"std_{w}"] == pytest.approx(window.std(), rel=1e-9)
            assert row[f"min_{w}"] == window.min()
            assert row[f"max_{w}"] == window.max()
            assert row[f"median_{w}"] == np.median(window)
            assert row[f"missing_{w}"] == 0
        window = values[i - 7 : i]
        assert row["q25_7"] == pytest.approx(np.quantile(window, 0.25), rel=1e-12)
        assert row["q75_7"] == pytest.approx(np.quantile(window, 0.75), rel=1e-12)
        mad = np.median(np.abs(window - np.median(window)))
        assert row["mad_7"] == pytest.approx(mad, rel=1e-9)
        assert row["jitter_7"] == np.median(np.abs(np.diff(window)))
        assert row["lag_4"] == values[i - 4]
        assert row["diff_1"] == values[i] - values[i - 1]


@pytest.mark.parametrize("size", [*range(1, 14), 288])
def test_mad_of_every_window_size(size):
    values = np.random.default_rng(size).integers(0, 9, size + 1).astype(float)
    features = MetricFeatureSet(windows=(size,), lags=(1,)).compute(series("host", "cpu", values))
    window = values[:size]
    expected = np.median(np.abs(window - np.median(window)))
    assert features[f"mad_{size}"][-1] == expected


def test_gaps_and_empty_rows_count_as_missing_and_enter_no_statistic():
    times = [START + m * timedelta(minutes=1) for m in (0, 5, 10, 30, 35)]
    features = SMALL.compute(series("host", "cpu", [1.0, None, 3.0, 5.0, None], times=times))
    assert features["missing_3"].to_list() == [0, 0, 1, 4, 4]
    assert features["count_7"].to_list() == [0, 1, 1, 2, 3]
    assert features["mean_3"].to_list() == [1.0, 1.0, 1.0, 2.0, 4.0]
    assert features["value"].to_list() == [1.0, None, 3.0, 5.0, None]
    assert features["diff_1"].to_list() == [0.0, None, 2.0, 2.0, None]
    assert features["jitter_7"].to_list() == [0.0, 0.0, 0.0, 0.0, 2.0]


def test_windows_never_reach_beyond_the_lookback():
    times = [START, START + timedelta(days=1), START + timedelta(days=1, minutes=5)]
    features = SMALL.compute(series("host", "cpu", [7.0, 1.0, 2.0], times=times))
    assert features["mean_7"].to_list() == [7.0, 1.0, 1.0]
    assert features["count_7"].to_list() == [0, 0, 1]


def test_features_of_readings_are_finite_even_for_extreme_values():
    values = [1e308, -1e308, 1e308, 0.0, -0.0, 5e-324, 1e-300, -1e308, 1.0, 2.0]
    features = SMALL.compute(series("host", "cpu", values))
    for name in SMALL.names:
        assert features[name].is_finite().all(), name


def test_a_constant_history_has_no_spread_at_all():
    features = SMALL.compute(series("host", "cpu", [0.1] * 9 + [0.2]))
    last = features.row(-1, named=True)
    assert last["std_7"] == 0.0
    assert last["mean_7"] == 0.1
    assert last["mad_7"] == 0.0


def test_unsorted_pandas_frames_with_other_columns_are_taken():
    frame = pl.concat([series(e, "cpu", [1.0, 2.0, 3.0]) for e in ("b", "a")])
    frame = frame.with_columns(label=pl.lit(value=True))
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=1)
    expected = SMALL.compute(frame.sort("entity", "event_time"))
    assert SMALL.compute(shuffled).equals(expected)
    from_pandas = SMALL.compute(shuffled.to_pandas())
    assert from_pandas["mean_3"].to_list() == expected["mean_3"].to_list()
    assert expected["label"].all()


def test_a_frame_sorted_by_bucket_keeps_its_order():
    frame = pl.concat([series(e, "cpu", [1.0, 2.0]) for e in ("b", "a")])
    assert SMALL.compute(frame)["entity"].to_list() == ["b", "b", "a", "a"]


def test_series_do_not_see_each_other():
    frame = pl.concat([series("host", "cpu", [1.0, 2.0, 3.0]), series("host", "mem", [50.0, 60.0])])
    features = SMALL.compute(frame)
    assert features["mean_7"].to_list() == [1.0, 1.0, 1.5, 50.0, 50.0]


def test_since_returns_only_later_rows():
    frame = series("host", "cpu", np.arange(20.0))
    since = START + timedelta(minutes=50)
    expected = SMALL.compute(frame).filter(pl.col("event_time") >= since)
    assert SMALL.compute(frame, since=since).equals(expected)
    with pytest.raises(ValueError, match="time zone"):
        SMALL.compute(frame, since=datetime(2026, 1, 1))  # noqa: DTZ001


def test_an_empty_frame_has_the_columns():
    features = SMALL.compute(series("host", "cpu", []))
    assert features.height == 0
    assert set(SMALL.names) <= set(features.columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop("value"), "missing from the frame: value"),
        (lambda f: f.with_columns(value=pl.lit(float("nan"))), "NaN or infinity"),
        (lambda f: f.with_columns(value=pl.lit(float("inf"))), "NaN or infinity"),
        (lambda f: f.with_columns(entity=pl.lit(None, dtype=pl.String)), "entity has empty"),
    ],
)
def test_wrong_frames_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SMALL.compute(change(series("host", "cpu", [1.0, 2.0])))


def test_threads_share_the_series_without_changing_a_bit(monkeypatch):
    values = np.random.default_rng(3).normal(size=3_000)
    values[::41] = np.nan
    times = np.tile(np.arange(250) * 300_000_000, 12)
    offsets = np.array([0, 250, 500, 501, 1500, 1750, 2250, 3000])
    times[501:1500] = np.arange(999) * 300_000_000
    times[1750:2250] = np.arange(500) * 300_000_000
    times[2250:] = np.arange(750) * 300_000_000
    since = 100 * 300_000_000
    rows = int((times >= since).sum())
    alone = kernel_threads.run_kernel(SMALL, times, values, offsets, since, rows)
    monkeypatch.setattr(kernel_threads, "_ROWS_OF_A_THREAD", 1)
    for threads in (2, 3):
        monkeypatch.setattr(kernel_threads, "thread_pool_size", lambda threads=threads: threads)
        shared = kernel_threads.run_kernel(SMALL, times, values, offsets, since, rows)
        assert shared.tobytes() == alone.tobytes()


def test_each_series_may_begin_at_a_time_of_its_own(monkeypatch):
    values = np.random.default_rng(4).normal(size=900)
    times = np.tile(np.arange(300) * 300_000_000, 3)
    offsets = np.array([0, 300, 600, 900])
    begins = np.array([50, 300, 120])
    since = begins * 300_000_000
    rows = int((300 - begins).sum())
    wanted = np.hstack(
        [
            kernel_threads.run_kernel(
                SMALL, times[:300], values[300 * k : 300 * (k + 1)], offsets[:2], since[k], 300 - b
            )
            for k, b in enumerate(begins.tolist())
        ]
    )
    alone = kernel_threads.run_kernel(SMALL, times, values, offsets, since, rows)
    assert alone.tobytes() == wanted.tobytes()
    monkeypatch.setattr(kernel_threads, "_ROWS_OF_A_THREAD", 1)
    monkeypatch.setattr(kernel_threads, "thread_pool_size", lambda: 3)
    shared = kernel_threads.run_kernel(SMALL, times, values, offsets, since, rows)
    assert shared.tobytes() == wanted.tobytes()

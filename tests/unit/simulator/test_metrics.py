from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.evaluation.injection import KINDS
from anomaly_platform.simulator.metrics import Simulation, simulate_ems, simulate_iiot, write
from anomaly_platform.simulator.profiles import EMS, IIOT

BOTH = pytest.mark.parametrize("simulate", [simulate_iiot, simulate_ems])


@pytest.fixture(scope="module")
def iiot() -> Simulation:
    return simulate_iiot(days=14, devices=6, seed=7)


@pytest.fixture(scope="module")
def calm() -> Simulation:
    return simulate_ems(days=28, devices=3, seed=7, anomaly_rate=0, missing_rate=0, churn=0)


def series(simulation: Simulation, entity: str, metric: str) -> pl.DataFrame:
    return simulation.frame.filter(pl.col("entity") == entity, pl.col("metric") == metric)


@BOTH
def test_same_seed_same_frame_another_seed_another(simulate):
    first, again, other = (simulate(days=2, devices=2, seed=seed) for seed in (1, 1, 2))
    assert first.frame.equals(again.frame)
    assert first.events.equals(again.events)
    assert not first.frame.equals(other.frame)


@BOTH
@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_same_seed_same_bytes(simulate, file_format, tmp_path):
    written = []
    for name in ("a", "b"):
        paths = write(simulate(days=2, devices=2, seed=3), tmp_path / name, file_format)
        written.append({path.name: path.read_bytes() for path in paths})
    assert written[0] == written[1]


def test_another_seed_is_the_same_fleet():
    quiet = {"anomaly_rate": 0, "missing_rate": 0, "churn": 0}
    medians = [
        simulate_iiot(days=14, devices=4, seed=seed, **quiet)
        .frame.group_by("entity", "metric")
        .agg(pl.col("value").median())
        .filter(pl.col("metric") != "oil_level")
        .sort("entity", "metric")["value"]
        .to_numpy()
        for seed in (1, 2)
    ]
    np.testing.assert_allclose(medians[0], medians[1], rtol=0.15, atol=0.3)


@BOTH
def test_frame_is_canonical(simulate):
    frame = simulate(days=1, devices=2, seed=0).frame
    assert frame.schema == {
        "entity": pl.String,
        "metric": pl.String,
        "event_time": pl.Datetime("us", "UTC"),
        "value": pl.Float64,
        "label": pl.Boolean,
    }
    assert frame.equals(frame.sort("entity", "metric", "event_time"))
    assert not frame.select("entity", "metric", "event_time").is_duplicated().any()
    assert not frame["value"].is_nan().any()
    assert frame["label"].null_count() == 0


@pytest.mark.parametrize(("simulate", "profile"), [(simulate_iiot, IIOT), (simulate_ems, EMS)])
def test_readings_stay_within_what_the_metric_can_read(simulate, profile):
    frame = simulate(days=7, devices=4, seed=5, anomaly_rate=0.2).frame
    assert set(frame["metric"]) == {metric.metric for metric in profile.metrics}
    for metric in profile.metrics:
        values = frame.filter(pl.col("metric") == metric.metric)["value"].drop_nulls()
        assert values.min() >= metric.bounds[0]
        assert values.max() <= metric.bounds[1]
        np.testing.assert_allclose(values, np.round(values.to_numpy(), metric.decimals))


def test_labels_are_the_rows_of_the_events(iiot):
    labelled = iiot.frame.filter("label")
    joined = labelled.join(iiot.events, on=["entity", "metric"], how="left", suffix="_event")
    inside = joined.filter(pl.col("event_time").is_between("start", "end"))
    covered = inside.select("entity", "metric", "event_time").unique()
    # A labelled row without an event can only be one that arrived without a value.
    missed = labelled.join(covered, on=["entity", "metric", "event_time"], how="anti")
    assert missed["value"].null_count() == missed.height
    readable = inside.filter(pl.col("value").is_not_null())
    assert readable.height == iiot.events["rows"].sum()


def test_all_six_kinds_and_incidents_over_several_metrics(iiot):
    assert set(iiot.events["kind"]) == set(KINDS)
    incidents = iiot.events.drop_nulls("incident").group_by("incident")
    hit = incidents.agg(pl.col("metric").n_unique(), pl.col("start").n_unique())
    assert hit["metric"].max() >= 2
    assert hit["start"].max() == 1


@BOTH
@pytest.mark.parametrize("rate", [0.01, 0.04])
def test_share_of_anomalous_rows_is_near_the_rate(simulate, rate):
    frame = simulate(days=14, devices=8, seed=11, anomaly_rate=rate).frame
    assert frame["label"].mean() == pytest.approx(rate, rel=0.35)


def test_rate_zero_has_no_anomaly_and_missing_rate_zero_no_gap(calm):
    assert calm.events.is_empty()
    assert not calm.frame["label"].any()
    assert calm.frame["value"].null_count() == 0
    assert calm.frame.height == 28 * 288 * 3 * len(EMS.metrics)


def test_missing_readings_are_both_absent_and_null():
    frame = simulate_iiot(days=7, devices=3, seed=1, missing_rate=0.1, churn=0).frame
    expected = 7 * 288 * 3 * len(IIOT.metrics)
    absent = 1 - frame.height / expected
    assert 0.03 < absent < 0.12
    assert frame["value"].is_null().mean() == pytest.approx(0.05, abs=0.02)


def test_devices_join_and_leave():
    frame = simulate_iiot(days=10, devices=40, seed=3, churn=0.4).frame
    spans = frame.group_by("entity").agg(
        pl.col("event_time").min().alias("first"), pl.col("event_time").max().alias("last")
    )
    start, end = frame["event_time"].min(), frame["event_time"].max()
    assert 4 <= (spans["first"] > start + timedelta(days=1)).sum() <= 28
    assert 1 <= (spans["last"] < end - timedelta(hours=4)).sum() <= 20


def test_daily_and_weekly_seasons(calm):
    cpu = series(calm, "host-001", "network_in").with_columns(
        pl.col("event_time").dt.hour().alias("hour"),
        (pl.col("event_time").dt.weekday() > 5).alias("weekend"),
    )
    hours = cpu.filter(~pl.col("weekend")).group_by("hour").agg(pl.col("value").mean())
    means = dict(hours.iter_rows())
    assert means[15] > 2 * means[3]
    weekend = dict(cpu.group_by("weekend").agg(pl.col("value").mean()).iter_rows())
    assert weekend[False] > 1.3 * weekend[True]


def test_six_o_clock_job_runs_every_day_and_is_no_anomaly(calm):
    disk = calm.frame.filter(pl.col("metric") == "disk_io").with_columns(
        pl.col("event_time").dt.hour().alias("hour"), pl.col("event_time").dt.date().alias("day")
    )
    peaks = (
        disk.filter(pl.col("hour").is_between(5, 6))
        .group_by("entity", "day", "hour")
        .agg(pl.col("value").max())
        .pivot("hour", index=["entity", "day"], values="value")
    )
    running = peaks.group_by("entity").agg((pl.col("6") > pl.col("5") + 30).mean().alias("share"))
    assert set(running["share"].round(1)) <= {0.0, 1.0}
    assert running["share"].max() == 1.0


def test_written_files_have_external_names_and_lose_nothing(iiot, tmp_path):
    paths = write(iiot, tmp_path, stream="plant")
    assert [path.name for path in paths[:2]] == ["plant-2025-01-06.csv", "plant-2025-01-07.csv"]
    assert len(paths) == 14
    read = pl.concat(pl.read_csv(path, try_parse_dates=True) for path in paths)
    assert read.columns == ["device_id", "metric_name", "value", "timestamp", "is_anomaly"]
    assert read.height == iiot.frame.height
    back = read.sort("device_id", "metric_name", "timestamp")
    np.testing.assert_array_equal(back["value"].to_numpy(), iiot.frame["value"].to_numpy())
    assert back["is_anomaly"].to_list() == iiot.frame["label"].to_list()


def test_ems_files_speak_of_assets(tmp_path):
    path = write(simulate_ems(days=1, devices=1, seed=0), tmp_path, "parquet")[0]
    assert pl.read_parquet_schema(path).keys() >= {"asset_id", "metric_name", "is_anomaly"}


def test_one_more_device_changes_no_other():
    few, more = (simulate_ems(days=2, devices=n, seed=4).frame for n in (1, 3))
    assert more.filter(pl.col("entity") == "host-001").equals(few)


def test_frequency_sets_the_grid():
    frame = simulate_iiot(
        days=1, devices=1, seed=0, frequency=timedelta(minutes=1), missing_rate=0, churn=0
    ).frame
    assert frame.height == 1440 * len(IIOT.metrics)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"days": 0}, "at least 1"),
        ({"devices": 0}, "at least 1"),
        ({"seed": -1}, "seed"),
        ({"anomaly_rate": 0.9}, "anomaly_rate"),
        ({"missing_rate": -0.1}, "missing_rate"),
        ({"churn": 2}, "churn"),
        ({"start": datetime(2025, 1, 1)}, "time zone"),  # noqa: DTZ001
        ({"frequency": timedelta(0)}, "frequency"),
    ],
)
def test_impossible_plans_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate_iiot(**{"days": 1, "devices": 1, **arguments})


def test_unknown_format_is_refused(iiot, tmp_path):
    with pytest.raises(ValueError, match="csv or parquet"):
        write(iiot, tmp_path, "xlsx")


def test_start_moves_the_data_not_the_devices():
    later = simulate_iiot(
        days=1, devices=1, seed=0, start=datetime(2025, 3, 3, tzinfo=UTC), churn=0
    )
    assert later.frame["event_time"].min() == datetime(2025, 3, 3, tzinfo=UTC)

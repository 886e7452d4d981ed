"""The fast path for single readings: the same bits as a day scored at once."""

import copy
import itertools
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.ml.bundles.bundle import open_bundle
from anomaly_platform.ml.features.metrics.batch import microseconds, series_offsets
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.kernel_threads import run_kernel
from anomaly_platform.ml.features.metrics.series_buffers import SeriesBuffers, step, step_with_runs
from anomaly_platform.ml.features.metrics.series_state import SeriesState
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.model_stack import ModelStack
from anomaly_platform.ml.scoring.online import OnlineScorer
from anomaly_platform.ml.series_model.model import SeriesModel
from anomaly_platform.ml.series_model.noise import growth
from anomaly_platform.ml.series_runs.run_states import RunStates
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from tests.builders.readings import START, series

FEATURES = MetricFeatureSet(windows=(6, 24, 96), lags=(1, 6), frequency=timedelta(minutes=15))
START_US = int(START.timestamp()) * 1_000_000
WEEKS = 3 * 7 * 96
LINEAGE = Lineage(stream="iiot", version="1", code_version="0.1.0")


def values_of(seed, rows, kind):
    rng = np.random.default_rng(seed)
    clock = np.arange(rows)
    noise = rng.normal(0.0, 1.0, rows)
    if kind == "seasonal":
        weekend = (clock // 96) % 7 >= 5
        return 100 + 30 * np.sin(clock / 96 * 2 * np.pi) * ~weekend + noise
    if kind == "resting":
        return np.where(rng.random(rows) < 0.01, 3.0, 7.0)
    if kind == "wandering":
        return 50 + np.cumsum(noise)
    return 20 + noise


KINDS = {
    "steady": 60 * 96 // 10,
    "seasonal": WEEKS,
    "resting": 700,
    "wandering": 700,
    "short": 150,
    "shorter": 60,
    "new": 12,
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    frames = [
        series(f"d{n}", kind, values_of(n, rows, kind), step=FEATURES.frequency)
        for n, (kind, rows) in enumerate(KINDS.items())
    ]
    directory = tmp_path_factory.mktemp("bundles") / "v1"
    features = [FEATURES.compute(frame) for frame in frames]
    train_fleet(features, FEATURES, FleetPolicy(), directory, lineage=LINEAGE)
    with open_bundle(directory) as opened:
        yield opened


def tomorrow():
    """Days with everything that can happen to a reading, of series known and unknown."""
    rng = np.random.default_rng(99)
    frames = []
    for n, kind in enumerate([*KINDS, "unheard of"]):
        values = values_of(n + 50, 700, kind)
        values[120:126] += 40.0
        values[200:260] = values[200]
        values[300] = 1e308
        values[301] = -1e308
        values[320:420] -= 25.0
        # What is accepted after half a day: a wider swing, another level, more noise.
        values[450:] = 2.0 * values[450:] + rng.normal(0.0, 4.0, 250)
        frame = series(f"d{n}", kind, values, step=FEATURES.frequency)
        frames.append(frame.filter(pl.Series(rng.random(700) > 0.03)))
    return FEATURES.compute(pl.concat(frames))


def bits(values):
    return np.asarray(values, dtype=np.float64).view(np.int64)


@pytest.mark.parametrize("held", [64, 3])
def test_single_readings_get_the_bits_of_the_batch(bundle, held):
    frame = tomorrow()
    expected = FleetScorer(bundle, threshold=0.7).score(frame)
    features = frame.select(FEATURES.names).cast(pl.Float64).to_numpy().T.copy()
    keys = list(frame.select("entity", "metric").iter_rows())
    times = microseconds(frame["event_time"])
    scorer = OnlineScorer(FleetScorer(bundle), models_held=held)
    shuffled = np.random.default_rng(0).permutation(len(keys))
    for part in np.array_split(shuffled, 60):
        said = scorer.judge(
            [keys[i] for i in part], times[part], features[:, part], np.full(part.size, 0.7)
        )
        rows = expected[part.tolist()]
        for found, name in (
            (said.raw, "raw_score"),
            (said.p_value, "p_value"),
            (said.score, "score"),
        ):
            np.testing.assert_array_equal(
                bits(found), bits(rows[name].fill_null(float("nan")).to_numpy())
            )
        decided = [a if d else None for a, d in zip(said.is_anomaly, said.decided, strict=True)]
        assert decided == rows["is_anomaly"].to_list()
        assert said.status == rows["status"].to_list()
    assert expected["is_anomaly"].sum() > 50


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_the_ends_of_the_scale_flag_all_that_has_a_score_and_nothing(bundle, threshold):
    frame = tomorrow()
    own = dict.fromkeys(frame.select("entity", "metric").unique().iter_rows(), threshold)
    rows = FleetScorer(bundle, thresholds=own).score(frame)
    scored = rows["score"].is_not_null()
    assert rows["threshold"].unique().to_list() == [threshold]
    assert scored.sum() > 0
    assert rows["score"].max() < 1.0
    wanted = scored if threshold == 0.0 else pl.repeat(False, rows.height, eager=True)
    assert (rows["is_anomaly"].fill_null(value=False) == wanted).all()


def test_what_is_compared_has_been_accepted_in_part(bundle):
    frame = tomorrow().filter(pl.col("metric") == "seasonal")
    columns = {name: frame[name].cast(pl.Float64).to_numpy() for name in FEATURES.names}
    model = FleetScorer(bundle).load_model("d1", "seasonal")
    assert np.isfinite(model.position.slack)
    assert growth(columns, FEATURES, model.inputs.jitter)[-50:].min() > 2.0
    assert columns["mad_96"].max() > 1.5 * model.position.swing


def test_one_reading_alone_is_the_same_as_among_others(bundle):
    frame = tomorrow().filter(pl.col("metric") == "seasonal")
    features = frame.select(FEATURES.names).cast(pl.Float64).to_numpy().T.copy()
    keys = list(frame.select("entity", "metric").iter_rows())
    times, thresholds = microseconds(frame["event_time"]), np.full(frame.height, 0.7)
    scorer = OnlineScorer(FleetScorer(bundle))
    together = scorer.judge(keys, times, features, thresholds)
    for i in range(0, frame.height, 7):
        alone = scorer.judge(
            keys[i : i + 1], times[i : i + 1], features[:, i : i + 1], thresholds[i : i + 1]
        )
        assert bits(alone.score)[0] == bits(together.score)[i]


def test_rows_after_a_look_back_get_the_features_of_the_whole():
    rng = np.random.default_rng(5)
    frame = tomorrow()
    offsets = series_offsets(frame)
    times = microseconds(frame["event_time"])
    values = frame["value"].to_numpy().copy()
    values[rng.random(values.size) < 0.05] = np.nan
    whole = run_kernel(FEATURES, times, values, offsets, -(2**62), values.size)
    wanted = np.array([rng.integers(a, b + 1) for a, b in itertools.pairwise(offsets)])
    rows = np.concatenate([np.arange(w, b) for w, b in zip(wanted, offsets[1:], strict=True)])
    buffers = SeriesBuffers(FEATURES, wanted.size)
    for place, (begin, first) in enumerate(zip(offsets[:-1], wanted, strict=True)):
        past = slice(begin, first)
        buffers.put(place, SeriesState.of(FEATURES, times[past], values[past]))
    places = np.repeat(np.arange(wanted.size), offsets[1:] - wanted)
    np.testing.assert_array_equal(
        buffers.append(places, times[rows], values[rows]).view(np.int64),
        whole[:, rows].view(np.int64),
    )


def test_one_reading_alone_gets_the_verdict_of_many(bundle):
    frame = tomorrow()
    features = frame.select(FEATURES.names).cast(pl.Float64).to_numpy().T.copy()
    keys = list(frame.select("entity", "metric").iter_rows())
    times = microseconds(frame["event_time"])
    thresholds = np.random.default_rng(1).uniform(0.3, 0.95, frame.height)
    together = OnlineScorer(FleetScorer(bundle)).judge(keys, times, features, thresholds)
    scorer = OnlineScorer(FleetScorer(bundle), models_held=3)
    for i in range(0, frame.height, 3):
        alone = scorer.judge_one(
            keys[i], int(times[i]), features[:, i : i + 1], float(thresholds[i])
        )
        for found, expected in (
            (alone.raw, together.raw),
            (alone.p_value, together.p_value),
            (alone.score, together.score),
        ):
            assert bits(float("nan") if found is None else found) == bits(expected[i])
        assert alone.is_anomaly == (together.is_anomaly[i] if together.decided[i] else None)
        assert alone.status == together.status[i]
    assert scorer.evictions
    assert scorer.misses == len(scorer.held) + scorer.evictions
    asked = sum(scorer.source.load_model(*keys[i]) is not None for i in range(0, frame.height, 3))
    assert scorer.hits == asked - scorer.misses > 0


def test_a_model_of_another_type_is_refused_before_it_is_read(bundle):
    source = FleetScorer(bundle)
    key = ("d0", next(iter(KINDS)))
    model = source.load_model(*key)
    other = replace(model, visited=model.visited.astype(np.float32))
    with pytest.raises(ValueError, match="visited has 2 axes of float32, not 2 of float64"):
        ModelStack(4, other)
    stack = ModelStack(4, model)
    with pytest.raises(ValueError, match="visited has 2 axes of float32, not 2 of float64"):
        stack.put(0, other)


def test_series_that_were_asked_by_address_are_not_copied():
    asked = SeriesBuffers(FEATURES, 1)
    asked.put(0, SeriesState.empty(FEATURES))
    asked.next_row(0, START_US, 1.0)
    with pytest.raises(TypeError, match="addresses"):
        copy.deepcopy(asked)


def test_models_read_ahead_are_neither_hits_nor_misses(bundle):
    frame = tomorrow()
    features = frame.select(FEATURES.names).cast(pl.Float64).to_numpy().T.copy()
    keys = list(frame.select("entity", "metric").iter_rows())
    scorer = OnlineScorer(FleetScorer(bundle))
    scorer.warm(list(dict.fromkeys(keys)))
    assert (scorer.hits, scorer.misses) == (0, 0)
    scorer.judge(keys, microseconds(frame["event_time"]), features, np.full(frame.height, 0.9))
    modelled = sum(scorer.source.load_model(*key) is not None for key in keys)
    assert (scorer.hits, scorer.misses) == (modelled, 0)


@given(rows=st.integers(0, 320), seed=st.integers(0, 2**16), data=st.data())
def test_a_next_reading_has_the_features_of_a_step(rows, seed, data):
    rng = np.random.default_rng(seed)
    gaps = rng.integers(1, 4, rows) * 300_000_000 + rng.integers(0, 2, rows)
    values = rng.normal(0, 1, rows).round(1)
    values[rng.random(rows) < 0.05] = np.nan
    state = SeriesState.of(FEATURES, START_US + np.cumsum(gaps), values)
    last = int(state.times[-1]) if state.times.size else START_US
    asked = SeriesBuffers(FEATURES, 1)
    asked.put(0, state)
    for ahead in data.draw(st.lists(st.integers(1, 400_000_000_000), min_size=1, max_size=4)):
        for value in (0.5, -0.0):
            np.testing.assert_array_equal(
                bits(asked.next_row(0, last + ahead, value)[: len(FEATURES.names), 0]),
                bits(step(FEATURES, state, last + ahead, value)[0]),
            )


def test_a_deleted_model_says_no_more_in_the_batch_either(bundle):
    frame = tomorrow().filter(pl.col("metric").is_in(["steady", "seasonal"]))
    gone = ("d1", "seasonal")
    before = FleetScorer(bundle, threshold=0.7).score(frame)
    after = FleetScorer(bundle, threshold=0.7, deleted=[gone]).score(frame)
    nothing = FleetScorer.without_models(FEATURES, alpha=0.01, threshold=0.7).score(frame)
    is_gone = pl.col("metric") == "seasonal"
    assert after.filter(~is_gone).equals(before.filter(~is_gone))
    assert "trained" in set(before.filter(is_gone)["status"])
    assert after.filter(is_gone).equals(nothing.filter(is_gone))
    assert set(after.filter(is_gone)["status"]) == {"insufficient_history"}
    assert False not in set(after.filter(is_gone)["is_anomaly"])
    features = frame.select(FEATURES.names).cast(pl.Float64).to_numpy().T.copy()
    keys = list(frame.select("entity", "metric").iter_rows())
    scorer = OnlineScorer(FleetScorer(bundle, deleted=[gone]))
    said = scorer.judge(
        keys, microseconds(frame["event_time"]), features, np.full(frame.height, 0.7)
    )
    assert said.status == after["status"].to_list()


def state_readings():
    """Two weeks of a door that opens by day, and a day on which it stays open."""
    rng, values = np.random.default_rng(8), np.zeros(15 * 96)
    for day in range(15):
        for at in rng.integers(32, 80, 8):
            values[day * 96 + at : day * 96 + at + rng.integers(1, 4)] = 1.0
    values[-60:-20] = 1.0
    return values


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    values = state_readings()
    frame = FEATURES.compute(series("door", "open", values, step=FEATURES.frequency))
    directory = tmp_path_factory.mktemp("bundles") / "v1"
    known = frame[: 14 * 96]
    bundle = train_fleet([known], FEATURES, FleetPolicy(), directory, lineage=LINEAGE)
    yield bundle, frame
    bundle.close()


def test_runs_are_judged_one_by_one_with_the_bits_of_the_batch(door):
    bundle, frame = door
    states = RunStates()
    day = [FleetScorer(bundle).score(frame[at : at + 96], states) for at in range(0, 15 * 96, 96)]
    expected = pl.concat(day)[-200:]
    assert expected["is_anomaly"].sum() > 20
    times, values = microseconds(frame["event_time"]), frame["value"].to_numpy()
    state = SeriesState.of(FEATURES, times[:-200], values[:-200])
    scorer = OnlineScorer(FleetScorer(bundle))
    threshold = float(expected["threshold"][0])
    found = []
    for time, value in zip(times[-200:].tolist(), values[-200:].tolist(), strict=True):
        row, state = step_with_runs(FEATURES, state, time, value)
        state = SeriesState.from_bytes(state.to_bytes())
        found.append(scorer.judge_one(("door", "open"), time, row[:, None], threshold))
    assert [one.p_value for one in found] == expected["p_value"].to_list()
    assert [one.is_anomaly for one in found] == expected["is_anomaly"].to_list()


def test_a_bundle_made_without_runs_scores_its_old_bits(door):
    bundle, frame = door
    scorer = FleetScorer(bundle)
    model = scorer.load_model("door", "open")
    older = {n: a for n, a in model.to_arrays().items() if not n.startswith("runs/")}
    old = SeriesModel.from_arrays(older, FEATURES)
    scorer.load_model = lambda *_: old
    plain = FleetScorer(bundle)
    plain.load_model = lambda *_: old
    without = plain.score(frame).drop("reason")
    assert scorer.score(frame, RunStates()).drop("reason").equals(without)

"""How a host's metrics move together: what is learned, what it finds, and that bits do not depend
on how the rows come."""

from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_platform.ml.bundles.checking import BadModelError
from anomaly_platform.ml.calibration.conformal import THRESHOLD
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.host_model.bundled import Hosts
from anomaly_platform.ml.host_model.model import MOST_FACTORS, HostModel
from anomaly_platform.ml.host_model.reach import REACH
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.call_states import CallStates
from anomaly_platform.ml.scoring.entities import ranked
from anomaly_platform.ml.scoring.explaining.numbers import COLUMNS
from anomaly_platform.ml.series_runs.run_states import RunStates
from anomaly_platform.ml.training.extending import extend_fleet
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from tests.builders.readings import START, STEP

FEATURES = MetricFeatureSet(windows=(6, 12, 24), lags=(1,))
POLICY = FleetPolicy(evaluate=False, trees=20)
METRICS = ("cpu", "disk", "memory", "network", "still")
TRAINED = 800
MINUTES = 300_000_000


def together(rows, seed, metrics=5, noise=0.3):
    """Return (rows, metrics) readings that follow one load, which wanders."""
    rng = np.random.default_rng(seed)
    load = np.empty(rows)
    level = 0.0
    for row, step in enumerate(rng.normal(0.0, 1.0, rows)):
        level = 0.9 * level + step
        load[row] = level
    gains = 1.0 + np.arange(metrics)
    return 50.0 + load[:, None] * gains + noise * gains * rng.normal(size=(rows, metrics))


def host(name, values, first=0):
    """Return the long frame of a host; the metric `still` rests, NaN is no row."""
    frames = []
    for column, metric in enumerate(METRICS):
        readings = np.full(len(values), 7.0) if metric == "still" else values[:, column]
        times = [START + (first + row) * STEP for row in range(len(values))]
        frames.append(
            pl.DataFrame(
                {"entity": name, "metric": metric, "event_time": times, "value": readings}
            ).filter(pl.col("value").is_not_nan())
        )
    return pl.concat(frames).with_columns(pl.col("event_time").dt.cast_time_unit("us"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    known = pl.concat([host("a", together(TRAINED, 1)), host("b", together(TRAINED, 2))])
    directory = tmp_path_factory.mktemp("hosts") / "v1"
    lineage = Lineage(stream="ems", version="v1", code_version="test")
    with train_fleet(
        [FEATURES.compute(known)], FEATURES, POLICY, directory, lineage=lineage
    ) as made:
        yield made


def features_of(values, first=TRAINED):
    return FEATURES.compute(
        pl.concat([host("a", together(TRAINED, 1)), host("a", values, first)]).sort(
            "entity", "metric", "event_time"
        ),
        since=START + first * STEP,
    )


def test_a_metric_that_leaves_the_others_ranks_its_rows_and_says_why(bundle):
    values = together(200, 3)
    # An ordinary value for itself: that of another time.
    values[100:130, 3] = values[100:130, 3][::-1] - 2.0 * (values[100:130, 3] - 50.0)
    scorer = FleetScorer(bundle, threshold=0.5)
    scored = scorer.score(features_of(values), RunStates())
    rows = scored.filter(metric="network").sort("event_time")
    score = rows["entity_score"].fill_null(0.0).to_numpy()
    assert np.median(score[105:130]) > np.quantile(score[:100], 0.97)
    words = "moves apart from the other metrics of this host: off by"
    told = rows.filter(pl.col("reason").str.starts_with(words))
    assert told.height > 3
    assert all("network" in causes for causes in told["causes"])


def test_what_moves_apart_never_decides_by_itself(bundle):
    values = together(300, 4)
    values[150:, 0] += 8.0
    frame = features_of(values)
    scored = FleetScorer(bundle).score(frame, RunStates())
    plain = FleetScorer(bundle)
    plain._hosts._numbers = {}
    before = plain.score(frame, RunStates())
    assert scored["entity_is_anomaly"].equals(before["entity_is_anomaly"])
    assert not scored["entity_score"].equals(before["entity_score"])
    # Reasons are given to causes, too, which are others where metrics move apart.
    told = ["entity_score", "causes", "reason", *COLUMNS]
    assert scored.drop(told).equals(before.drop(told))


@given(
    p=st.lists(st.floats(0.0, 0.999), min_size=1, max_size=20),
    q=st.lists(st.floats(0.0, 0.999), min_size=20, max_size=20),
)
def test_ranking_keeps_sides_and_order(p, q):
    scores, all_evidence = np.array(p), np.array(q[: len(p)])
    found = ranked(scores, all_evidence)
    np.testing.assert_array_equal(found >= THRESHOLD, scores >= THRESHOLD)
    for side in (scores >= THRESHOLD, scores < THRESHOLD):
        order = np.argsort(all_evidence[side], kind="stable")
        assert (np.diff(found[side][order]) >= 0.0).all()
    assert ((found >= 0.0) & (found < 1.0)).all()


@settings(max_examples=8, deadline=None)
@given(
    gaps=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 3)), max_size=30),
    outage=st.tuples(st.integers(0, 59), st.integers(1, 40)),
    cuts=st.lists(st.integers(1, 59), max_size=8),
)
def test_rows_have_the_same_bits_however_they_come(bundle, gaps, outage, cuts):
    values = together(60, 5)
    values[40:50, 1] -= 15.0
    for row, column in gaps:
        values[row, column] = np.nan
    values[outage[0] : sum(outage)] = np.nan
    frame = features_of(values)
    # `still` reports through the outage: its rows alone are no host.
    scorer = FleetScorer(bundle, threshold=0.4)
    whole = scorer.score(frame, RunStates())
    states, calls, parts = RunStates(), CallStates(), []
    edges = [0, *sorted(set(cuts)), 60]
    for begin, end in pairwise(edges):
        since, until = START + (TRAINED + begin) * STEP, START + (TRAINED + end) * STEP
        part = frame.filter(pl.col("event_time").is_between(since, until, closed="left"))
        parts.append(scorer.score(part, states, calls))
        states = RunStates.of_table(states.table(since=0))
        calls = CallStates.of_table(calls.table(since=0))
    joined = pl.concat(parts).sort("entity", "metric", "event_time")
    assert joined.equals(whole)


def test_a_day_scored_again_with_a_late_row_begins_as_it_did(bundle):
    values = together(60, 6)
    late = values.copy()
    late[20, 2] = np.nan
    scorer = FleetScorer(bundle)
    states = RunStates()
    scorer.score(features_of(late), states)
    again = RunStates()
    assert scorer.score(features_of(values), again).equals(
        scorer.score(features_of(values), RunStates())
    )
    # The late row is further back than anything depends on: what is left is equal again.
    assert states.table(since=0)["recent"].equals(again.table(since=0)["recent"])
    assert REACH < 60 - 20


def test_bundles_and_states_from_before_are_read(bundle):
    states = RunStates()
    scorer = FleetScorer(bundle)
    scorer.score(features_of(together(30, 7)), states)
    old = RunStates.of_table(states.table(since=0).drop("recent"))
    assert old.recent(("a", "cpu")).shape == (2, 0)
    assert scorer.score(features_of(together(30, 8), TRAINED + 30), old).height


def test_an_extended_bundle_keeps_the_other_hosts(bundle, tmp_path):
    frame = FEATURES.compute(host("a", together(TRAINED, 9)))
    lineage = Lineage(stream="ems", version="v2", code_version="test")
    with extend_fleet(
        bundle, [("a", "cpu")], [frame], FEATURES, POLICY, tmp_path / "v2", lineage=lineage
    ) as made:
        before, after = Hosts(bundle), Hosts(made)
        assert after.entities == {"a", "b"}
        for (_, _, old), (_, _, new) in zip(before.arrays("b"), after.arrays("b"), strict=True):
            np.testing.assert_array_equal(old, new)
        assert not np.array_equal(
            after.of("a").model.weights,  # type: ignore[union-attr]
            before.of("a").model.weights,  # type: ignore[union-attr]
        )


def fitted(values):
    times = np.arange(len(values)) * MINUTES
    return HostModel.fit([f"m{n}" for n in range(values.shape[1])], times, values)


def test_what_a_host_needs_to_have_a_model():
    values = together(600, 1, metrics=4)
    assert fitted(values[:, :2]) is None  # two metrics
    assert fitted(values[:450]) is None  # too few rows to calibrate on
    resting = values.copy()
    resting[:, :2] = 3.0
    assert fitted(resting) is None
    # Each metric at times of its own: nothing to move together.
    apart = np.full((2400, 4), np.nan)
    for column in range(4):
        apart[column::4, column] = values[:, column]
    assert fitted(apart) is None
    odd = values.copy()
    odd[::3, 1] = 1e308
    odd[1::3, 1] = -1e308
    model, distances = fitted(odd)
    assert model.metrics == ("m0", "m2", "m3")
    assert np.isfinite(distances).all()


def test_a_large_host_is_predicted_from_its_components():
    values = together(2000, 2, metrics=120)
    model, _ = fitted(values)
    assert model.projection is not None
    assert model.projection.shape == (120, MOST_FACTORS)
    times = np.arange(40) * MINUTES
    rows = np.ascontiguousarray(values[:40])
    whole = model.distances(times, rows)
    last = model.distances(times[-1 - REACH :], np.ascontiguousarray(rows[-1 - REACH :]))
    np.testing.assert_array_equal(last[-1], whole[-1])
    again = HostModel.from_arrays(model.to_arrays())
    np.testing.assert_array_equal(again.distances(times, rows), whole)


def test_arrays_that_are_no_model_are_refused():
    model, _ = fitted(together(600, 1, metrics=4))
    arrays = model.to_arrays()
    arrays["table"] = arrays["table"].copy()
    arrays["table"][1, 0] = 0.0
    with pytest.raises(BadModelError, match="no scale"):
        HostModel.from_arrays(arrays)
    with pytest.raises(BadModelError, match="shape"):
        HostModel.from_arrays(model.to_arrays() | {"table": arrays["table"][:-1]})


def test_errors_from_before_a_gap_do_not_count():
    values = together(600, 1, metrics=4)
    model, _ = fitted(values)
    rows = values[:40].copy()
    rows[:20, 0] += 1000.0
    times = np.arange(40) * MINUTES
    times[20:] += int(timedelta(hours=5) / timedelta(microseconds=1))
    found = model.distances(times, rows)
    assert np.isnan(found[20:23]).all()
    assert found[30, 0] < found[15, 0] / 10

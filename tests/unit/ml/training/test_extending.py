"""A bundle made from another: what was asked for is new, all else is the same to the bit."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from anomaly_platform.ml.bundles.bundle import open_bundle
from anomaly_platform.ml.bundles.format import DigestMismatchError
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.training import extending, fit
from anomaly_platform.ml.training.extending import extend_fleet, retrained_series
from anomaly_platform.ml.training.fit import FleetPolicy, cross_p_values
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from tests.builders.readings import series

FEATURES = MetricFeatureSet(windows=(6, 24, 48), lags=(1, 6))
POLICY = FleetPolicy(trees=20, evaluate=False)
SERIES = ["raw_score", "p_value", "score", "is_anomaly", "status"]
ENTITY = ["entity_score", "entity_is_anomaly"]


def lineage(version, parent=None):
    return Lineage(stream="ems", version=str(version), code_version="0.1.0", parent=parent)


def level(entity, metric, mean, rows=600, seed=0):
    rng = np.random.default_rng([seed, len(entity), len(metric)])
    return series(entity, metric, rng.normal(mean, 2.0, rows))


def features(*parts):
    return FEATURES.compute(pl.concat(parts).sort("entity", "metric", "event_time"))


BEFORE = {
    "a": features(level("a", "cpu", 50), level("a", "mem", 20), level("a", "net", 5, seed=9)),
    "b": features(level("b", "cpu", 50, seed=1), level("b", "mem", 20, seed=1)),
    "c": features(level("c", "cpu", 50, 160, seed=2), level("c", "mem", 9, 40)),
}
AFTER = {
    "a": features(level("a", "cpu", 80), level("a", "mem", 20), level("a", "net", 5, seed=9)),
    "c": features(level("c", "cpu", 70, 160, seed=2), level("c", "mem", 9, 140)),
    "d": features(level("d", "cpu", 10, 300)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def parent(folder):
    return train_fleet(BEFORE.values(), FEATURES, POLICY, folder / "1", lineage=lineage(1))


@pytest.fixture(scope="module")
def child(folder, parent):
    return extend_fleet(
        parent,
        [("a", "cpu")],
        [AFTER["a"]],
        FEATURES,
        POLICY,
        folder / "2",
        lineage=lineage(2, "1"),
    )


def test_untouched_series_score_the_same_bits(parent, child):
    before, after = FleetScorer(parent), FleetScorer(child)
    for entity in "bc":
        frame = BEFORE[entity]
        assert after.score(frame).equals(before.score(frame))
    siblings = BEFORE["a"].filter(pl.col("metric") != "cpu")
    assert after.score(siblings).select(SERIES).equals(before.score(siblings).select(SERIES))


def test_the_asked_series_is_what_training_alone_would_make_it(parent, child, folder):
    whole = train_fleet([AFTER["a"]], FEATURES, POLICY, folder / "whole", lineage=lineage(9))
    asked = AFTER["a"].filter(pl.col("metric") == "cpu")
    scored = FleetScorer(child).score(asked)
    assert scored.select(SERIES).equals(FleetScorer(whole).score(asked).select(SERIES))
    assert scored["is_anomaly"].mean() < 0.05
    assert not FleetScorer(parent).score(asked)["score"].equals(scored["score"])


def test_the_entity_is_calibrated_again_with_what_its_other_series_say(parent, child):
    scored = FleetScorer(child).score(AFTER["a"])
    assert scored["entity_is_anomaly"].mean() < 0.05
    touched = dict(child.series.select("entity", "entity_index").unique().iter_rows())
    known = dict(parent.series.select("entity", "entity_index").unique().iter_rows())
    assert touched["a"] not in known.values()
    assert (touched["b"], touched["c"]) == (known["b"], known["c"])


def test_the_manifest_names_parent_and_what_was_trained(parent, child):
    assert child.manifest["parent"] == "1"
    assert retrained_series(child) == [("a", "cpu")]
    assert retrained_series(parent) is None
    assert child.manifest["retrained"]["trained"] == 1
    assert child.manifest["data"]["series"] == parent.manifest["data"]["series"]
    trained_in = {
        (e, m): v for e, m, v in child.series.select("entity", "metric", "trained_in").rows()
    }
    assert trained_in.pop(("a", "cpu")) == "2"
    assert set(trained_in.values()) == {"1"}


def test_the_parents_arrays_are_the_same_bytes_on_disk_and_outlive_it(parent, child, tmp_path):
    (layer, own) = child.layers
    linked = child.directory / layer.name
    assert linked.samefile(parent.directory / "arrays.safetensors")
    assert own.slots == 1
    child.verify_arrays()
    assert layer.slots + own.slots == child.manifest["slots"]
    assert all(child.arrays(slot) for slot in child.slot_digests)
    expected = FleetScorer(child).score(BEFORE["b"])
    copy = tmp_path / "alone"
    copy.mkdir()
    for file in child.directory.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    alone = open_bundle(copy, expected_digest=child.digest)
    assert FleetScorer(alone).score(BEFORE["b"]).equals(expected)
    damaged = bytearray((copy / layer.name).read_bytes())
    damaged[-1] ^= 1
    (copy / layer.name).write_bytes(damaged)
    with pytest.raises(DigestMismatchError, match=layer.name):
        open_bundle(copy)


def test_opening_one_series_reads_one(child):
    opened = open_bundle(child.directory, verify="each")
    before = opened.bytes_read
    opened.arrays(opened.slot("b", "cpu"))
    size = sum(spec.nbytes for spec in opened.specs.values())
    assert opened.bytes_read - before == size


def test_new_series_join_and_short_ones_share_the_parents_pool(folder):
    # Of the 160 rows of c none can be as rare as 1 in 200.
    policy = replace(POLICY, alpha=0.005)
    parent = train_fleet(BEFORE.values(), FEATURES, policy, folder / "rare", lineage=lineage(1))
    grown = extend_fleet(
        parent,
        [("c", "cpu"), ("c", "mem"), ("d", "cpu"), ("c", "gone")],
        [AFTER["c"], AFTER["d"]],
        FEATURES,
        policy,
        folder / "3",
        lineage=lineage(3, "1"),
    )
    rows = {(r["entity"], r["metric"]): r for r in grown.series.iter_rows(named=True)}
    pools = dict(parent.series.select("metric", "pool_index").drop_nulls().iter_rows())
    assert rows["c", "cpu"]["pool_index"] == pools["cpu"]
    assert rows["c", "mem"]["status"] == "trained"
    assert rows["d", "cpu"]["trained_in"] == "3"
    assert grown.manifest["retrained"]["without_rows"] == 1
    assert FleetScorer(grown).score(AFTER["d"])["entity_score"].tail(200).null_count() == 0
    assert FleetScorer(grown).score(AFTER["c"])["is_anomaly"].mean() < 0.05


def test_an_update_shares_calibrations_as_a_full_training_does(folder):
    # 8 histories of 160 rows have 256 held out together, 2 of them 64: those share with all others.
    policy = replace(POLICY, alpha=0.005)
    known = [level(f"known {i}", "net", 5, 160, seed=i) for i in range(8)]
    known += [level(f"known {i}", "cpu", 50, 160, seed=i) for i in range(2)]
    new = [
        level("small", "net", 5, 220),
        level("large", "net", 5, 400),
        level("own", "cpu", 9, 300),
    ]
    parent = train_fleet([features(*known)], FEATURES, policy, folder / "p", lineage=lineage(1))
    updated = extend_fleet(
        parent,
        [("small", "net"), ("large", "net"), ("own", "cpu")],
        [features(*new)],
        FEATURES,
        policy,
        folder / "updated",
        lineage=lineage(2, "1"),
    )
    whole = train_fleet(
        [features(*known, *new)], FEATURES, policy, folder / "shared in full", lineage=lineage(3)
    )
    for bundle in (whole, updated):
        pools = {
            (e, m): p for e, m, p in bundle.series.select("entity", "metric", "pool_index").rows()
        }
        assert pools["small", "net"] == pools["known 0", "net"] is not None
        assert pools["known 0", "cpu"] is not None
        assert pools["large", "net"] is None
        assert pools["own", "cpu"] is None


def test_a_chain_of_bundles_keeps_few_files_and_the_same_bits(parent, folder):
    newest = parent
    for version in range(10, 20):
        newest = extend_fleet(
            newest,
            [("a", "cpu")],
            [AFTER["a"]],
            FEATURES,
            POLICY,
            folder / str(version),
            lineage=lineage(version, newest.manifest["version"]),
        )
    assert len(newest.layers) == 2
    assert FleetScorer(newest).score(BEFORE["b"]).equals(FleetScorer(parent).score(BEFORE["b"]))


def test_series_of_a_file_that_is_left_behind_are_copied(parent, folder):
    most = [(e, m) for e, m in parent.series.select("entity", "metric").rows() if e != "b"]
    newest = extend_fleet(
        parent,
        most,
        [BEFORE["a"], BEFORE["c"]],
        FEATURES,
        POLICY,
        folder / "most",
        lineage=lineage(4, "1"),
    )
    assert len(newest.layers) == 1
    assert FleetScorer(newest).score(BEFORE["b"]).equals(FleetScorer(parent).score(BEFORE["b"]))


def test_what_one_bundle_trained_is_set_on_another(parent, child, folder):
    other = extend_fleet(
        parent,
        [("a", "mem")],
        [AFTER["a"]],
        FEATURES,
        POLICY,
        folder / "other",
        lineage=lineage(5, "1"),
    )
    rebased = extend_fleet(
        other,
        retrained_series(child),
        [AFTER["a"]],
        FEATURES,
        POLICY,
        folder / "rebased",
        lineage=lineage(6, "5"),
        donor=child,
    )
    digests = {(e, m): d for e, m, d in rebased.series.select("entity", "metric", "digest").rows()}
    for bundle, key in ((child, ("a", "cpu")), (other, ("a", "mem")), (parent, ("b", "cpu"))):
        origin = {
            (e, m): d for e, m, d in bundle.series.select("entity", "metric", "digest").rows()
        }
        assert digests[key] == origin[key]
    assert retrained_series(rebased) == [("a", "cpu")]
    assert FleetScorer(rebased).score(AFTER["a"])["entity_is_anomaly"].mean() < 0.05
    trained_in = dict(
        rebased.series.filter(pl.col("entity") == "a").select("metric", "trained_in").iter_rows()
    )
    assert trained_in == {"cpu": "2", "mem": "5", "net": "1"}


def test_other_series_of_a_host_are_trimmed_as_a_full_training_trims_them(folder, monkeypatch):
    readings = np.random.default_rng(4).normal(50.0, 1.0, 8000).round(2)
    stuck = readings.copy()
    stuck[7000:7060] = stuck[7000]
    frame = features(series("a", "cpu", readings), series("a", "mem", stuck))
    policy = FleetPolicy(alpha=0.001, trees=5, evaluate=False)
    kept = []

    def noted(scores, rows):
        kept.append(rows)
        return cross_p_values(scores, rows)

    monkeypatch.setattr(fit, "cross_p_values", noted)
    whole = train_fleet([frame], FEATURES, policy, folder / "full", lineage=lineage(1))
    monkeypatch.setattr(extending, "cross_p_values", noted)
    extend_fleet(
        *(whole, [("a", "cpu")], [frame], FEATURES, policy, folder / "one"),
        lineage=lineage(2, "1"),
    )
    # Series are fitted side by side, in any order.
    mem, cpu = sorted(kept[:2], key=lambda rows: rows[600:660].sum())
    again = kept[2:]
    assert cpu[600:660].all()
    assert not mem[600:660].any()
    # One is fitted anew, the other judged as it was.
    assert len(again) == 2
    assert any(np.array_equal(one, mem) for one in again)


def test_alpha_stays_the_parents(parent, folder):
    extended = extend_fleet(
        parent,
        [("a", "cpu")],
        [AFTER["a"]],
        FEATURES,
        FleetPolicy(trees=20, evaluate=False, alpha=0.05, contamination=0.2),
        folder / "alpha",
        lineage=lineage(7, "1"),
    )
    fixed = extended.manifest["hyper_parameters"]
    assert (fixed["alpha"], fixed["contamination"]) == (POLICY.alpha, POLICY.contamination)
    assert FleetScorer(extended).score(BEFORE["b"]).equals(FleetScorer(parent).score(BEFORE["b"]))


def test_what_does_not_fit_is_refused(parent, folder):
    others = MetricFeatureSet(windows=(6, 24), lags=(1,))
    with pytest.raises(ValueError, match="train every series anew"):
        extend_fleet(
            parent, [("a", "cpu")], [], others, POLICY, folder / "x", lineage=lineage(8, "1")
        )
    with pytest.raises(ValueError, match="none of the series has a row"):
        extend_fleet(
            parent, [("z", "cpu")], [], FEATURES, POLICY, folder / "x", lineage=lineage(8, "1")
        )

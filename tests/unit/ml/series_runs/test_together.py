"""Metrics that rested together in training are one piece of evidence when they rest too long."""

import numpy as np
import pytest

from anomaly_platform.ml.scoring.entities import EntityEvidence
from anomaly_platform.ml.series_runs.layout import DEEPEST, DEEPEST_COUNT, LOOKS_AFTER
from anomaly_platform.ml.series_runs.model import RunModel
from anomaly_platform.ml.series_runs.together import as_one

MINUTE = 60_000_000
START = 1_750_000_000_000_000
EVIDENCE = np.full((1, 3), 9.0)
ALONE = np.array([[0.5, 1.5, 0.5]])


def nights(rng, rests):
    """Return the model of a sensor that moves, but for the rows at which it rests."""
    values = np.where(rests, 0.15, rng.normal(0.5, 0.1, rests.size)).round(3)
    return RunModel.fit(START + 5 * MINUTE * np.arange(rests.size), values, 288)


def deepest(model):
    return model.constants[DEEPEST:LOOKS_AFTER].reshape(-1, 2)


@pytest.fixture(scope="module")
def models():
    """Return those of two sensors that rest at the same times, and of one at other times."""
    rng = np.random.default_rng(1)
    together, apart = np.zeros((2, 8640), dtype=np.bool_)
    for at in range(0, 8640, 144):
        together[at : at + rng.integers(10, 40)] = True
        apart[at + 72 : at + 72 + rng.integers(10, 40)] = True
    return [nights(rng, rests) for rests in (together, together, apart)]


def test_the_longest_runs_are_known_by_when_they_were_longest(models):
    found = deepest(models[0])
    found = found[np.isfinite(found).all(axis=1)]
    lasted = found[:, 1] - found[:, 0]
    assert lasted.size > 20
    assert (lasted >= 0).all()
    assert (lasted < 40 * 5 * MINUTE).all()


def test_what_rested_together_counts_once_and_what_did_not_almost_in_full(models):
    joined = as_one(EVIDENCE, ALONE, [deepest(model) for model in models])
    assert joined[0, 0] == 9.0
    assert joined[0, 1] == 1.5
    assert 2.0 < joined[0, 2] <= np.log(DEEPEST_COUNT + 1.0)


def test_evidence_without_runs_and_one_run_stay_as_they_are(models):
    known = [deepest(model) for model in models]
    assert as_one(ALONE, ALONE, known) is ALONE
    one = ALONE.copy()
    one[0, 2] = 9.0
    np.testing.assert_array_equal(as_one(one, ALONE, known), one)


def test_models_made_before_count_each_run_as_they_did(models):
    arrays = models[0].to_arrays()
    older = RunModel.from_arrays({**arrays, "constants": arrays["constants"][:DEEPEST]})
    np.testing.assert_array_equal(older.constants[:DEEPEST], arrays["constants"][:DEEPEST])
    assert older.constants[LOOKS_AFTER] == 0.0
    np.testing.assert_array_equal(as_one(EVIDENCE, ALONE, [deepest(older)] * 3), EVIDENCE)


def test_a_host_gathers_them_as_one(models):
    p = [np.array([1e-4]), np.array([1e-4]), np.array([1e-4])]
    evidence = EntityEvidence.align([np.array([1])] * 3, p, [True] * 3)
    joined = evidence.with_runs([np.array([0.5])] * 3, [deepest(models[0])] * 3)
    assert evidence.fused()[0] == pytest.approx(-np.log(1e-4))
    assert joined.fused()[0] == pytest.approx((-np.log(1e-4) - np.log(0.5)) / 2)
    assert sorted(joined.causes(0)) == [0, 1, 2]

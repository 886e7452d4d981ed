"""What every detector must do, whatever is inside: the contract of ``detectors.base``.

A new detector adds one entry to ``DETECTORS``.
"""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import pytest

from anomaly_platform.ml.calibration.conformal import Calibration
from anomaly_platform.ml.detectors.base import (
    Detector,
    FeatureSchemaError,
    NonFiniteInputError,
    derive_seed,
)
from anomaly_platform.ml.detectors.isolation_forest import IsolationForest
from anomaly_platform.ml.detectors.one_class_svm import OneClassSVM, SvmSearch
from anomaly_platform.ml.detectors.series_forest import SeriesForest

THREE = ("load", "latency", "errors")

ONE_SVM = SvmSearch(nu=(0.1,), gamma=("scale",), kernel=("rbf",), rows=60, folds=2)


class ForestOfInputs(SeriesForest):
    """Asked with inputs of which 1 is as far from 0 as they rarely go, as `toy` is made of."""

    def fit(self, X: np.ndarray, *, seed: int) -> Self:
        return super().fit(self.inputs(X), seed=seed)

    def score(self, X: np.ndarray) -> np.ndarray:
        return super().score(self.inputs(X))

    def inputs(self, X: np.ndarray) -> np.ndarray:
        return (X / 10.0 ** np.arange(X.shape[-1]) - 5.0) / 2.5


DETECTORS: dict[str, Callable[[], Detector]] = {
    "isolation_forest": lambda: IsolationForest(THREE),
    "series_forest": lambda: ForestOfInputs(THREE),
    "one_class_svm": lambda: OneClassSVM(THREE, search=ONE_SVM),
}


@pytest.fixture(params=DETECTORS)
def make(request: pytest.FixtureRequest) -> Callable[[], Detector]:
    return DETECTORS[request.param]


def toy(n_features: int, *, rows: int = 800, seed: int = 0) -> np.ndarray:
    """Correlated noise of unlike scales around unlike levels."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(rows, 1))
    scale = 10.0 ** np.arange(n_features)
    return (0.6 * common + 0.8 * rng.normal(size=(rows, n_features))) * scale + 5.0 * scale


def outliers(X: np.ndarray, *, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    sign = rng.choice([-1.0, 1.0], size=X.shape)
    return X.mean(axis=0) + sign * rng.uniform(5.0, 8.0, size=X.shape) * X.std(axis=0)


def width(detector: Detector) -> int:
    return len(detector.feature_schema)


def test_higher_is_more_anomalous_and_better_than_chance(make):
    detector = make()
    X = toy(width(detector))
    detector.fit(X[:600], seed=1)
    normal, odd = detector.score(X[600:]), detector.score(outliers(X[600:]))
    assert normal.shape == (200,)
    auc = (odd[:, None] > normal[None, :]).mean()
    assert auc > 0.95


def test_the_same_seed_gives_the_same_bits(make):
    X = toy(width(make()))
    first, second = make().fit(X, seed=3), make().fit(X.copy(), seed=3)
    make().fit(X[:300], seed=9)
    assert first.score(X).tobytes() == second.score(X).tobytes()
    for name, array in first.to_arrays().items():
        assert array.tobytes() == second.to_arrays()[name].tobytes(), name


def test_fitting_again_forgets_what_was_fitted_before(make):
    X = toy(width(make()))
    used = make().fit(toy(width(make()), seed=5), seed=2).fit(X, seed=3)
    assert used.score(X).tobytes() == make().fit(X, seed=3).score(X).tobytes()


def test_save_and_load_keep_every_bit(make):
    detector = make()
    X = toy(width(detector))
    detector.fit(X, seed=3)
    stored = {name: array.copy() for name, array in detector.to_arrays().items()}
    assert all(isinstance(a, np.ndarray) and a.dtype != object for a in stored.values())
    again = type(detector).from_arrays(stored, detector.feature_schema)
    assert again.feature_schema == detector.feature_schema
    assert again.score(X).tobytes() == detector.score(X).tobytes()


def test_one_row_is_the_same_row_in_a_batch(make):
    detector = make()
    X = toy(width(detector), rows=330)
    detector.fit(X, seed=3)
    mixed = np.concatenate([X, outliers(X)])
    batch = detector.score(mixed)
    assert np.array([detector.score(row[None])[0] for row in mixed]).tobytes() == batch.tobytes()
    assert detector.score(mixed[37:]).tobytes() == batch[37:].tobytes()


def test_scoring_changes_nothing(make):
    detector = make()
    X = toy(width(detector))
    detector.fit(X, seed=3)
    before = {name: array.tobytes() for name, array in detector.to_arrays().items()}
    copy = X.copy()
    detector.score(X)
    assert {name: a.tobytes() for name, a in detector.to_arrays().items()} == before
    assert X.tobytes() == copy.tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_refuses_what_is_not_finite_and_names_it(make, bad):
    detector = make()
    X = toy(width(detector))
    broken = X.copy()
    column = width(detector) - 1
    broken[71, column] = bad
    expected = f"{detector.feature_schema[column]!r}.*row 71"
    with pytest.raises(NonFiniteInputError, match=expected):
        make().fit(broken, seed=0)
    with pytest.raises(NonFiniteInputError, match=expected):
        detector.fit(X, seed=0).score(broken)


def test_refuses_another_number_of_features(make):
    detector = make()
    X = toy(width(detector))
    detector.fit(X, seed=0)
    wider = np.column_stack([X, X[:, 0]])
    with pytest.raises(FeatureSchemaError):
        detector.score(wider)
    with pytest.raises(FeatureSchemaError):
        make().fit(wider, seed=0)
    with pytest.raises(FeatureSchemaError):
        detector.score(X[0])


def test_score_of_no_rows_is_no_scores(make):
    detector = make()
    X = toy(width(detector))
    assert detector.fit(X, seed=0).score(X[:0]).shape == (0,)


def test_refuses_to_score_before_fit(make):
    detector = make()
    with pytest.raises(RuntimeError, match="fit"):
        detector.score(toy(width(detector)))


def test_calibrates_with_its_own_tail_floor(make):
    detector = make()
    X = toy(width(detector), rows=1500)
    detector.fit(X[:1000], seed=1)
    calibration = Calibration.fit(detector.score(X[1000:]), tail_floor=detector.tail_floor)
    assert detector.tail_floor > 0.0
    assert (calibration.p_value(detector.score(outliers(X[:50]))) < 0.01).mean() > 0.9


def seeds() -> dict[str, Any]:
    return {
        "plain": derive_seed(7, "host", "cpu"),
        "other seed": derive_seed(8, "host", "cpu"),
        "other metric": derive_seed(7, "host", "mem"),
        "shifted boundary": derive_seed(7, "hostc", "pu"),
        "no key": derive_seed(7),
    }


def test_series_seeds_are_stable_and_distinct():
    found = seeds()
    assert len(set(found.values())) == len(found)
    assert all(0 <= seed < 2**63 for seed in found.values())
    assert found["plain"] == 6820594090929890751

from __future__ import annotations

import numpy as np
import pytest

from anomaly_platform.ml.detectors import one_class_svm
from anomaly_platform.ml.detectors.one_class_svm import (
    FEATURES,
    KERNELS,
    Candidate,
    OneClassSVM,
    SvmSearch,
    inject,
)


def only(kernel: str, nu: float = 0.1, gamma: float | str = "scale") -> SvmSearch:
    return SvmSearch(nu=(nu,), gamma=(gamma,), kernel=(kernel,), rows=60, folds=2)


def rows(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(count, 1))
    return np.hstack([common, 2 * common, rng.normal(size=(count, 2))]) * 3.0 + 10.0


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("gamma", ["scale", 0.01])
def test_decisions_are_those_of_scikit_learn(kernel: str, gamma: float | str) -> None:
    from sklearn.svm import OneClassSVM as Reference

    X, fresh = rows(300), rows(100, seed=1)
    detector = OneClassSVM("abcd", search=only(kernel, gamma=gamma)).fit(X, seed=0)
    center, scale = X.mean(axis=0), X.std(axis=0)
    reference = Reference(kernel=kernel, nu=0.1, gamma=gamma).fit((X - center) / scale)
    expected = reference.decision_function((fresh - center) / scale)
    np.testing.assert_allclose(detector.decision_function(fresh), expected, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_beyond_a_size_decisions_are_those_of_nystroem_and_sgd(
    kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import SGDOneClassSVM

    monkeypatch.setattr(one_class_svm, "EXACT_ROWS", 200)
    monkeypatch.setattr(one_class_svm, "COMPONENTS", 40)
    X, fresh = rows(500), rows(100, seed=1)
    detector = OneClassSVM("abcd", search=only(kernel, gamma=0.1)).fit(X, seed=3)
    center, scale = X.mean(axis=0), X.std(axis=0)
    mapping = Nystroem(
        kernel=kernel,
        gamma=0.1,
        degree=3 if kernel == "poly" else None,
        coef0=None if kernel == "rbf" else 0.0,
        n_components=40,
        random_state=3,
    )
    mapped = mapping.fit_transform((X - center) / scale)
    reference = SGDOneClassSVM(nu=0.1, random_state=3).fit(mapped)
    expected = reference.decision_function(mapping.transform((fresh - center) / scale))
    np.testing.assert_allclose(detector.decision_function(fresh), expected, atol=1e-6)
    assert len(detector.to_arrays()["vectors"]) == 40


def test_the_search_tries_the_whole_grid_and_takes_the_best() -> None:
    search = SvmSearch(rows=60, folds=2)
    detector = OneClassSVM("abcd", search=search).fit(rows(200), seed=0)
    assert len(detector.search_scores) == 4 * 6 * 3
    best = max(detector.search_scores.values())
    assert best > 0.7
    assert detector.chosen is not None
    chosen = next(c for c, score in detector.search_scores.items() if score == best)
    assert (chosen.nu, chosen.kernel) == (detector.chosen.nu, detector.chosen.kernel)


def test_what_was_chosen_is_kept() -> None:
    detector = OneClassSVM("abcd", search=only("rbf", gamma=0.1)).fit(rows(100), seed=0)
    again = OneClassSVM.from_arrays(detector.to_arrays(), "abcd")
    assert again.chosen == detector.chosen == Candidate(0.1, 0.1, "rbf")


def test_the_score_is_one_for_what_resembles_nothing_and_negative_inside() -> None:
    X = rows(400)
    detector = OneClassSVM("abcd", search=only("rbf")).fit(X, seed=0)
    assert detector.score(X.mean(axis=0)[None])[0] < 0
    assert detector.score(X[:1] + 1e4)[0] == pytest.approx(1.0)


def test_injected_rows_differ_from_their_originals_in_few_features() -> None:
    X = rows(200)
    odd = inject(X, np.random.default_rng(0))
    changed = (odd != X).sum(axis=1)
    assert changed.max() <= 3
    assert (changed > 0).mean() > 0.9


def test_a_constant_feature_is_no_obstacle() -> None:
    X = rows(100)
    X[:, 2] = 7.0
    assert np.isfinite(OneClassSVM("abcd", search=only("rbf")).fit(X, seed=0).score(X)).all()


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 30 rows, got 29"):
        OneClassSVM("abcd").fit(rows(29), seed=0)


@pytest.mark.parametrize(
    "wrong", [{"nu": ()}, {"nu": (0.0,)}, {"kernel": ("linear",)}, {"rows": 5}, {"folds": 1}]
)
def test_a_search_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message differs by parameter
        SvmSearch(**wrong)  # type: ignore[arg-type]


def test_its_features_are_the_barcode_streams() -> None:
    assert OneClassSVM().feature_schema == FEATURES
    assert len(FEATURES) == 10

"""One-class support vector machine (Schölkopf et al. 2001), searched, and stored as arrays.

Up to `EXACT_ROWS` rows it is scikit-learn's OneClassSVM; beyond, a Nystroem feature map with
scikit-learn's SGDOneClassSVM, whose cost is linear in the rows. Both end as the same few arrays,
a weighted sum of kernels to stored vectors, since a linear function of a Nystroem map is one too;
scoring needs no scikit-learn.

The search. ν, γ and the kernel are chosen by cross-validation on a subsample: each candidate is
fitted on some folds, in the way in which the final one will be, and must tell the held-out rows
from the same rows with injected anomalies (a feature taken from another row, which breaks what
belongs together, or pushed out of its range). The subsample's size is fixed, so the search takes
bounded time and the outcome does not depend on the machine's speed.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from anomaly_platform.ml.arrays import AnyArray, Arrays, Floats
from anomaly_platform.ml.bundles.checking import BadModelError, checked
from anomaly_platform.ml.detectors.base import as_matrix

FEATURES = (
    "hour",
    "day_of_week",
    "is_weekend",
    "location_hierarchy",
    "latitude",
    "longitude",
    "time_since_last_scan",
    "sequence_length",
    "manufacture_age_days",
    "location_transition_frequency",
)
"""What the barcode stream's one-class SVM reads (requirement B6)."""

EXACT_ROWS = 10_000
COMPONENTS = 200
MAX_ITERATIONS = 20_000
Decide = Callable[[Floats], Floats]

KERNELS = ("rbf", "poly", "sigmoid")


class Candidate(NamedTuple):
    """One point of the search: γ is a number, `scale` (1 / (d · variance)) or `auto` (1 / d)."""

    nu: float
    gamma: float | str
    kernel: str


@dataclass(frozen=True)
class SvmSearch:
    """What is searched, on how much.

    Parameters
    ----------
    nu, gamma, kernel
        The grid's axes.
    rows, folds
        Size of the subsample and number of cross-validation folds.
    """

    nu: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2)
    gamma: tuple[float | str, ...] = ("scale", "auto", 0.001, 0.01, 0.1, 1.0)
    kernel: tuple[str, ...] = KERNELS
    rows: int = 1200
    folds: int = 3

    def __post_init__(self) -> None:
        if not (self.nu and self.gamma and self.kernel):
            raise ValueError("each axis of the search needs at least one value")
        if not all(0 < nu <= 1 for nu in self.nu):
            raise ValueError(f"nu must lie in (0, 1], got {self.nu}")
        if unknown := set(self.kernel) - set(KERNELS):
            raise ValueError(f"no such kernels: {sorted(unknown)}")
        if self.rows < 30 or self.folds < 2:
            raise ValueError("a search needs at least 30 rows and 2 folds")

    def candidates(self) -> Iterator[Candidate]:
        """All combinations, in the order that decides ties."""
        for kernel in self.kernel:
            for gamma in self.gamma:
                for nu in self.nu:
                    yield Candidate(nu, gamma, kernel)


class OneClassSVM:
    """A one-class SVM under the common detector contract.

    The raw score is minus the decision function, in units of the boundary's offset: about 1 for a
    row that resembles nothing in the training set, 0 on the boundary, negative inside. Features
    are standardised by the training rows' mean and standard deviation.

    Parameters
    ----------
    feature_schema
        Names of the features, in column order.
    search
        The grid and how much data it is tried on; by default requirement B6's.
    """

    tail_floor: ClassVar[float] = 0.02

    def __init__(
        self, feature_schema: Sequence[str] = FEATURES, *, search: SvmSearch | None = None
    ) -> None:
        self.feature_schema = tuple(feature_schema)
        self.search = search or SvmSearch()
        self.chosen: Candidate | None = None
        self.search_scores: dict[Candidate, float] = {}
        """Cross-validated AUC-ROC of every candidate; of the last `fit`, not stored."""
        self._arrays: dict[str, AnyArray] | None = None

    def fit(self, X: Floats, *, seed: int) -> Self:
        """Search, then fit on all rows with the best parameters.

        Raises
        ------
        ValueError
            With fewer than 30 rows.
        NonFiniteInputError
            When a value is NaN or infinite.
        """
        X = as_matrix(X, self.feature_schema)
        if len(X) < 30:
            raise ValueError(f"a one-class SVM needs at least 30 rows, got {len(X)}")
        center, scale = X.mean(axis=0), X.std(axis=0)
        scale = np.where(scale > 1e-12 * np.maximum(np.abs(center), 1.0), scale, 1.0)
        Z = (X - center) / scale
        self.search_scores = _cross_validate(Z, self.search, seed)
        best = max(self.search_scores, key=lambda candidate: self.search_scores[candidate])
        vectors, weights, offset = _fit(Z, best, seed)
        gamma = _gamma(best.gamma, Z)
        self.chosen = Candidate(best.nu, gamma, best.kernel)
        self._arrays = {
            "center": center,
            "scale": scale,
            "vectors": vectors,
            "weights": weights,
            "parameters": np.array([best.nu, gamma, float(KERNELS.index(best.kernel)), offset]),
        }
        return self

    def decision_function(self, X: Floats) -> Floats:
        """(n,) scikit-learn's decision function: positive inside, negative outside."""
        from anomaly_platform.ml.detectors.one_class_svm_kernels import decision

        Z = self.standardise(X)
        arrays = self.to_arrays()
        out = np.empty(len(Z))
        decision(Z, arrays["vectors"], arrays["weights"], arrays["parameters"], out)
        return out

    def standardise(self, X: Floats) -> Floats:
        """(n, features) distances from the training rows' mean, in their standard deviations."""
        if self._arrays is None:
            raise RuntimeError("fit the one-class SVM before scoring")
        X = as_matrix(X, self.feature_schema)
        return np.ascontiguousarray((X - self._arrays["center"]) / self._arrays["scale"])

    @property
    def scale(self) -> tuple[Floats, Floats]:
        """(features,) mean and standard deviation of the training rows."""
        if self._arrays is None:
            raise RuntimeError("fit the one-class SVM first")
        return self._arrays["center"], self._arrays["scale"]

    def score(self, X: Floats) -> Floats:
        """(n,) raw scores, higher = more anomalous."""
        decisions = self.decision_function(X)
        unit = abs(float(self.to_arrays()["parameters"][3]))
        return np.asarray(-decisions / (unit if unit > 1e-12 else 1.0))

    def to_arrays(self) -> dict[str, AnyArray]:
        """Scales, vectors, weights and parameters; all that a score depends on."""
        if self._arrays is None:
            raise RuntimeError("fit the one-class SVM before storing it")
        return dict(self._arrays)

    @classmethod
    def from_arrays(cls, arrays: Arrays, feature_schema: Sequence[str]) -> Self:
        """Rebuild the detector that wrote ``arrays``; raises `BadModelError` where it is none."""
        detector = cls(feature_schema)
        width = len(detector.feature_schema)
        vectors = checked(arrays, "vectors", (None, width))
        given = {
            "center": checked(arrays, "center", (width,)),
            "scale": checked(arrays, "scale", (width,), low=1e-300),
            "vectors": vectors,
            "weights": checked(arrays, "weights", (len(vectors),)),
            "parameters": checked(arrays, "parameters", (4,)),
        }
        if given["parameters"][2] not in range(len(KERNELS)):
            raise BadModelError(f"there is no kernel {given['parameters'][2]}")
        detector._arrays = {
            name: np.ascontiguousarray(array, dtype=np.float64) for name, array in given.items()
        }
        nu, gamma, kernel, _ = (float(value) for value in detector._arrays["parameters"])
        detector.chosen = Candidate(nu, gamma, KERNELS[int(kernel)])
        return detector


def inject(rows: Floats, rng: np.random.Generator) -> Floats:
    """Return a copy of standardised rows, each with one to three features made anomalous.

    Half of the rows take the features from other rows, the others are pushed 3 to 8 standard
    deviations away.
    """
    odd = rows.copy()
    n, d = rows.shape
    for i in range(n):
        columns = rng.choice(d, size=min(d, int(rng.integers(1, 4))), replace=False)
        if rng.random() < 0.5:
            odd[i, columns] = rows[rng.integers(n), columns]
        else:
            odd[i, columns] += rng.choice([-1.0, 1.0]) * rng.uniform(3.0, 8.0, len(columns))
    return odd


def _cross_validate(Z: Floats, search: SvmSearch, seed: int) -> dict[Candidate, float]:
    from sklearn.metrics import roc_auc_score

    fit_candidate = _exact_decision if len(Z) <= EXACT_ROWS else _linear_decision
    rng = np.random.default_rng(seed)
    sample = Z[rng.permutation(len(Z))[: search.rows]]
    folds = np.array_split(np.arange(len(sample)), search.folds)
    odd = inject(sample, rng)
    totals = dict.fromkeys(search.candidates(), 0.0)
    for held in folds:
        kept = np.delete(sample, held, axis=0)
        truth = np.repeat([0, 1], len(held))
        judged = np.concatenate([sample[held], odd[held]])
        known: dict[Candidate, float] = {}
        for candidate in totals:
            resolved = candidate._replace(gamma=_gamma(candidate.gamma, kept))
            if resolved not in known:
                decisions = fit_candidate(kept, resolved, seed)(judged)
                known[resolved] = float(roc_auc_score(truth, -decisions))
            totals[candidate] += known[resolved] / search.folds
    return totals


def _gamma(gamma: float | str, Z: Floats) -> float:
    if gamma == "auto":
        return 1.0 / len(Z[0])
    if gamma == "scale":
        variance = float(Z.var())
        return 1.0 / (len(Z[0]) * variance) if variance > 0 else 1.0
    return float(gamma)


def _exact(Z: Floats, candidate: Candidate) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import OneClassSVM as SklearnOneClassSVM

    svm = SklearnOneClassSVM(
        kernel=candidate.kernel,
        gamma=candidate.gamma,
        nu=candidate.nu,
        max_iter=MAX_ITERATIONS,
        cache_size=100,
    )
    with warnings.catch_warnings():
        # A candidate that does not converge in bounded time scores badly; that is its verdict.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return svm.fit(Z)


def _fit(Z: Floats, best: Candidate, seed: int) -> tuple[Floats, Floats, float]:
    """Vectors (m, d), weights (m,) and offset of the decision function."""
    resolved = best._replace(gamma=_gamma(best.gamma, Z))
    if len(Z) <= EXACT_ROWS:
        svm = _exact(Z, resolved)
        return (
            np.ascontiguousarray(svm.support_vectors_),
            np.ascontiguousarray(svm.dual_coef_[0]),
            float(-svm.intercept_[0]),
        )
    features, linear = _linear(Z, resolved, seed)
    return (
        np.ascontiguousarray(features.components_),
        np.ascontiguousarray(features.normalization_.T @ linear.coef_),
        float(linear.offset_[0]),
    )


def _linear(Z: Floats, candidate: Candidate, seed: int) -> tuple[Any, Any]:
    """Fit a Nystroem map and a linear one-class SVM on it; γ of the candidate is a number."""
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import SGDOneClassSVM

    features = Nystroem(
        kernel=candidate.kernel,
        gamma=candidate.gamma,
        degree=3 if candidate.kernel == "poly" else None,
        coef0=None if candidate.kernel == "rbf" else 0.0,
        n_components=min(COMPONENTS, len(Z)),
        random_state=seed % 2**32,
    )
    mapped = features.fit_transform(Z)
    return features, SGDOneClassSVM(nu=candidate.nu, random_state=seed % 2**32).fit(mapped)


def _exact_decision(Z: Floats, candidate: Candidate, seed: int) -> Decide:
    del seed  # the exact solver draws nothing
    decide: Decide = _exact(Z, candidate).decision_function
    return decide


def _linear_decision(Z: Floats, candidate: Candidate, seed: int) -> Decide:
    features, linear = _linear(Z, candidate, seed)

    def decide(rows: Floats) -> Floats:
        return np.asarray(linear.decision_function(features.transform(rows)))

    return decide

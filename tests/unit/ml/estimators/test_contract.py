"""What holds for every estimator: scikit-learn's contract, kinds of frames, bundles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import anomaly_platform
from anomaly_platform.ml.bundles.format import (
    BundleError,
    BundleExistsError,
    DigestMismatchError,
)
from tests.builders.estimators import CASES

every = pytest.mark.parametrize("name", CASES)


@every
def test_odder_rows_score_lower_and_are_predicted_as_minus_one(fitted: Any, name: str) -> None:
    case, detector = fitted(name)
    scores = detector.score_samples(case.test).to_numpy()
    calls = detector.predict(case.test).to_numpy()
    assert np.nanargmin(scores) == case.test.height - 1
    assert calls[-1] == -1
    assert set(calls.tolist()) == {-1, 1}
    assert ((scores <= 0) | np.isnan(scores)).all()
    decision = detector.decision_function(case.test).to_numpy()
    np.testing.assert_array_equal(decision <= 0, calls == -1)


@every
def test_pandas_and_polars_come_back_as_they_came(fitted: Any, name: str) -> None:
    case, detector = fitted(name)
    ours = detector.score_samples(case.test)
    index = pd.Index(range(100, 100 + case.test.height))
    theirs = detector.score_samples(case.test.to_pandas().set_axis(index, axis=0))
    assert isinstance(ours, pl.Series)
    assert isinstance(theirs, pd.Series)
    pd.testing.assert_index_equal(theirs.index, index)
    np.testing.assert_array_equal(ours.to_numpy(), theirs.to_numpy())
    assert isinstance(detector.predict(case.test), pl.Series)


@every
def test_rows_are_answered_in_their_own_order(fitted: Any, name: str) -> None:
    case, detector = fitted(name)
    scores = detector.score_samples(case.test).to_numpy()
    backwards = detector.score_samples(case.test[::-1]).to_numpy()
    np.testing.assert_array_equal(backwards[::-1], scores)


@every
def test_saved_and_loaded_the_scores_are_the_same_to_the_bit(
    fitted: Any, name: str, tmp_path: Path
) -> None:
    case, detector = fitted(name)
    digest = detector.save(tmp_path / "bundle")
    again = type(detector).load(str(tmp_path / "bundle"))
    expected = detector.score_samples(case.test).to_numpy()
    np.testing.assert_array_equal(again.score_samples(case.test).to_numpy(), expected)
    assert len(digest) == 64
    assert not list(tmp_path.rglob("*.pkl"))
    again.save(tmp_path / "copy")
    arrays = [(tmp_path / at / "arrays.safetensors").read_bytes() for at in ("bundle", "copy")]
    assert arrays[0] == arrays[1]


@every
def test_a_changed_bundle_or_anothers_is_refused(fitted: Any, name: str, tmp_path: Path) -> None:
    _, detector = fitted(name)
    detector.save(tmp_path / "bundle")
    with pytest.raises(BundleExistsError):
        detector.set_params(threshold=0.8).save(tmp_path / "bundle")
    detector.set_params(threshold=0.7)
    other = "ScanDetector" if name != "scan" else "SeriesDetector"
    with pytest.raises(BundleError, match=f"not a {other}"):
        getattr(anomaly_platform, other).load(tmp_path / "bundle")
    path = tmp_path / "bundle" / "arrays.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DigestMismatchError):
        type(detector).load(tmp_path / "bundle")


@every
def test_a_clone_has_the_parameters_and_is_not_fitted(fitted: Any, name: str) -> None:
    case, detector = fitted(name)
    copy = clone(detector)
    assert copy.get_params() == detector.get_params()
    copy.set_params(threshold=0.9, random_state=7)
    assert copy.get_params()["threshold"] == 0.9
    for ask in (copy.predict, copy.score_samples, copy.decision_function):
        with pytest.raises(NotFittedError, match="fit"):
            ask(case.test)
    with pytest.raises(NotFittedError):
        copy.save("nowhere")


def test_a_higher_threshold_moves_decisions_only(fitted: Any) -> None:
    case, detector = fitted("forest")
    strict, mild = clone(detector).fit(case.train), clone(detector).set_params(threshold=0.3)
    mild.fit(case.train)
    assert (mild.predict(case.test) == -1).sum() > (strict.predict(case.test) == -1).sum()
    assert mild.score_samples(case.test).equals(strict.score_samples(case.test))


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import anomaly_platform", ("numpy", "torch", "polars", "sklearn", "pandas")),
        (
            f"from anomaly_platform import {', '.join(anomaly_platform.__all__)}",
            ("dagster", "fastapi", "psycopg", "mlflow", "sqlalchemy", "torch"),
        ),
        ("import anomaly_platform.ml.backtest.series", ("sklearn",)),
    ],
)
def test_imports_stay_light(code: str, unwanted: tuple[str, ...]) -> None:
    check = f"import sys; {code}; print([m for m in {unwanted!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_names_what_it_has() -> None:
    assert set(anomaly_platform.__all__) <= set(dir(anomaly_platform))
    with pytest.raises(AttributeError, match="Nothing"):
        _ = anomaly_platform.Nothing  # type: ignore[attr-defined]

"""A bundle with anything in it is refused by name, or scores: never does it end the process."""

from __future__ import annotations

import copy
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anomaly_platform.ml.bundles.bundle import open_bundle
from anomaly_platform.ml.bundles.format import ARRAYS, BundleError, DigestMismatchError
from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.checking import check_models, feature_set_of
from anomaly_platform.ml.training.fit import FleetPolicy
from anomaly_platform.ml.training.fleet import train_fleet
from anomaly_platform.ml.training.manifest import Lineage
from tests.builders.readings import series
from tests.security.bundles.bad_bundles import Parts, change, read_parts, write_parts

FEATURES = MetricFeatureSet(windows=(6, 24, 48), lags=(1, 6), frequency=timedelta(minutes=15))
LINEAGE = Lineage(stream="ems", version="1", code_version="0.1.0")
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    rng = np.random.default_rng(1)
    parts = [
        series("a", name, rng.normal(50, 2, rows), step=FEATURES.frequency)
        for name, rows in (("cpu", 800), ("mem", 800), ("new", 150))
    ]
    return FEATURES.compute(pl.concat(parts))


@pytest.fixture(scope="module")
def parts(frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    folder = tmp_path_factory.mktemp("bundle") / "v1"
    train_fleet([frame], FEATURES, FleetPolicy(), folder, lineage=LINEAGE).close()
    return read_parts(folder)


def score(folder: Path, frame: pl.DataFrame) -> pl.DataFrame:
    """Take a bundle into service as the API and a batch do, and score with it."""
    with open_bundle(folder) as bundle:
        check_models(bundle, feature_set_of(bundle))
        return FleetScorer(bundle).score(frame)


def test_a_bundle_that_is_written_anew_scores_as_before(
    tmp_path: Path, parts: Parts, frame: pl.DataFrame
) -> None:
    write_parts(parts, tmp_path / "again")
    scored = score(tmp_path / "again", frame)
    assert scored["score"].drop_nulls().is_between(0, 1).all()
    assert scored["score"].count() > 1_000


@settings(max_examples=120, deadline=None, suppress_health_check=SLOW)
@given(data=st.data())
def test_a_changed_bundle_is_refused_by_name_or_scores(
    tmp_path: Path, parts: Parts, frame: pl.DataFrame, data: st.DataObject
) -> None:
    changed = copy.deepcopy(parts)
    change(changed, data)
    write_parts(changed, tmp_path / "bundle")
    try:
        scored = score(tmp_path / "bundle", frame.head(300))
    except BundleError as error:
        assert str(tmp_path / "bundle") in str(error) or "manifest" in str(error)  # noqa: PT017
    else:
        assert scored.height == 300
        assert scored["score"].drop_nulls().is_between(0, 1).all()


@pytest.mark.parametrize(
    ("name", "number", "said"),
    [
        ("forest/feature", 200, "'feature' has values above"),
        ("forest/path_length", np.nan, "'path_length' has values that are no numbers"),
        ("calibration/values", np.nan, "'values' has values that are no numbers"),
        ("calibration/exceeding", 2**32 - 1, "lie above one than there are"),
        ("inputs/season_head", 10_000, "phases"),
        ("history", np.nan, "'history' has values that are no numbers"),
    ],
)
def test_a_number_that_a_kernel_would_follow_is_refused(
    tmp_path: Path, parts: Parts, frame: pl.DataFrame, name: str, number: float, said: str
) -> None:
    changed = copy.deepcopy(parts)
    changed.arrays[name].reshape(len(changed.arrays[name]), -1)[1, -1:] = number
    if name.endswith("head"):
        changed.arrays[name][1] = [8.64e10, number, 0.5]
    write_parts(changed, tmp_path / "bundle")
    with pytest.raises(BundleError, match=said) as refused:
        score(tmp_path / "bundle", frame)
    assert "the model of a mem in the bundle at" in str(refused.value)


def test_a_file_that_was_cut_or_changed_is_refused(
    tmp_path: Path, parts: Parts, frame: pl.DataFrame
) -> None:
    write_parts(parts, tmp_path / "bundle")
    arrays = tmp_path / "bundle" / ARRAYS
    content = arrays.read_bytes()
    for damaged in (content[:-1], content[: len(content) // 2], content[:-1] + b"\7", b""):
        arrays.write_bytes(damaged)
        with pytest.raises(DigestMismatchError):
            score(tmp_path / "bundle", frame)

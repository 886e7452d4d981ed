"""A version whose digests all agree and whose content is no model: it never serves."""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from anomaly_platform.assets.scored import _score_with_usable
from anomaly_platform.ml.bundles.format import BundleError
from anomaly_platform.ml.bundles.tensor_file import TensorFile
from tests.builders.waiting import wait_until
from tests.security.bundles.bad_bundles import Parts, read_parts, write_parts

if TYPE_CHECKING:
    from conftest import Trained

pytestmark = pytest.mark.integration

SERIES = {"device_id": "press-1", "metric_name": "temperature", "value": 51.0}
FOREST = "isolation_forest"


def out_of_bounds(parts: Parts) -> None:
    parts.arrays["forest/feature"][:] = 255


def no_number(parts: Parts) -> None:
    parts.arrays["forest/threshold"][:] = np.nan


def too_short(parts: Parts) -> None:
    parts.arrays["calibration/values"] = parts.arrays["calibration/values"][:, :-1]


def wrong_type(parts: Parts) -> None:
    parts.arrays["forest/path_length"] = parts.arrays["forest/path_length"].astype(np.int64)


def huge_window(parts: Parts) -> None:
    parts.manifest["feature_schema"]["definition"]["windows"] = [10**12]


def threshold_of_nothing(parts: Parts) -> None:
    parts.manifest["hyper_parameters"]["alpha"] = float("nan")


CHANGES: dict[str, tuple[Callable[[Parts], None], str]] = {
    "out of bounds": (out_of_bounds, "'feature' has values above"),
    "no number": (no_number, "'threshold' has values that are no numbers"),
    "too short": (too_short, "'values' has the shape"),
    "wrong type": (wrong_type, "'path_length' has the type int64"),
    "huge window": (huge_window, "the manifest's windows are"),
    "no threshold": (threshold_of_nothing, "the manifest's alpha is nan"),
}


@pytest.fixture(params=CHANGES)
def hostile(request: pytest.FixtureRequest, trained: Trained) -> Iterator[tuple[int, str]]:
    """A registered version that is no model, and what is wrong with it."""
    platform, bundles = trained.platform, trained.platform.warehouse.bundles
    change, said = CHANGES[request.param]
    record = bundles.get("iiot", FOREST, 1)
    assert record is not None
    parts = copy.deepcopy(read_parts(platform.lake.fetch_folder(record.path or "")))
    change(parts)
    version = bundles.reserve_version("iiot", FOREST)
    path = f"models/iiot/{FOREST}/{version:06d}"
    folder = platform.lake.new_folder() / "bundle"
    digest = write_parts(parts, folder)
    assert digest == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    platform.lake.publish_folder(folder, path)
    bundles.register(
        *("iiot", FOREST, version),
        path=path,
        digest=digest,
        trained_at=record.trained_at,  # type: ignore[arg-type]
        window_start=record.window_start,
        window_end=record.window_end,
        metrics=record.metrics,
        parameters=record.parameters,
        series=parts.series.rename({"balanced_accuracy": "accuracy"}),
    )
    yield version, said
    for serving in (1, version, 1):
        bundles.promote_set("iiot", {FOREST: serving}, "the test is over")
    wait_until(lambda: "iiot" not in trained.client.app.state.serving.models.problems)  # type: ignore[attr-defined]


def newest_day(trained: Trained) -> dt.date:
    return dt.date.fromisoformat(
        trained.platform.warehouse.transactions.value(
            "SELECT partition FROM lake_partitions WHERE stream = 'iiot' AND stage = 'features' "
            "ORDER BY partition DESC LIMIT 1"
        )
    )


def test_the_version_before_goes_on_in_the_api_and_in_a_batch(
    trained: Trained, hostile: tuple[int, str]
) -> None:
    version, said = hostile
    platform = trained.platform
    platform.warehouse.bundles.promote_set("iiot", {FOREST: version}, "hostile")
    store = trained.client.app.state.serving.models  # type: ignore[attr-defined]
    # That of the version before may still be there.
    wait_until(lambda: store.problems["iiot"].version == version if store.problems else False)
    assert said in store.problems["iiot"].reason
    answer = trained.client.post("/api/v1/ml/predict", json=SERIES)
    assert answer.status_code == 200
    assert answer.json()["model_version"] == 1
    told = f"version {version} could not be loaded"
    wait_until(lambda: told in trained.client.get("/api/v1/health").text)

    stream = platform.stream("iiot")
    with pytest.raises(BundleError, match="models/iiot") as refused:
        platform.kind(stream).verify(version)
    assert said in str(refused.value)
    scorer, result, _ = _score_with_usable(platform, stream, newest_day(trained), None)
    assert scorer.version == 1
    assert result.rows
    assert platform.warehouse.bundles.champions("iiot") == {FOREST: 1}
    title = platform.warehouse.transactions.value(
        "SELECT title FROM alerts WHERE kind = 'model_disabled' AND stream = 'iiot' "
        "AND subject = 'bundle' AND state = 'open'"
    )
    assert f"version {version} cannot be loaded" in title
    assert "version 1 serves instead" in title


def test_a_model_that_was_damaged_on_disk_replaces_no_scores(trained: Trained) -> None:
    platform, day = trained.platform, newest_day(trained)
    stream, rows = platform.stream("iiot"), platform.warehouse.transactions.value
    stored = "SELECT md5(string_agg(s::text, '' ORDER BY s::text)) FROM scored_iiot s"
    _score_with_usable(platform, stream, day, None)
    before = rows(stored)
    record = platform.warehouse.bundles.get("iiot", FOREST, 1)
    assert record is not None
    arrays = platform.lake.fetch_folder(record.path or "") / "arrays.safetensors"
    sound, file = arrays.read_bytes(), TensorFile(arrays)
    damaged = bytearray(sound)
    damaged[file.offset("forest/feature")] ^= 1
    file.close()

    def put(content: bytes) -> None:
        # Whoever has the file open goes on with the one that was there.
        arrays.with_suffix(".new").write_bytes(content)
        arrays.with_suffix(".new").replace(arrays)

    put(damaged)
    try:
        with pytest.raises(BundleError, match="not what was published"):
            _score_with_usable(platform, stream, day, None)
    finally:
        put(sound)
    assert rows(stored) == before


def test_a_damaged_version_that_no_longer_serves_takes_no_other_out_of_service(
    trained: Trained,
) -> None:
    platform, day = trained.platform, newest_day(trained)
    stream, bundles = platform.stream("iiot"), platform.warehouse.bundles
    serving = platform.kind(stream).scorer()

    def damaged(_: object) -> Iterator[pl.DataFrame]:
        raise BundleError("not what was published")

    # As before the version that serves: of the same input its scores stay.
    platform.warehouse.transactions.execute("UPDATE scored_days SET watermark = 0")
    before = bundles.champions("iiot")
    other = replace(serving, version=(serving.version or 0) + 1000, score=damaged)
    scorer, result, _ = _score_with_usable(platform, stream, day, other)
    assert {FOREST: scorer.version} == before == bundles.champions("iiot")
    assert result.rows

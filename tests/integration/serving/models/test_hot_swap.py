"""A new champion takes over while requests come in; a damaged one does not."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from starlette.testclient import TestClient

from anomaly_platform.notifications.outbox import fingerprint
from anomaly_platform.platform import Platform
from anomaly_platform.serving.app import create_app
from anomaly_platform.storage.tables.api_keys import SCOPES
from tests.builders.waiting import wait_until

if TYPE_CHECKING:
    from conftest import Trained

pytestmark = pytest.mark.integration

SERIES = {"device_id": "press-1", "metric_name": "temperature", "value": 51.0}
FOREST = "isolation_forest"
#: Of the long trial. Read before the tests' own fixture clears the environment.
SWAPS = int(os.environ.get("ANOMALY_STRESS_SWAPS", "10000"))


def copied_version(platform: Platform) -> int:
    """Enter a second bundle with the same models, as a training that changed nothing would."""
    bundles = platform.warehouse.bundles
    record = bundles.get("iiot", FOREST, 1)
    assert record is not None
    assert record.path is not None
    version = bundles.reserve_version("iiot", FOREST)
    folder = platform.lake.new_folder() / "bundle"
    shutil.copytree(platform.lake.fetch_folder(record.path), folder)
    path = f"models/iiot/{FOREST}/{version:06d}"
    platform.lake.publish_folder(folder, path)
    from anomaly_platform.ml.bundles.bundle import open_bundle

    published = open_bundle(platform.lake.fetch_folder(path))
    bundles.register(
        "iiot",
        FOREST,
        version,
        path=path,
        digest=published.digest,
        trained_at=record.trained_at,  # type: ignore[arg-type]
        window_start=record.window_start,
        window_end=record.window_end,
        metrics=record.metrics,
        parameters=record.parameters,
        series=published.series.rename({"balanced_accuracy": "accuracy"}),
    )
    return version


@pytest.fixture
def version(trained: Trained) -> Iterator[int]:
    """A second version that may serve; the first one serves again afterwards."""
    copied = copied_version(trained.platform)
    yield copied
    # A version that never served would stay a candidate in the lists that other tests ask for.
    for serving in (1, copied, 1):
        trained.platform.warehouse.bundles.promote_set(
            "iiot", {FOREST: serving}, "the test is over"
        )
    wait_until(lambda: predict(trained)["model_version"] == 1)


def predict(trained: Trained) -> dict[str, Any]:
    answer = trained.client.post("/api/v1/ml/predict", json=SERIES)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_promotion_takes_over_without_a_restart(trained: Trained, version: int) -> None:
    before = predict(trained)
    assert before["model_version"] == 1
    trained.platform.warehouse.bundles.promote_set("iiot", {FOREST: version}, "newer")
    wait_until(lambda: predict(trained)["model_version"] == version)
    after = predict(trained)
    assert after["unit_score"] == before["unit_score"]
    assert after["model_id"] != before["model_id"]


def test_a_swap_takes_nothing_from_what_was_counted(trained: Trained, version: int) -> None:
    def counted() -> dict[str, float]:
        answer = trained.client.get("/metrics")
        assert answer.status_code == 200, answer.text
        return {
            line.split()[0]: float(line.split()[1])
            for line in answer.text.splitlines()
            if line.startswith("anomaly_model_cache_lookups_total{")
        }

    for _ in range(20):
        predict(trained)
    before = counted()
    trained.platform.warehouse.bundles.promote_set("iiot", {FOREST: version}, "newer")
    wait_until(lambda: predict(trained)["model_version"] == version)
    for _ in range(20):
        predict(trained)
    after = counted()
    hits, misses = (
        after[name] - before[name]
        for name in (
            f'anomaly_model_cache_lookups_total{{result="{kind}"}}' for kind in ("hit", "miss")
        )
    )
    # One more for each time that the swap was asked about; what the new version read ahead was
    # asked for by nobody.
    assert hits > 20
    assert misses == 0


def test_after_a_lost_connection_the_champions_are_read_anew(
    trained: Trained, version: int
) -> None:
    announcements = trained.client.app.state.serving.announcements  # type: ignore[attr-defined]
    connections = announcements.connections
    with trained.platform.warehouse.transactions.begin() as connection:
        # Promoted without anybody being told, and the line that tells is cut.
        connection.execute("UPDATE champions SET version = %s WHERE stream = 'iiot'", (version,))
    assert predict(trained)["model_version"] == 1
    with psycopg.connect(trained.platform.urls.application, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'anomaly_api'"
        )
    wait_until(lambda: predict(trained)["model_version"] == version)
    wait_until(lambda: announcements.connections > connections)


def test_a_damaged_version_does_not_serve_and_somebody_is_told(
    trained: Trained, version: int
) -> None:
    platform = trained.platform
    record = platform.warehouse.bundles.get("iiot", FOREST, version)
    assert record is not None
    folder = platform.lake.fetch_folder(record.path or "")
    arrays = folder / "arrays.safetensors"
    arrays.chmod(0o600)
    data = bytearray(arrays.read_bytes())
    data[-1] ^= 0xFF
    arrays.write_bytes(data)
    platform.warehouse.bundles.promote_set("iiot", {FOREST: version}, "damaged on the way")
    store = trained.client.app.state.serving.models  # type: ignore[attr-defined]
    wait_until(lambda: "iiot" in store.problems)
    assert predict(trained)["model_version"] == 1

    def alert() -> str | None:
        with platform.warehouse.transactions.begin() as connection:
            row = connection.execute(
                "SELECT state FROM alerts WHERE fingerprint = %s",
                (fingerprint("model_disabled", "iiot", FOREST, "load"),),
            ).fetchone()
        return None if row is None else str(row[0])

    wait_until(lambda: alert() == "open")
    data[-1] ^= 0xFF
    arrays.write_bytes(data)
    platform.warehouse.bundles.promote_set("iiot", {FOREST: 1}, "back")
    wait_until(lambda: "iiot" not in store.problems)
    wait_until(lambda: alert() == "resolved")


def test_models_stay_within_their_budget(trained: Trained) -> None:
    from anomaly_platform.ml.scoring.online import MODEL_BYTES
    from anomaly_platform.settings import get_settings

    settings = trained.platform.settings
    assert settings.database_url is not None
    small = get_settings(
        home=settings.home,
        database_url=settings.database_url.get_secret_value(),
        model_cache_mb=2,
    )
    platform = Platform(small)
    _, key = platform.warehouse.api_keys.create(
        "small", SCOPES, created_by="tests", predictions_per_minute=0
    )
    with TestClient(create_app(platform)) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        for _ in range(2):
            for n in (1, 2, 3, 5, 6, 7, 8):
                body = {**SERIES, "device_id": f"press-{n}"}
                assert client.post("/api/v1/ml/predict", json=body).json()["status"] == "trained"
        models = client.app.state.serving.models  # type: ignore[attr-defined]
        held = sum(len(models.metrics(stream).held()) for stream in ("iiot", "ems"))
    assert models.bytes_held == held * MODEL_BYTES <= 2 * 2**20
    assert models.lookups["evictions"] > 0
    assert models.lookups["misses"] > 7
    platform.close()


@pytest.mark.stress
@pytest.mark.timeout(14_400)
def test_swaps_under_load(trained: Trained, version: int) -> None:
    store = trained.client.app.state.serving.models  # type: ignore[attr-defined]
    start, over = store.swaps, threading.Event()
    answers, errors, versions = [0], [], set()
    batch = {**{k: v for k, v in SERIES.items() if k != "value"}, "values": [51.0] * 20}
    ids = {}
    for one in (1, version):
        with trained.platform.warehouse.transactions.begin() as connection:
            row = connection.execute(
                "SELECT id FROM ml_models WHERE device_id = 'press-1' "
                "AND metric_name = 'temperature' AND bundle_version = %s",
                (one,),
            ).fetchone()
        assert row is not None
        ids[one] = str(row[0])

    def ask() -> None:
        while not over.is_set():
            answer = trained.client.post("/api/v1/ml/predict/batch", json=batch)
            if answer.status_code != 200:
                errors.append(answer.text)
                continue
            found = answer.json()
            answers[0] += 1
            versions.add(found["model_version"])
            if found["model_id"] != ids[found["model_version"]]:
                errors.append("a model of another version")
            if len({one["unit_score"] for one in found["predictions"]}) != 1:
                errors.append("two versions in one answer")

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    turn = 0
    while store.swaps - start < SWAPS:
        seen = store.swaps
        turn += 1
        trained.platform.warehouse.bundles.promote_set(
            "iiot", {FOREST: version if turn % 2 else 1}, "swap"
        )
        wait_until(lambda seen=seen: store.swaps > seen)  # type: ignore[misc]
    over.set()
    for asker in askers:
        asker.join()
    print(f"{store.swaps - start} swaps, {answers[0]} requests, {len(errors)} errors")  # noqa: T201
    assert not errors
    assert versions == {1, version}

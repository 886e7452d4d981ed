"""A device at a glance, from the cache where it knows."""

from __future__ import annotations

import pytest

from anomaly_platform.serving.state import ServingState

from .conftest import Trained

pytestmark = pytest.mark.integration


def test_a_device_shows_its_metrics_models_and_latest_predictions(trained: Trained) -> None:
    url = "/api/v1/ml/devices/press-6"
    first = trained.client.get(url).json()
    (metric,) = first["metrics"]
    assert metric["model"]["id"] == trained.model("press-6", "temperature")["id"]
    assert first["anomalies_24h"] == 0
    asked = {"device_id": "press-6", "metric_name": "temperature", "value": 51.0}
    said = trained.client.post("/api/v1/ml/predict", json=asked).json()
    second = trained.client.get(url).json()
    assert second["metrics"][0]["latest_prediction"] == said
    assert second["metrics"][0]["model"] == metric["model"]
    assert trained.client.get("/api/v1/ml/devices/nobody").status_code == 404


def test_what_is_cached_of_another_version_is_not_shown(trained: Trained) -> None:
    from anomaly_platform.serving.cache import model_key

    state: ServingState = trained.client.app.state.serving  # type: ignore[attr-defined]
    stale = {"id": "3f0c0b6e-6d0f-4e5b-8f8a-0f8e3f1d2c3b", "model_version": 99}
    state.cache.put(model_key("press-7", "temperature"), stale)
    shown = trained.client.get("/api/v1/ml/devices/press-7").json()["metrics"][0]["model"]
    assert shown["id"] == trained.model("press-7", "temperature")["id"]

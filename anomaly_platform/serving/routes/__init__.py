"""The routes of the API: a module per subject, each with a ``router``.

A route checks the request, asks ``queries`` or ``storage``, and shapes the answer. SQL does not
belong here.
"""

from fastapi import APIRouter

from anomaly_platform.serving.routes import (
    assets_anomaly,
    assets_metrics,
    feedback,
    health,
    keys,
    metrics,
    ml_anomalies,
    ml_devices,
    ml_models,
    ml_predict,
    ml_training,
    scans,
    telemetry,
)

ROUTERS: tuple[APIRouter, ...] = (
    telemetry.router,
    ml_predict.router,
    ml_anomalies.router,
    ml_models.router,
    ml_devices.router,
    ml_training.router,
    assets_anomaly.router,
    assets_metrics.router,
    scans.router,
    feedback.router,
    keys.router,
    health.router,
    metrics.router,
)
"""In the order of the OpenAPI document."""

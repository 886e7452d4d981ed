"""The routes of the API: a module per subject, each with a ``router``, all of them here."""

from __future__ import annotations

from fastapi import APIRouter

from anomaly_platform.serving.routes import health, keys, metrics, ml_models, telemetry

ROUTERS: tuple[APIRouter, ...] = (
    ml_models.router,
    telemetry.router,
    keys.router,
    health.router,
    metrics.router,
)
"""In the order of the OpenAPI document."""

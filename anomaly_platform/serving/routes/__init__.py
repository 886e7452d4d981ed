"""The routes of the API: a module per subject, each with a ``router``, all of them here."""

from __future__ import annotations

from fastapi import APIRouter

from anomaly_platform.serving.routes import ml_models

ROUTERS: tuple[APIRouter, ...] = (ml_models.router,)
"""In the order of the OpenAPI document."""

"""The peer of the serving benchmark: a bare FastAPI route that echoes a prediction's body."""

from __future__ import annotations

from fastapi import FastAPI

from anomaly_platform.serving.schemas.predict import PredictRequest

app = FastAPI()


@app.post("/echo")
async def echo(body: PredictRequest) -> PredictRequest:
    """Return what was sent."""
    return body

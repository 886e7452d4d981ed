"""What a version has learned, and how a training goes on, as pages show it."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from anomaly_platform.console.sparklines import sparkline
from anomaly_platform.queries.dagster_runs import RunProgress, read_progress
from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.registry.promotion import PromotionError
from anomaly_platform.registry.training_requests import TrainingRequest
from anomaly_platform.serving.state import ServingState

_log = logging.getLogger(__name__)
_PATIENCE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Curve:
    """A loss over the epochs: its path and its newest value."""

    name: str
    path: str
    last: float


@dataclass(frozen=True, slots=True)
class Followed:
    """A training that was asked for, and how far its run has come; of one that is over nothing."""

    asked: TrainingRequest
    progress: RunProgress

    @property
    def curves(self) -> list[Curve]:
        """The losses so far."""
        epochs = self.progress.epochs
        return _curves(
            loss=[one.loss for one in epochs],
            validation_loss=[one.validation for one in epochs],
        )

    @property
    def doing(self) -> str:
        """What it does now, in words."""
        if self.asked.status == "waiting":
            return "it waits for the daemon"
        step = next((one.name for one in self.progress.steps if one.ended_at is None), None)
        said = "it has begun" if step is None else step.replace("__", "/")
        if self.progress.epochs:
            newest = self.progress.epochs[-1]
            said += f", epoch {newest.number}: loss {newest.loss:.4g}"
        return said


async def follow(serving: ServingState, asked: TrainingRequest) -> Followed:
    """Return how far a training has come; nothing where Dagster's database does not say it."""
    if asked.status != "running" or asked.run_id is None:
        return Followed(asked, RunProgress())
    try:
        async with asyncio.timeout(_PATIENCE_S):
            found = await read_progress(serving.platform.urls.dagster, asked.run_id)
    except (psycopg.Error, TimeoutError, OSError) as error:
        _log.info("Dagster's database says nothing: %s", type(error).__name__)
        found = RunProgress()
    return Followed(asked, found)


def manifest_of(serving: ServingState, record: BundleRecord) -> Mapping[str, Any]:
    """Return a version's manifest, empty where its files are gone."""
    try:
        return serving.platform.model_sets.manifest_of(record)
    except (PromotionError, OSError):
        return {}


def data_of(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a manifest says of the data that was learned from."""
    found = manifest.get("data", {})
    return found if isinstance(found, Mapping) else {}


def curves_of(manifest: Mapping[str, Any]) -> list[Curve]:
    """Return the losses of a training, nothing where it had no epochs."""
    epochs = [one for one in data_of(manifest).get("history", []) if isinstance(one, Mapping)]
    return _curves(
        **{
            name: [float(one[name]) for one in epochs if isinstance(one.get(name), (int, float))]
            for name in ("loss", "validation_loss")
        }
    )


def _curves(**losses: Sequence[float]) -> list[Curve]:
    return [
        Curve(
            name.replace("_", " "),
            sparkline(range(1, len(values) + 1), values, len(values)),
            values[-1],
        )
        for name, values in losses.items()
        if values
    ]

"""``<detector>_model``: a bundle of what a detector has learned, trained and evaluated.

What belongs here: the asset of every detector, the run configuration, and the way to the trainer.
What is learned, and from what, is the kind's own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetObservation,
    AssetsDefinition,
    Config,
    MaterializeResult,
)
from pydantic import Field

from anomaly_platform.assets.metadata import metadata_of
from anomaly_platform.assets.stage import as_failures, stage_asset
from anomaly_platform.kinds.base import DetectorStage, OnEpoch, TrainingOrder
from anomaly_platform.kinds.training import (
    Key,
    StageError,
    TrainingInterruptedError,
    TrainingOrigin,
)
from anomaly_platform.platform import Platform
from anomaly_platform.resources.dagster_home import GPU_POOL
from anomaly_platform.resources.trainer import TrainerKilledError
from anomaly_platform.streams import Stream


class TrainingConfig(Config):
    """Run configuration of a model asset; an empty one trains everything on the policy."""

    series: list[list[str]] = Field(
        default_factory=list,
        description="Pairs [entity, metric] to be trained; empty trains every series.",
    )
    window_days: int | None = Field(
        default=None,
        ge=1,
        le=3650,
        description="Days of history to train on; null takes the stream's own policy.",
    )
    cause: str = Field(
        default="request",
        description="What asked: request, volume, drift, age, quality or labels.",
    )
    reason: str = Field(default="", description="Why, in words.")

    def keys(self) -> list[Key] | None:
        """Return the series asked for, ``None`` when it is all of them.

        Raises
        ------
        StageError
            When something in `series` is no pair.
        """
        for pair in self.series:
            if len(pair) != 2:
                raise StageError(f"series: {pair!r} is no pair [entity, metric]")
        return [(entity, metric) for entity, metric in self.series] or None


def build_models(stream: Stream, platform: Platform) -> list[AssetsDefinition]:
    """Return the assets ``[stream, <detector>_model]``, one per detector of the stream's kind."""
    return [_build_model(stream, platform, stage) for stage in platform.kind(stream).detectors]


def _build_model(stream: Stream, platform: Platform, stage: DetectorStage) -> AssetsDefinition:
    @stage_asset(
        stream,
        platform,
        stage.stage,
        deps=stage.reads,
        tools=stage.tools,
        tag="model",
        table="bundles",
        description=stage.description,
        resources=frozenset({"trainer"} if stage.heavy else ()),
        pool=GPU_POOL if stage.heavy else None,
    )
    def model(context: AssetExecutionContext, config: TrainingConfig) -> MaterializeResult[None]:
        opened: Platform = context.resources.platform

        def run_trainer(prepared: Path, on_epoch: OnEpoch) -> None:
            try:
                context.resources.trainer.run(context, prepared, on_epoch)
            except TrainerKilledError as error:
                raise TrainingInterruptedError(str(error)) from error

        def observe(figures: Mapping[str, Any]) -> None:
            context.log_event(
                AssetObservation(stream.key(stage.stage), metadata=metadata_of(figures))
            )

        with as_failures():
            order = TrainingOrder(
                config.keys(),
                config.window_days,
                TrainingOrigin(context.run.run_id, config.cause, config.reason),
                context.log,
                observe,
                run_trainer if stage.heavy else None,
            )
            report = opened.kind(stream).train(stage.detector, order)
        return MaterializeResult(metadata=metadata_of({"version": report.version, **report.shown}))

    return model

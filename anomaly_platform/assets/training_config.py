"""What a training run may be told: which series, how much history, and why.

What belongs here: the run configuration of every ``<detector>_model`` asset. An empty one trains
everything on the stream's own policy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Self

from dagster import AssetExecutionContext, Config, Failure
from pydantic import Field

from anomaly_platform.registry.bundles import BundleRecord

Key = tuple[str, str]

#: The cause of what is trained because there is nothing yet.
FIRST_TRAINING: Final = "first training"


class TrainingConfig(Config):
    """Run configuration of a model asset."""

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
        ValueError
            When something in `series` is no pair.
        """
        for pair in self.series:
            if len(pair) != 2:
                raise ValueError(f"series: {pair!r} is no pair [entity, metric]")
        return [(entity, metric) for entity, metric in self.series] or None


@dataclass(frozen=True, slots=True)
class TrainingOrigin:
    """Where a training comes from: Dagster's run, what asked for it, and why in words."""

    run_id: str = ""
    cause: str = "request"
    reason: str = ""

    @classmethod
    def of(cls, context: AssetExecutionContext, config: TrainingConfig) -> Self:
        """Return the origin of the run under way."""
        return cls(context.run.run_id, config.cause, config.reason)


def origin_of(origin: TrainingOrigin | None, versions: Iterable[BundleRecord]) -> TrainingOrigin:
    """Return the origin of a training; where nothing was said, the first one is just that.

    Parameters
    ----------
    versions
        All that there are of the stream and detector.
    """
    given = origin or TrainingOrigin()
    asked = given.reason or given.cause != TrainingOrigin().cause
    if asked or any(one.trained_at is not None for one in versions):
        return given
    return replace(given, cause=FIRST_TRAINING)


def refuse_series(stream: str, config: TrainingConfig) -> None:
    """Raise unless everything is to be trained, where single series cannot be.

    Raises
    ------
    Failure
        When the configuration names series.
    """
    if config.series:
        raise Failure(f"{stream} trains on all scans together: leave `series` empty")

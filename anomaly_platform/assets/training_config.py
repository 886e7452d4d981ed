"""What a training run may be told: which series, how much history, and why.

What belongs here: the run configuration of every ``<detector>_model`` asset. An empty one trains
everything on the stream's own policy.
"""

from __future__ import annotations

from dagster import Config
from pydantic import Field

Key = tuple[str, str]


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

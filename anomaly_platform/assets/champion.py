"""``champion``: the version in service, and why it serves.

What belongs here: the decision about the newest challenger and its promotion. A bundle that trains
well enters directly; what "well" means is the gate below.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    MaterializeResult,
    MetadataValue,
    asset,
)

from anomaly_platform.assets.metadata import records_table
from anomaly_platform.resources.platform import DETECTOR, Platform
from anomaly_platform.streams import MetricStream

#: A bundle in which fewer of the series with enough history could be trained does not serve.
LEAST_TRAINED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a challenger enters service, and the reason in words."""

    promote: bool
    reason: str


def judge(metrics: Mapping[str, Any]) -> Decision:
    """Decide about a challenger from its training metrics.

    Parameters
    ----------
    metrics : mapping
        ``series_trained`` and ``series_failed``, as training counted them.
    """
    trained = int(metrics.get("series_trained", 0))
    failed = int(metrics.get("series_failed", 0))
    if trained == 0:
        return Decision(False, "no series could be trained")
    share = trained / (trained + failed)
    if share < LEAST_TRAINED_SHARE:
        return Decision(
            False, f"only {share:.0%} of the series with enough history could be trained"
        )
    return Decision(True, f"{trained} series trained, {failed} failed")


def build_champion(stream: MetricStream) -> AssetsDefinition:
    """Return the asset ``[stream, champion]``."""

    @asset(
        key=stream.key("champion"),
        deps=[stream.key(f"{DETECTOR}_model")],
        group_name=stream.name,
        kinds={"postgres"},
        owners=list(stream.owners),
        tags={"stage": "champion"},
        description="The bundle that scores: the newest one that passed its gate.",
        required_resource_keys={"platform"},
    )
    def champion(context: AssetExecutionContext) -> MaterializeResult[None]:
        platform: Platform = context.resources.platform
        return promote_newest(platform, stream)

    return champion


def promote_newest(platform: Platform, stream: MetricStream) -> MaterializeResult[None]:
    """Judge the newest challenger and promote or reject it; the champion stays otherwise."""
    bundles = platform.warehouse.bundles
    challenger = next(
        (b for b in bundles.all(stream.name, DETECTOR) if b.status == "challenger"), None
    )
    decision = Decision(False, "there is no challenger")
    if challenger is not None:
        decision = judge(challenger.metrics)
        if decision.promote:
            bundles.promote(stream.name, DETECTOR, challenger.version, decision.reason)
        else:
            bundles.reject(stream.name, DETECTOR, challenger.version, decision.reason)
    serving = bundles.champion(stream.name, DETECTOR)
    history = bundles.history(stream.name, DETECTOR)
    return MaterializeResult(
        metadata={
            "promoted": MetadataValue.bool(decision.promote),
            "reason": MetadataValue.text(decision.reason),
            "serving version": MetadataValue.text(str(serving.version) if serving else "none"),
            "history": records_table(
                [
                    {
                        "version": h.version,
                        "since": f"{h.promoted_at:%Y-%m-%d %H:%M}",
                        "why": h.reason,
                    }
                    for h in reversed(history)
                ]
            ),
        }
    )

"""``champion``: what serves, and why it serves."""

from collections.abc import Sequence

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    AutomationCondition,
    MaterializeResult,
)

from anomaly_platform.assets.metadata import metadata_of
from anomaly_platform.assets.stage import as_failures, stage_asset
from anomaly_platform.kinds.base import Verdict
from anomaly_platform.platform import Platform
from anomaly_platform.streams import Stream


def build_champion(stream: Stream, platform: Platform) -> AssetsDefinition:
    """Return the asset ``[stream, champion]``."""
    kind = platform.kind(stream)

    @stage_asset(
        stream,
        platform,
        "champion",
        deps=[one.stage for one in kind.detectors],
        tools=kind.champion_tools,
        tag="champion",
        table="champions",
        # A model that somebody trains from the UI is judged as well; within one run it is anyway.
        automation_condition=AutomationCondition.eager(),
        description=kind.descriptions["champion"],
    )
    def champion(context: AssetExecutionContext) -> MaterializeResult[None]:
        opened: Platform = context.resources.platform
        with as_failures():
            verdicts = list(opened.kind(stream).judge())
        for verdict in verdicts:
            outcome = "serves" if verdict.decision.promote else "is rejected"
            context.log.info("version %d %s: %s", verdict.version, outcome, verdict.decision.reason)
        return _result(opened, stream, verdicts)

    return champion


def _result(
    platform: Platform, stream: Stream, verdicts: Sequence[Verdict]
) -> MaterializeResult[None]:
    kind = platform.kind(stream)
    newest = verdicts[-1].decision if verdicts else None
    history = platform.warehouse.bundles.history(stream.name, stream.scored_by)
    shown = {
        "promoted": newest is not None and newest.promote,
        "reason": kind.nothing_to_judge if newest is None else newest.reason,
        "gates": [
            {
                "version": verdict.version,
                "gate": gate.gate,
                "value": gate.value,
                "bound": gate.bound,
                "verdict": "passed" if gate.passed else "failed",
            }
            for verdict in verdicts
            for gate in verdict.decision.gates
        ],
        **({"metrics": verdicts[-1].metrics} if verdicts and verdicts[-1].metrics else {}),
        **kind.serving(),
        "history": [
            {
                kind.version_word: one.version,
                "since": f"{one.promoted_at:%Y-%m-%d %H:%M}",
                "why": one.reason,
            }
            for one in reversed(history)
        ],
    }
    return MaterializeResult(metadata=metadata_of(shown))

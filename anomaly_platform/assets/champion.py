"""``champion``: the version in service, and why it serves.

What belongs here: what follows from the gates' verdict on each challenger: promotion, or rejection
and an alert. The figures are measured in ``judging``, the gates stand in ``ml.gates``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    Failure,
    MaterializeResult,
    MetadataValue,
    asset,
)

from anomaly_platform.assets.judging import judge
from anomaly_platform.assets.metadata import records_table
from anomaly_platform.assets.training import rebase
from anomaly_platform.assets.training_alerts import tell_of_outcome, why_of
from anomaly_platform.notifications.outbox import Alert, fingerprint
from anomaly_platform.platform import DETECTOR, Platform
from anomaly_platform.registry.bundles import BundleRecord, ChampionMovedError
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.streams import MetricStream, Stream

if TYPE_CHECKING:
    from anomaly_platform.ml.training.gates import Decision

_MOST_TRIES = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one challenger.

    Attributes
    ----------
    version : int
        The version that was judged: the challenger's own, or the one that it was rebased as.
    decision : Decision
        Of the gates.
    """

    version: int
    decision: "Decision"


def build_champion(stream: MetricStream) -> AssetsDefinition:
    """Return the asset ``[stream, champion]``."""

    @asset(
        key=stream.key("champion"),
        deps=[stream.key(f"{DETECTOR}_model")],
        group_name=stream.name,
        kinds={"postgres"},
        owners=list(stream.owners),
        tags={"stage": "champion"},
        description="The bundle that scores: the newest one that passed its gates.",
        required_resource_keys={"platform"},
    )
    def champion(context: AssetExecutionContext) -> MaterializeResult[None]:
        platform: Platform = context.resources.platform
        verdicts = list(judge_challengers(platform, stream))
        for verdict in verdicts:
            outcome = "serves" if verdict.decision.promote else "is rejected"
            context.log.info("version %d %s: %s", verdict.version, outcome, verdict.decision.reason)
        return _result(platform, stream, verdicts)

    return champion


def judge_challengers(platform: Platform, stream: MetricStream) -> Iterator[Verdict]:
    """Judge every challenger that waits, the oldest first; promote or reject it.

    A challenger that is older than one in which every series was trained anew gives way unjudged.
    One in which only a few series were is set on the version that serves by then.
    """
    bundles = platform.warehouse.bundles
    waiting = [b for b in bundles.all(stream.name, DETECTOR) if b.status == "challenger"]
    newest_whole = max((b.version for b in waiting if b.parent is None), default=0)
    for record in reversed(waiting):
        if record.version < newest_whole:
            reason = f"version {newest_whole} was trained later, on every series"
            bundles.reject(
                stream.name,
                DETECTOR,
                record.version,
                reason,
                also=partial(tell_of_outcome, platform, record=record, serves=False, why=reason),
            )
            continue
        yield _settle(platform, stream, record)


def _settle(platform: Platform, stream: MetricStream, record: BundleRecord) -> Verdict:
    """Judge a challenger until nobody has promoted another version meanwhile."""
    bundles = platform.warehouse.bundles
    for _ in range(_MOST_TRIES):
        champion = bundles.champion(stream.name, DETECTOR)
        serving = None if champion is None else champion.version
        if record.parent is not None and serving is not None and record.parent != serving:
            version, _bundle = rebase(platform, stream, record.version, serving)
            rebased = bundles.get(stream.name, DETECTOR, version)
            if rebased is None:
                raise AssertionError("a bundle vanished that was registered a moment ago")
            record = rebased
        decision = judge(platform, stream, record, serving)
        try:
            _act(platform, stream, record, decision, serving)
        except ChampionMovedError:
            continue
        return Verdict(record.version, decision)
    raise Failure(f"the champion of {stream.name} changes faster than a challenger can be judged")


def _act(
    platform: Platform,
    stream: MetricStream,
    record: BundleRecord,
    decision: "Decision",
    serving: int | None,
) -> None:
    bundles, key = platform.warehouse.bundles, (stream.name, DETECTOR, record.version)

    def tell(connection: Connection) -> None:
        tell_of_verdict(platform, connection, stream, DETECTOR, record.version, decision)
        why = why_of(decision)
        tell_of_outcome(platform, connection, record, serves=decision.promote, why=why)

    if decision.promote:
        bundles.promote(
            *key, decision.reason, gates=decision.rows(), compared_with=serving, also=tell
        )
    else:
        bundles.reject(*key, decision.reason, gates=decision.rows(), also=tell)


def tell_of_verdict(
    platform: Platform,
    connection: Connection,
    stream: Stream,
    detector: str,
    version: int,
    decision: "Decision",
) -> None:
    """Raise the alert of a failed gate in the transaction of the rejection, or resolve it."""
    name = fingerprint("gate_failed", stream.name, detector)
    if decision.promote:
        platform.outbox.resolve_alert(connection, name, {"version": version})
        return
    platform.outbox.raise_alert(
        connection,
        Alert(
            kind="gate_failed",
            fingerprint=name,
            subject=f"{stream.name}/{detector}",
            severity="warning",
            title=f"{stream.name}: version {version} of {detector} did not pass its gates",
            stream=stream.name,
            details={"version": version, "reason": decision.reason, "gates": decision.rows()},
            occurrence=str(version),
        ),
    )


def _result(
    platform: Platform, stream: MetricStream, verdicts: Sequence[Verdict]
) -> MaterializeResult[None]:
    bundles = platform.warehouse.bundles
    serving = bundles.champion(stream.name, DETECTOR)
    newest = verdicts[-1].decision if verdicts else None
    return MaterializeResult(
        metadata={
            "promoted": MetadataValue.bool(newest is not None and newest.promote),
            "reason": MetadataValue.text(
                "there is no challenger" if newest is None else newest.reason
            ),
            "gates": gates_table(verdicts),
            "serving version": MetadataValue.text(str(serving.version) if serving else "none"),
            "history": records_table(
                [
                    {
                        "version": h.version,
                        "since": f"{h.promoted_at:%Y-%m-%d %H:%M}",
                        "why": h.reason,
                    }
                    for h in reversed(bundles.history(stream.name, DETECTOR))
                ]
            ),
        }
    )


def gates_table(verdicts: Sequence[Verdict]) -> MetadataValue:
    """Return a table with a row per gate of each version judged."""
    return records_table(
        [
            {
                "version": verdict.version,
                "gate": gate.gate,
                "value": gate.value,
                "bound": gate.bound,
                "verdict": "passed" if gate.passed else "failed",
            }
            for verdict in verdicts
            for gate in verdict.decision.gates
        ]
    )

"""What follows from the gates' verdict on challengers, whatever the kind of stream.

What belongs here: promotion or rejection, and telling people of it in the same transaction. The
gates stand in ``ml.training.gates``, the figures are measured by each kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anomaly_platform.kinds.training import Version, alert_about
from anomaly_platform.notifications.outbox import Kind
from anomaly_platform.registry.bundle_index import BundleRecord
from anomaly_platform.storage.postgres.transactions import Connection

if TYPE_CHECKING:
    from anomaly_platform.kinds.parts import Parts
    from anomaly_platform.ml.training.gates import Decision


def act(
    parts: Parts[Any],
    judged: BundleRecord,
    versions: Mapping[str, int],
    decision: Decision,
    *,
    trained: Sequence[BundleRecord],
    compared_with: int | None,
) -> None:
    """Promote what was judged, or reject it, and tell of it.

    Parameters
    ----------
    judged
        The version that the decision is about.
    versions
        All that would serve together, by detector.
    trained
        Those of them that people have not been told of yet.
    compared_with
        The version of the same detector that the decision rests on.

    Raises
    ------
    ChampionMovedError
        When another one serves by now; nothing has changed then.
    """
    stream, gates = judged.stream, decision.rows()

    def tell(connection: Connection) -> None:
        _tell_of_gates(parts, connection, judged, decision)
        for record in trained:
            tell_of_outcome(parts, connection, record, serves=decision.promote, why=_why(decision))

    if decision.promote:
        parts.bundles.promote_set(
            stream,
            versions,
            decision.reason,
            gates=gates,
            compared_with={} if compared_with is None else {judged.detector: compared_with},
            also=tell,
        )
        return
    for detector, version in versions.items():
        also = tell if detector == judged.detector else None
        parts.bundles.reject(stream, detector, version, decision.reason, gates=gates, also=also)


def tell_of_outcome(
    parts: Parts[Any], connection: Connection, record: BundleRecord, *, serves: bool, why: str
) -> None:
    """Tell that a version was trained and what became of it, within the decision's transaction.

    Parameters
    ----------
    record
        The version as it was judged.
    serves, why
        Whether it is in service now, and why or why not.
    """
    kind: Kind = "model_trained" if record.version == 1 else "model_retrained"
    outcome = "is in service" if serves else f"was rejected: {why}"
    counts = ("series_trained", "series_failed", "series_insufficient_history")
    details = {
        "serves": serves,
        "why": why,
        "trained_because_of": record.trained_because_of,
        "parent": record.parent,
        **{name: record.metrics[name] for name in counts if name in record.metrics},
    }
    said = f"version {record.version} of {record.detector} was trained and {outcome}"
    alert = alert_about(_version(record), kind, "info", said, details, str(record.version))
    parts.outbox.raise_alert(connection, alert)


def _tell_of_gates(
    parts: Parts[Any], connection: Connection, judged: BundleRecord, decision: Decision
) -> None:
    """Raise the alert of a failed gate, or resolve it."""
    said = f"version {judged.version} of {judged.detector} did not pass its gates"
    details = {"reason": decision.reason, "gates": decision.rows()}
    alert = alert_about(_version(judged), "gate_failed", "warning", said, details)
    if decision.promote:
        told = {"version": judged.version}
        parts.outbox.resolve_alert(connection, alert.fingerprint, told)
    else:
        parts.outbox.raise_alert(connection, alert)


def _version(record: BundleRecord) -> Version:
    return Version(record.stream, record.detector, record.version)


def _why(decision: Decision) -> str:
    """Return the first gate that a version failed, or else what speaks for it."""
    failed = next((gate for gate in decision.gates if not gate.passed), None)
    if failed is None:
        return decision.reason
    return f"{failed.gate}: {failed.value}, needed is {failed.bound}"

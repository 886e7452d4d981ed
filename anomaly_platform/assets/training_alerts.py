"""What people are told of a training, in the transactions that record its end and its outcome.

What belongs here: the messages about trained, retrained and failed models. Whether a version
serves is decided in ``champion``; only then is a training told of, together with the decision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from anomaly_platform.notifications.outbox import Alert, Kind, fingerprint
from anomaly_platform.platform import Platform
from anomaly_platform.registry.bundles import BundleRecord
from anomaly_platform.storage.postgres.transactions import Connection

if TYPE_CHECKING:
    from anomaly_platform.ml.training.gates import Decision

Within = Callable[[Connection], object]


def tell_of_failure(
    platform: Platform, stream: str, detector: str, version: int, reason: str
) -> Within:
    """Return what tells that a training failed as a whole; what served before goes on serving."""

    def tell(connection: Connection) -> None:
        platform.outbox.raise_alert(
            connection,
            Alert(
                kind="model_disabled",
                fingerprint=fingerprint("model_disabled", stream, detector),
                subject=f"{stream}/{detector}",
                severity="critical",
                title=f"{stream}: training {detector} failed; version {version} cannot serve",
                stream=stream,
                details={"version": version, "reason": reason},
                occurrence=str(version),
            ),
        )

    return tell


def tell_of_series(
    platform: Platform,
    stream: str,
    detector: str,
    version: int,
    *,
    failed_series: list[tuple[str, str, str]],
) -> Within:
    """Return what tells which series of a version could not be trained, and ends older failures.

    Parameters
    ----------
    failed_series
        Entity, metric and reason of those that this training tried in vain.
    """
    of_series = fingerprint("model_disabled", stream, detector, "series")

    def tell(connection: Connection) -> None:
        outbox = platform.outbox
        whole = fingerprint("model_disabled", stream, detector)
        outbox.resolve_alert(connection, whole, {"version": version})
        if not failed_series:
            outbox.resolve_alert(connection, of_series, {"version": version})
            return
        outbox.raise_alert(
            connection,
            Alert(
                kind="model_disabled",
                fingerprint=of_series,
                subject=f"{stream}/{detector}",
                severity="warning",
                title=f"{stream}: {len(failed_series)} series of {detector} could not be trained",
                stream=stream,
                details={
                    "version": version,
                    "failed": len(failed_series),
                    "series": [f"{e}/{m}: {why}" for e, m, why in failed_series],
                },
                occurrence=str(version),
            ),
        )

    return tell


def tell_of_outcome(
    platform: Platform, connection: Connection, record: BundleRecord, *, serves: bool, why: str
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
    platform.outbox.raise_alert(
        connection,
        Alert(
            kind=kind,
            fingerprint=fingerprint(kind, record.stream, record.detector, str(record.version)),
            subject=f"{record.stream}/{record.detector}",
            severity="info",
            title=(
                f"{record.stream}: version {record.version} of {record.detector} was trained "
                f"and {outcome}"
            ),
            stream=record.stream,
            details={
                "version": record.version,
                "serves": serves,
                "why": why,
                "trained_because_of": record.trained_because_of,
                "parent": record.parent,
                **{name: record.metrics[name] for name in counts if name in record.metrics},
            },
            occurrence=str(record.version),
        ),
    )


def why_of(decision: Decision) -> str:
    """Return the first gate that a version failed, or else what speaks for it."""
    failed = next((gate for gate in decision.gates if not gate.passed), None)
    if failed is None:
        return decision.reason
    return f"{failed.gate}: {failed.value}, needed is {failed.bound}"

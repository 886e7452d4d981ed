"""What people are told of a training, in the transaction that records its end.

What belongs here: the messages about trained, retrained and failed models. What serves after a
training is another question, which ``champion`` answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from anomaly_platform.resources.outbox import Alert, fingerprint
from anomaly_platform.resources.platform import Platform
from anomaly_platform.resources.transactions import Connection

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


def tell_of_training(
    platform: Platform,
    stream: str,
    detector: str,
    version: int,
    *,
    failed_series: list[tuple[str, str, str]],
    details: Mapping[str, Any],
) -> Within:
    """Return what tells that a version was trained, and which of its series could not be.

    Parameters
    ----------
    failed_series
        Entity, metric and reason of those that this training tried in vain.
    details
        For the message: counts, cause, metrics.
    """
    kind: Any = "model_trained" if version == 1 else "model_retrained"
    of_series = fingerprint("model_disabled", stream, detector, "series")

    def tell(connection: Connection) -> None:
        outbox = platform.outbox
        outbox.raise_alert(
            connection,
            Alert(
                kind=kind,
                fingerprint=fingerprint(kind, stream, detector, str(version)),
                subject=f"{stream}/{detector}",
                severity="info",
                title=f"{stream}: version {version} of {detector} was trained",
                stream=stream,
                details={"version": version, **details},
                occurrence=str(version),
            ),
        )
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

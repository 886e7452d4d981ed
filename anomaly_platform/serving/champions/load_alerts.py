"""Alerts for champions that cannot be loaded, resolved once they can."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from anomaly_platform.notifications.outbox import Alert, fingerprint

if TYPE_CHECKING:
    from anomaly_platform.platform import Platform
    from anomaly_platform.serving.champions.models import LoadProblem

_log = logging.getLogger(__name__)


class ModelAlerts:
    """Raises and resolves the alerts of a model store, without making its caller wait.

    Parameters
    ----------
    platform : Platform
        Whose outbox it is.
    loop : asyncio.AbstractEventLoop
        Of the worker; trouble is found in threads as well.
    """

    def __init__(self, platform: Platform, loop: asyncio.AbstractEventLoop) -> None:
        self._platform = platform
        self._loop = loop
        self._writing: set[asyncio.Future[None]] = set()

    def tell(self, stream: str, detector: str, problem: LoadProblem | None) -> None:
        """Raise the alert of a detector, or resolve it where there is no problem (any more)."""
        self._loop.call_soon_threadsafe(self._start, stream, detector, problem)

    def _start(self, stream: str, detector: str, problem: LoadProblem | None) -> None:
        writing = asyncio.ensure_future(
            asyncio.to_thread(self._write, stream, detector, problem), loop=self._loop
        )
        self._writing.add(writing)
        writing.add_done_callback(self._written)

    def _written(self, writing: asyncio.Future[None]) -> None:
        self._writing.discard(writing)
        if not writing.cancelled() and writing.exception() is not None:
            _log.error("an alert could not be written: %s", writing.exception())

    def _write(self, stream: str, detector: str, problem: LoadProblem | None) -> None:
        name = fingerprint("model_disabled", stream, detector, "load")
        with self._platform.warehouse.transactions.begin() as connection:
            if problem is None:
                self._platform.outbox.resolve_alert(connection, name, {})
                return
            alert = Alert(
                kind="model_disabled",
                fingerprint=name,
                subject=f"{stream} {detector} {problem.version}",
                severity="critical",
                title=f"{stream}: version {problem.version} of {detector} cannot be loaded; "
                "the one before goes on",
                stream=stream,
                details={"version": problem.version, "reason": problem.reason},
                # However many workers find it, it is one thing that went wrong.
                occurrence=f"version {problem.version}",
            )
            self._platform.outbox.raise_alert(connection, alert)

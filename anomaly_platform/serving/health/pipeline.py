"""Health check of the pipeline: Dagster's daemon, the files that wait, and the last runs.

Belongs here: looking into the landing folders, and judging what waits there and what Dagster's
database says (``queries.dagster_runs``). The answer is public: it names streams and kinds of work,
and neither files nor errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import psycopg

from anomaly_platform.queries.dagster_runs import Beat, LastRun, read_beats_and_runs
from anomaly_platform.serving.schemas.health import Part, Pipeline

if TYPE_CHECKING:
    from anomaly_platform.platform import Platform
    from anomaly_platform.queries.queues import Queue

_PATIENCE_S: Final = 2.0
#: A daemon beats every 30 s; on a starved machine two or three beats are missed.
STALE_AFTER_S: Final = 300.0
#: A file or a reading that has waited for so long is not merely behind another one.
WAITED_TOO_LONG_S: Final = 1800.0
#: Listing a folder with many files, or an object store, is not done for every answer.
_LOOK_EVERY_S: Final = 30.0

_log = logging.getLogger(__name__)


class PipelineHealth:
    """Checks Dagster's database and the landing folders.

    Parameters
    ----------
    platform : Platform
        Says where both are.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._looked_at = float("-inf")
        self._oldest_file: float | None = None

    async def ask(self, queues: dict[str, Queue]) -> tuple[Part, Pipeline]:
        """Ask both, and return the health of the pipeline with the figures behind it.

        Parameters
        ----------
        queues : dict of str to Queue
            What waits in the platform's database, nothing where that does not answer; readings that
            no batch has claimed count here.
        """
        file, state = await asyncio.gather(self._waiting_file(), self._state())
        readings = queues.get("online_readings")
        waits = readings.oldest_s if readings is not None and readings.depth else None
        part, figures = judge(*(state or ([], [])), file=file, reading=waits, now=time.time())
        if state is None and not queues:
            part = Part(status="down", detail="not known while the database does not answer")
        return part, figures

    async def _state(self) -> tuple[list[Beat], list[LastRun]] | None:
        """Return heartbeats and runs; None where Dagster's tables are missing or do not answer."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await read_beats_and_runs(self._platform.urls.dagster)
        except (psycopg.Error, TimeoutError, OSError) as error:
            _log.info("Dagster's database says nothing: %s", type(error).__name__)
            return None

    async def _waiting_file(self) -> float | None:
        """Return since when the oldest file waits in landing; None when none does."""
        if time.monotonic() - self._looked_at >= _LOOK_EVERY_S:
            # What cannot be looked into, such as a folder of another container, is not judged.
            with contextlib.suppress(OSError, TimeoutError):
                self._oldest_file = await asyncio.wait_for(
                    asyncio.to_thread(self._look), _PATIENCE_S
                )
            self._looked_at = time.monotonic()
        return self._oldest_file

    def _look(self) -> float | None:
        landing = self._platform.landing
        found = [landing.waiting_since(stream.name) for stream in self._platform.streams]
        return min((since for since in found if since is not None), default=None)


def judge(
    beats: Sequence[Beat],
    runs: Sequence[LastRun],
    *,
    file: float | None,
    reading: float | None,
    now: float,
) -> tuple[Part, Pipeline]:
    """Return the health of the pipeline, and the figures behind it.

    Parameters
    ----------
    beats : sequence of Beat
        Empty: no daemon has ever run.
    runs : sequence of LastRun
        The newest of each kind of work.
    file : float or None
        Unix seconds since when the oldest file waits in landing.
    reading : float or None
        Seconds that the oldest reading has waited for a batch.
    now : float
        Unix seconds.
    """
    newest = max(runs, key=lambda run: run.ended_at, default=None)
    failed = sorted(run.work for run in runs if not run.succeeded)
    oldest_beat = min((beat.at for beat in beats), default=None)
    file_s = None if file is None else max(0.0, now - file)
    figures = Pipeline(
        daemon_heartbeat_seconds=None if oldest_beat is None else max(0.0, now - oldest_beat),
        oldest_file_seconds=file_s,
        oldest_reading_seconds=reading,
        last_run=None if newest is None else newest.work,
        last_run_status=None if newest is None else ("succeeded" if newest.succeeded else "failed"),
        last_run_seconds=None if newest is None else max(0.0, now - newest.ended_at),
        failing=failed,
    )
    waiting = file_s is not None or reading is not None
    if not beats and not waiting:
        return Part(
            status="off", detail="no daemon has run here, and nothing waits for one"
        ), figures
    wrong: dict[str, str] = {}
    start = "start Dagster's daemon (anomaly up)"
    silent = [beat.kind.lower() for beat in beats if now - beat.at > STALE_AFTER_S]
    if not beats:
        wrong["no daemon has run here; what waits is not scored in batches"] = start
    elif silent:
        ago = _span(figures.daemon_heartbeat_seconds or 0.0)
        wrong[f"the daemon ({', '.join(sorted(silent))}) gave its last sign of life {ago} ago"] = (
            start
        )
    elif any(beat.has_errors for beat in beats):
        wrong["the daemon runs and reports errors"] = "see the daemon's log"
    for what, seconds in (("file in landing", file_s), ("reading without a batch", reading)):
        if seconds is not None and seconds > WAITED_TOO_LONG_S:
            wrong[f"the oldest {what} has waited for {_span(seconds)}"] = "see the runs in the UI"
    if failed:
        wrong[f"the last run of {', '.join(failed)} failed"] = "anomaly alerts list says why"
    if wrong:
        fixes = "; ".join(dict.fromkeys(wrong.values()))
        return Part(status="degraded", detail="; ".join(wrong), fix=fixes), figures
    ran = "no run has ended yet"
    if newest is not None:
        ran = f"the last run ({newest.work}) succeeded {_span(now - newest.ended_at)} ago"
    return Part(status="ok", detail=f"the daemon runs; {ran}"), figures


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86_400:.0f} days"

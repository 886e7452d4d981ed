"""Starts runs from a process that has imported already what they need.

A run is a process of its own: it may be killed, and takes its memory with it when it ends. Most of
what a short one costs is importing Dagster and the graph, which a *fork server* of Python's
``multiprocessing`` does once. It starts when a run is expected and ends when none has come for a
while, so that an idle platform does not hold it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import threading
import weakref
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Final, cast

from anomaly_platform.parent_death import end_with_parent
from anomaly_platform.settings import get_settings

#: What runs import, but for what a single stage needs.
PRELOADED: Final = (
    "dagster._grpc.impl",
    "dagster._grpc.server",
    "dagster_postgres",
    "anomaly_platform.definitions",
    "anomaly_platform.resources.instance_parts",
    "anomaly_platform.ingest.files.readers",
    "anomaly_platform.ingest.layout.row_reader",
    "anomaly_platform.ingest.validation.day",
    "anomaly_platform.ingest.validation.metrics",
    "anomaly_platform.kinds.metric.kind",
    "anomaly_platform.kinds.scan.kind",
    "anomaly_platform.ml.features.metrics.definition",
    "anomaly_platform.ml.scoring.batch",
)
#: Touched by each run at its end, below the platform's home: the daemon looks again at once.
RUN_ENDED: Final = Path("dagster", "run_ended")
#: One run follows another within seconds. The first of them, hours later, starts as soon: a file
#: is seen five seconds before it counts as complete, and the imports take three.
_KEPT_S: Final = 120.0
#: How long a run waits for the imports before it does them itself.
_PATIENCE_S: Final = 120.0


class WarmRuns:
    """The way in which a code server starts the processes of its runs.

    Has the parts of a ``multiprocessing`` context that Dagster's server uses.
    """

    def __init__(self, kept_s: float = _KEPT_S) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))
        self._kept_s = kept_s
        self._lock = threading.Lock()
        # Whoever has started a process holds it: with it go its pipes.
        self._running: weakref.WeakSet[Any] = weakref.WeakSet()
        self._ending: threading.Timer | None = None

    def warm_up(self) -> None:
        """Start the fork server, unless it runs; return at once.

        Raises
        ------
        OSError
            When it cannot be started, for lack of places for files, for example.
        """
        with self._lock:
            forkserver.ensure_running()
            self._end_later()

    def is_ready(self, patience_s: float = _PATIENCE_S) -> bool:
        """Wait until runs can be forked; return False when that does not come about."""
        done = threading.Event()

        def probe() -> None:
            with contextlib.suppress(OSError, EOFError):
                self.warm_up()
                process = self._context.Process(target=int)
                process.start()
                process.join()
                done.set()

        probing = threading.Thread(target=probe, name="fork-server", daemon=True)
        probing.start()
        probing.join(patience_s)
        return done.is_set()

    def Queue(self) -> Any:  # noqa: N802  (named as multiprocessing names it)
        """Return a queue that a run's process can be given."""
        return self._context.Queue()

    def Event(self) -> Any:  # noqa: N802
        """Return an event that a run's process can be given."""
        return self._context.Event()

    def Process(self, target: Any, args: Any) -> Any:  # noqa: N802
        """Return the process of a run, which is not started yet."""
        self.warm_up()
        process = self._context.Process(target=_run_and_tell, args=(target, *args))
        with self._lock:
            self._running.add(process)
        return process

    def end(self) -> None:
        """End the fork server, unless a run is under way."""
        with self._lock:
            # One that has not been started yet has no exit code either.
            if any(one.exitcode is None for one in list(self._running)):
                self._end_later()
            else:
                forkserver._forkserver._stop()  # type: ignore[attr-defined]

    def _end_later(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
        self._ending = threading.Timer(self._kept_s, self.end)
        self._ending.daemon = True
        self._ending.start()


#: Of this process, where it is a code server that starts its runs so.
_ours: list[WarmRuns] = []


def warm_up() -> None:
    """Prepare for a run, where this process is a code server that starts them so."""
    for warm in _ours:
        # Without it the run imports what it needs by itself.
        with contextlib.suppress(OSError):
            warm.warm_up()


def start_runs_warm() -> None:
    """Let this process start its runs so if it is a code server of Dagster's, and no run."""
    is_its_run = multiprocessing.parent_process() is not None
    if sys.argv[1:3] != ["api", "grpc"] or is_its_run or _ours:
        return
    from dagster._grpc.server import DagsterApiServer

    warm = WarmRuns()
    _ours.append(warm)
    start_run = DagsterApiServer.StartRun
    cold = multiprocessing.get_context("spawn")

    def start_run_warm(self: Any, request: Any, context: Any) -> Any:
        # Before Dagster takes the lock behind which it looks after all of its runs.
        self._mp_ctx = warm if warm.is_ready() else cold
        return start_run(self, request, context)

    DagsterApiServer.StartRun = cast("Any", start_run_warm)  # type: ignore[method-assign]


def _run_and_tell(target: Any, *args: Any) -> None:
    from anomaly_platform.storage.postgres.database import release_embedded

    # Whoever looks after a run hears of its end from the fork server: without that one it would
    # count as failed, and be started again beside itself.
    end_with_parent(signal.SIGTERM)
    home = get_settings().home
    try:
        target(*args)
    finally:
        # A forked process ends without doing what is registered for its end.
        release_embedded(home)
        # Without the mark the daemon looks at its usual time.
        with contextlib.suppress(OSError):
            (home / RUN_ENDED).touch()

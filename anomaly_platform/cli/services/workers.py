"""The API's workers: forked from one process, and watched by how busy they are.

uvicorn starts each worker anew, which imports for seconds and holds all of it for itself. Here one
process imports what workers need, and they are forked from it. Forking it is safe: what it imports
starts no pool of threads, only those in which jemalloc and Polars tidy up after themselves.

uvicorn asks each worker for a sign of life and kills one that gives none for five seconds, which on
a busy machine may be any: while it starts, or while others have the processors. Here a worker that
uses the processor is at work, and one that uses none gets a minute. The parent never waits for an
answer, so that it hears signals meanwhile, and one slow worker delays the look at no other.

A worker that is told to end while it starts ends at once: compiling may take it a minute.
"""

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import time
from multiprocessing import forkserver
from socket import socket
from types import FrameType
from typing import Final

import psutil
from uvicorn import Config, Server, _subprocess
from uvicorn.supervisors import multiprocess

from anomaly_platform.parent_death import end_with_parent

SILENT_S: Final = 60.0
"""Seconds without a sign of life, and without work, after which a worker counts as dead."""

LONGEST_SILENT_S: Final = 900.0
"""Seconds without a sign of life after which it does, however much it works."""

_LEAST_WORK: Final = 0.01
"""Share of the time for which a worker at work has a processor, on the busiest machine."""

_log = logging.getLogger(__name__)


class _WorkerServer(Server):
    """Serves in a worker."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End in order once requests are served; before that, nothing would be lost."""
        if not self.started:
            os._exit(0)
        super().handle_exit(sig, frame)


class PatientProcess(multiprocess.Process):
    """A worker, as its parent sees it, and its beginning."""

    def __init__(self, config: Config, sockets: list[socket]) -> None:
        super().__init__(config, sockets)
        self._asked = False
        self._heard_at = time.monotonic()
        self._work_then = 0.0

    @property
    def server(self) -> Server:
        """What the worker runs."""
        if self._server is None:
            self._server = _WorkerServer(self.config)
        return self._server

    def target(self, sockets: list[socket] | None = None) -> None:
        """Serve, in the worker."""
        # Nobody would watch it, and the next service would find its port taken. One that is forked
        # has that from `serving.fork_source`, and one that is started anew from here.
        end_with_parent(signal.SIGTERM)
        super().target(sockets)

    def is_alive(self, timeout: float = 0.0) -> bool:  # noqa: ARG002 - nothing is waited for
        """Return whether the worker runs and, as far as can be told, does its work."""
        return self.process.is_alive() and not self._is_hung()

    def _is_hung(self) -> bool:
        now = time.monotonic()
        try:
            while self.parent_conn.poll(0):
                self.parent_conn.recv()
                self._asked = False
                self._heard_at, self._work_then = now, self._work()
            if not self._asked:
                self.parent_conn.send(b"ping")
                self._asked = True
        except (OSError, EOFError, pickle.UnpicklingError):
            return True
        silent = now - self._heard_at
        if silent < SILENT_S:
            return False
        worked = self._work() - self._work_then
        return worked < _LEAST_WORK * silent or silent > LONGEST_SILENT_S

    def _work(self) -> float:
        """Return the seconds for which the worker has had a processor."""
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)


def be_patient() -> None:
    """Have uvicorn watch its workers in this way."""
    multiprocess.Process = PatientProcess  # type: ignore[misc]


def fork_workers(*imported: str) -> None:
    """Have uvicorn fork its workers from a process that has imported modules; wait for that.

    Where there can be no such process uvicorn goes on to start each worker anew.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(imported))
    # Before uvicorn waits for its first worker, and is deaf to signals meanwhile.
    first = context.Process(target=_check_imported, args=(imported,))
    try:
        first.start()
        first.join()
        failed = first.exitcode and f"it could not import {' and '.join(imported)}"
    except (OSError, EOFError) as error:
        # A socket's path may have some hundred bytes, and TMPDIR alone may have more.
        failed = str(error) or "it ended while it imported"
    if failed:
        _log.warning("Workers share no memory, without a process to fork them from: %s", failed)
        forkserver._forkserver._stop()  # type: ignore[attr-defined]
    else:
        _subprocess.spawn = context  # type: ignore[assignment]


def _check_imported(modules: tuple[str, ...]) -> None:
    """End with 1 where one is missing: the process that this one is forked from passes over it."""
    sys.exit(not sys.modules.keys() >= set(modules))

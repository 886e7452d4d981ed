"""``anomaly api``: the API's worker processes in the foreground."""

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

from rich.console import Console

from anomaly_platform.cli.runtime import open_platform
from anomaly_platform.cli.services.readiness import (
    Awaited,
    base_url,
    probed_url,
    tell_as_they_answer,
)
from anomaly_platform.ml.compiled import all_kept, can_be_kept, forget_older
from anomaly_platform.settings import Settings
from anomaly_platform.storage.own_files import tighten
from anomaly_platform.storage.postgres.database import prepare_databases

_GRACE_SECONDS = 10
#: Kernels are compiled at the first start, which takes minutes on a busy machine.
_PATIENCE_SECONDS = 300
_COMPILE = "from anomaly_platform.ml.compiled import compile_all; compile_all()"
#: Half a minute of processor time, for which nobody waits.
_REHEARSE = (
    "from anomaly_platform.ml.rehearsal import rehearse; rehearse(); "
    "from anomaly_platform.ml.scans.rehearsal import rehearse_scans; rehearse_scans(); "
    "from anomaly_platform.ml.compiled import note_all_kept; note_all_kept()"
)
_APPLICATION = "anomaly_platform.console.app"
_THREADS = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS")


def serve(settings: Settings, console: Console, *, host: str, port: int, workers: int) -> int:
    """Run until Ctrl-C; return the exit code."""
    _begin_with_single_threads()
    import uvicorn

    from anomaly_platform.cli.services.ports import free_port
    from anomaly_platform.cli.services.workers import be_patient, fork_workers
    from anomaly_platform.logs import configure_logging
    from anomaly_platform.serving.metrics.folder import DIRECTORY_VARIABLE, prepare_directory

    if not free_port(host, port):
        console.print(f"[red]Port {port} on {host} is taken; choose another with --port.")
        return 2
    configure_logging(settings.log_level, settings.log_format, whole_process=True)
    tighten(settings.home, without="postgres")
    with open_platform(settings):
        say = _teller(settings, console)
        say("Starting; stop with Ctrl-C.")
        _keep_machine_code(settings)
        compiling = None
        if not all_kept() and can_be_kept():
            say("Compiling what computes scores, once for each version: up to a minute.")
            compiling = _start(_COMPILE)
        # Once, before several workers would try: the server is started, its tables are current.
        try:
            prepare_databases(settings)
        except BaseException:
            if compiling is not None:
                compiling.terminate()
            raise
        # Workers are new processes, in which the settings are read again.
        os.environ["ANOMALY_HOME"] = str(settings.home)
        # Read when a worker first imports the client: it has to be there before.
        os.environ[DIRECTORY_VARIABLE] = str(prepare_directory(settings.home))
        be_patient()
        _tell_when_ready(say, host, port)
        with _compiled(compiling):
            if workers > 1:
                fork_workers(_APPLICATION, "anomaly_platform.serving.fork_source")
            uvicorn.run(
                f"{_APPLICATION}:worker_app",
                factory=True,
                host=host,
                port=port,
                workers=workers,
                loop="uvloop",
                # By name: workers import it, and this process does not.
                http="anomaly_platform.serving.http.connections:BoundedHttp",
                # There are no such routes, and their connections would have other limits.
                ws="none",
                # Each worker writes its log as the settings say; this process does already.
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
    return 0


def _keep_machine_code(settings: Settings) -> None:
    """Have machine code kept in the home where it can be kept nowhere else.

    numba would keep it in the user's folder, where nothing is compiled ahead: each worker would
    compile by itself what its first requests need.
    """
    if not all_kept() and not can_be_kept():
        # numba, which these processes import later, reads it.
        os.environ["NUMBA_CACHE_DIR"] = str(settings.home / "cache" / "compiled")
        forget_older()


def _start(code: str) -> subprocess.Popen[bytes]:
    command, silent = [sys.executable, "-P", "-c", code], subprocess.DEVNULL
    return subprocess.Popen(command, stdout=silent, stderr=silent)  # noqa: S603 - our own modules


@contextlib.contextmanager
def _compiled(compiling: subprocess.Popen[bytes] | None) -> Iterator[None]:
    """Wait for what compiles, if anything does, and have the rest compiled beside the block.

    A process that has compiled holds the compiler, fifty megabytes, until it ends. These end, and
    workers and runs find what they have compiled; where it cannot be kept, they do it themselves.
    """
    if compiling is None:
        yield
        return
    with contextlib.suppress(subprocess.TimeoutExpired):
        compiling.wait(_PATIENCE_SECONDS)
    rehearsing = _start(_REHEARSE)
    try:
        yield
    finally:
        rehearsing.terminate()
        rehearsing.wait()


def _teller(settings: Settings, console: Console) -> Callable[[str], None]:
    """Return what tells how the start goes: people, or those who read the log as JSON."""
    if settings.log_format == "json":
        return logging.getLogger(__name__).info
    return lambda line: console.print(line, soft_wrap=True)


def _tell_when_ready(say: Callable[[str], None], host: str, port: int) -> None:
    """Say where people find what is served, once it answers, beside serving it."""
    address, asked = base_url(host, port), f"{probed_url(host, port)}/health/ready"
    log = "above"
    awaited = [
        Awaited("Console", f"{address}/console", asked, log),
        Awaited("API", f"{address}/docs", asked, log),
    ]

    threading.Thread(
        target=lambda: tell_as_they_answer(awaited, say, patience_s=_PATIENCE_SECONDS),
        name="announce",
        daemon=True,
    ).start()


def _begin_with_single_threads() -> None:
    """Start this very command again unless somebody has said how many threads libraries get.

    Requests are small: threads that are woken for each of two hundred steps of Polars, or made for
    each call of PyTorch, cost as much as the work. The numbers are read when the libraries are
    imported, which has happened by now.
    """
    unsaid = [name for name in _THREADS if name not in os.environ]
    if unsaid:
        os.environ.update(dict.fromkeys(unsaid, "1"))
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - itself

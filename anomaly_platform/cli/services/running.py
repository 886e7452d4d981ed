"""What runs in a home: one ``anomaly up`` at a time, found and ended by ``anomaly down``."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import psutil
from rich.console import Console

from anomaly_platform.settings import Settings
from anomaly_platform.storage.own_files import private
from anomaly_platform.storage.postgres.embedded import USERS_FILE, EmbeddedPostgres

_LOCK: Final = "up.lock"
#: The services get twelve seconds, the database its own time.
_PATIENCE_SECONDS: Final = 90
_LOOK_SECONDS: Final = 0.1


class AlreadyRunningError(RuntimeError):
    """Another ``anomaly up`` runs in this home; the message says which."""


@dataclass(frozen=True, slots=True)
class RunningPlatform:
    """The ``anomaly up`` that runs in a home.

    Attributes
    ----------
    pid : int
    ports : frozenset of int
        That its services listen on; none where an older version runs, which did not note them.
    """

    pid: int
    ports: frozenset[int]


@contextmanager
def only_platform_of(home: Path, address: str, ports: Collection[int] = ()) -> Iterator[None]:
    """Be the one ``anomaly up`` of a home for the block; the system lets go after a kill as well.

    Parameters
    ----------
    address : str
        Of Dagster's UI.
    ports : collection of int
        That the services listen on.

    Raises
    ------
    AlreadyRunningError
        When there is one.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(home / _LOCK, "a+", opener=private) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            noted = _noted(file)
            raise AlreadyRunningError(
                f"anomaly up runs in {home} already: process {noted.get('pid', 'unknown')}, "
                f"Dagster's UI at {noted.get('address', 'an unknown address')}; "
                "`anomaly down` ends it"
            ) from None
        file.truncate(0)
        json.dump({"pid": os.getpid(), "address": address, "ports": list(ports)}, file)
        file.flush()
        yield
        file.truncate(0)


def platform_of(home: Path) -> RunningPlatform | None:
    """Return the ``anomaly up`` that runs in a home, if one does."""
    try:
        with (home / _LOCK).open() as file:
            if _is_free(file):
                return None
            noted = _noted(file)
    except FileNotFoundError:
        return None
    pid, ports = noted.get("pid"), noted.get("ports")
    if not isinstance(pid, int):
        return None
    return RunningPlatform(pid, frozenset(ports if isinstance(ports, list) else ()))


def end_everything(settings: Settings, console: Console) -> None:
    """End ``anomaly up`` of a home, then whatever else uses it, then its embedded server."""
    ended = False
    running = platform_of(settings.home)
    if running is not None:
        console.print(f"Ending anomaly up (process {running.pid}).")
        with suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGTERM)
        _wait_for_end_of_platform(settings.home)
        ended = True
    others = _users_of(settings.home)
    for one in others:
        # It may end by itself meanwhile.
        with suppress(psutil.NoSuchProcess):
            console.print(f"Ending {one.name()} (process {one.pid}).", markup=False)
            one.terminate()
    _, left = psutil.wait_procs(others, timeout=_PATIENCE_SECONDS / 3)
    for one in left:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    if settings.is_embedded:
        server = EmbeddedPostgres(settings.home)
        if server.is_running():
            server.stop()
            ended = True
    console.print("Nothing runs any more." if ended or others else "Nothing ran.")


def _wait_for_end_of_platform(home: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while platform_of(home) is not None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"anomaly up does not end within {_PATIENCE_SECONDS} s")
        time.sleep(_LOOK_SECONDS)


def _users_of(home: Path) -> list[psutil.Process]:
    """Return the other processes that use a home's embedded server."""
    lease = str(home / USERS_FILE)
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and any(
                lease == opened.path for opened in process.open_files()
            ):
                found.append(process)
        except (psutil.Error, OSError):
            # Gone meanwhile, or somebody else's.
            continue
    return found


def _is_free(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _noted(file: IO[str]) -> dict[str, object]:
    file.seek(0)
    try:
        return dict(json.load(file))
    except ValueError:
        # Just being written.
        return {}

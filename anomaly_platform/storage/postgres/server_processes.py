"""Finds and stops the processes of an embedded PostgreSQL, and clears away what dead ones left.

Belongs here: what is done to a server by process and signal. It needs the server's user or root.
"""

import contextlib
import logging
import signal
import time
from pathlib import Path
from typing import Final

import psutil

#: Index of the line of ``postmaster.pid`` that says how far the server is.
_STATE: Final = 7

_log = logging.getLogger(__name__)


def server_processes(data: Path) -> list[psutil.Process]:
    """Return the live processes of the server with this data folder, its children included."""
    resolved = data.resolve()
    found = []
    for process in psutil.process_iter():
        # Gone meanwhile, or somebody else's: the data folder's owner is checked before.
        with contextlib.suppress(psutil.Error):
            if (
                process.name() == "postgres"
                and process.status() != psutil.STATUS_ZOMBIE
                and Path(process.cwd()).resolve() == resolved
            ):
                found.append(process)
    return found


def clear_dead_server(data: Path, socket: Path) -> bool:
    """Clear away what a killed server left, and return whether a live one is there.

    PostgreSQL itself only looks whether the process id in ``postmaster.pid`` is taken, which after
    a restart of a container or a machine it often is, and a killed server that nobody has reaped
    still has one. Its children may go on writing for a while: they have to be gone before a new
    server recovers the same files.

    Parameters
    ----------
    data : Path
        The server's data folder.
    socket : Path
        Its unix socket.
    """
    postmaster = _postmaster(data)
    processes = server_processes(data)
    if any(process.pid == postmaster for process in processes):
        return True
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=30)
    (data / "postmaster.pid").unlink(missing_ok=True)
    socket.unlink(missing_ok=True)
    socket.with_name(socket.name + ".lock").unlink(missing_ok=True)
    return False


def is_shutting_down(data: Path) -> bool:
    """Return whether the server with this data folder was told to shut down and has not ended.

    One that waits for its users to leave goes on answering them and refuses everybody else; it
    says so in its ``postmaster.pid`` alone.
    """
    return _noted(data)[_STATE : _STATE + 1] == ["stopping"]


def stop_server(data: Path, socket: Path) -> bool:
    """Stop the server, patiently at first, and return whether it is down."""
    for kind, patience_s in ((signal.SIGINT, 60), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
        if not clear_dead_server(data, socket):
            return True
        with contextlib.suppress(psutil.NoSuchProcess, ValueError):
            psutil.Process(_postmaster(data)).send_signal(kind)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if not server_processes(data):
                _log.info("embedded PostgreSQL stopped in %s", data)
                return True
            time.sleep(0.05)
    return not clear_dead_server(data, socket)


def _postmaster(data: Path) -> int:
    """Return the process id in ``postmaster.pid``, -1 where there is none to be read."""
    with contextlib.suppress(ValueError, IndexError):
        return int(_noted(data)[0])
    return -1


def _noted(data: Path) -> list[str]:
    """Return the lines of ``postmaster.pid``, none where there is no such file."""
    with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
        return [line.strip() for line in (data / "postmaster.pid").read_text().splitlines()]
    return []

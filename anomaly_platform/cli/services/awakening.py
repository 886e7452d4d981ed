"""When a data sensor is due before its time: a file has landed, or a run has ended.

What belongs here: what the daemon looks at between two rounds, twice a second, without asking the
database. A sensor that ticked so often would cost an idle machine more than everything else.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anomaly_platform.runtime.warm_runs import RUN_ENDED
from anomaly_platform.sensors.names import DATA_SENSOR_SUFFIX
from anomaly_platform.storage.lake.landing import is_data_file

if TYPE_CHECKING:
    from threading import Event

#: How long after its last change a file keeps its stream's sensor awake: longer than it takes
#: until a file counts as complete, much shorter than the files of a run that failed wait.
_FRESH_S: Final = 12.0
#: Of a folder with more files, the first ones say whether something is new.
_FILES_LOOKED_AT: Final = 200
_LOOK_EVERY_S: Final = 0.5
#: How long something that goes on growing is followed so closely; then its sensor ticks as usual.
_LONGEST_AWAKE_S: Final = 60.0


class Awakening:
    """Says which data sensors have something to do.

    Parameters
    ----------
    home
        The platform's home.
    landing
        The folder of the streams' folders; ``None`` where it is on no local disk.
    """

    def __init__(self, home: Path, landing: Path | None) -> None:
        self._mark = home / RUN_ENDED
        self._landing = landing
        self._awake_since: dict[str, float] = {}

    def due(self, sensor: str, last_tick: float) -> bool:
        """Return whether a sensor has something to do since its last tick (Unix seconds)."""
        if not sensor.endswith(DATA_SENSOR_SUFFIX):
            return False
        return self._run_ended_since(last_tick) or self._is_fresh(
            sensor.removesuffix(DATA_SENSOR_SUFFIX)
        )

    def any_since(self, moment: float) -> bool:
        """Return whether a run has ended since a moment (Unix seconds), or a file is fresh."""
        if self._run_ended_since(moment):
            return True
        if self._landing is None:
            return False
        with contextlib.suppress(OSError), os.scandir(self._landing) as folders:
            return any(self._is_fresh(folder.name) for folder in folders)
        return False

    def _run_ended_since(self, moment: float) -> bool:
        try:
            ended = self._mark.stat().st_mtime
        except OSError:
            return False
        # One in the future says that the clock was set back, and not that anything is due.
        return moment < ended <= time.time()

    def _is_fresh(self, stream: str) -> bool:
        """Return whether files of a stream have changed just now, for a minute at most."""
        if not self._has_fresh_files(stream):
            self._awake_since.pop(stream, None)
            return False
        now = time.monotonic()
        return now - self._awake_since.setdefault(stream, now) < _LONGEST_AWAKE_S

    def _has_fresh_files(self, stream: str) -> bool:
        if self._landing is None or stream.startswith("."):
            return False
        now = time.time()
        with contextlib.suppress(OSError), os.scandir(self._landing / stream) as entries:
            looked_at = [e for e, _ in zip(entries, range(_FILES_LOOKED_AT), strict=False)]
            times = [
                entry.stat(follow_symlinks=False).st_mtime
                for entry in looked_at
                if is_data_file(entry.name) and not entry.is_symlink()
            ]
            if times:
                # A file that is moved here keeps the time of its last change.
                times.append((self._landing / stream).stat().st_mtime)
            return any(now - _FRESH_S < one <= now + _FRESH_S for one in times)
        return False


class Watchful:
    """The daemon's event of its end, whose waiting also ends when a data sensor is due."""

    def __init__(self, ending: Event, awakening: Awakening) -> None:
        self._ending = ending
        self._awakening = awakening

    def is_set(self) -> bool:
        """Return whether the daemon is to end."""
        return self._ending.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait, at most `timeout` seconds; return whether the daemon is to end."""
        began, until = time.time(), time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            if self._ending.wait(min(left, _LOOK_EVERY_S)):
                return True
            if self._awakening.any_since(began):
                return False
        return self._ending.is_set()

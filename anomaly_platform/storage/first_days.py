"""The first day with data of each stream, in a small file of the home.

Loading the graph reads it, for the partitions begin there, and must open no database. The truth is
the table ``raw_days``; whoever takes data in brings the file up to it.
"""

import fcntl
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path

from anomaly_platform.storage.own_files import private


class FirstDays:
    """The file, read anew each time.

    Parameters
    ----------
    home : Path
    """

    def __init__(self, home: Path) -> None:
        self.path = home / "first_days.json"

    def read(self) -> dict[str, date]:
        """Return the first day of each stream that has data; nothing where nobody has noted any."""
        with suppress(OSError, ValueError, TypeError, AttributeError):
            noted = json.loads(self.path.read_text(encoding="utf-8"))
            return {stream: date.fromisoformat(day) for stream, day in noted.items()}
        return {}

    def note(self, days: Mapping[str, date | None]) -> None:
        """Write the first days of these streams; None is a stream without data."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self.path.with_suffix(".lock"), "w", opener=private) as lock:
            # Two streams may take data in at the same time.
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = self.read()
            wanted = {stream: day for stream, day in {**known, **days}.items() if day is not None}
            if wanted == known:
                return
            fresh = self.path.with_suffix(".new")
            texts = {stream: day.isoformat() for stream, day in sorted(wanted.items())}
            fresh.write_text(json.dumps(texts, indent=2) + "\n", encoding="utf-8")
            fresh.replace(self.path)

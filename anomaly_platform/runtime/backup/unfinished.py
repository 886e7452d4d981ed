"""The mark of a home that a restore has begun to fill and not finished.

Belongs here: setting and lifting the mark, and refusing a home that has it. Whoever opens a home
asks :func:`refuse_unfinished` first.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from anomaly_platform.runtime.backup.files import make_folder, sync_folder
from anomaly_platform.runtime.backup.manifest import BackupError
from anomaly_platform.storage.own_files import private

MARK: Final = "RESTORE-UNFINISHED"


def refuse_unfinished(home: Path) -> None:
    """Raise :class:`BackupError` where a restore has not finished this home."""
    mark = home / MARK
    try:
        with mark.open("rb") as file:
            source = _noted(file).get("source", "DIR")
            under_way = _is_held(file)
    except (FileNotFoundError, NotADirectoryError):
        return
    if under_way:
        raise BackupError(f"{source} is just being restored into {home}: wait until that has ended")
    raise BackupError(
        f"{home} is half a home: the restore from {source} was broken off. "
        f"Run anomaly restore {source} once more, which begins anew"
    )


def noted_of(home: Path) -> dict[str, str]:
    """Return what a restore that was broken off has noted in the home; nothing without one."""
    try:
        with (home / MARK).open("rb") as file:
            return _noted(file)
    except (FileNotFoundError, NotADirectoryError):
        return {}


@contextmanager
def marked(home: Path, note: dict[str, str]) -> Iterator[Path]:
    """Mark a home as unfinished for the block; only a block that ends well lifts the mark.

    Parameters
    ----------
    home : Path
        Made if it is not there.
    note : dict of str to str
        What the next restore has to know if this one is broken off.

    Yields
    ------
    Path
        The file that is the mark.

    Raises
    ------
    BackupError
        When another restore into the home is under way.
    """
    make_folder(home)
    mark = home / MARK
    with open(mark, "a+b", opener=private) as file:
        if _is_held(file):
            raise BackupError(f"another restore into {home} is under way")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(json.dumps(note).encode())
        file.flush()
        sync_folder(home)
        yield mark
        mark.unlink()
        sync_folder(home)


def _is_held(file: IO[bytes]) -> bool:
    """Return whether another process holds the lock of the mark."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _noted(file: IO[bytes]) -> dict[str, str]:
    file.seek(0)
    try:
        return dict(json.loads(file.read()))
    except (ValueError, TypeError):
        # Broken off while it was written.
        return {}

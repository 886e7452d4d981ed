"""Keeps files and folders of a home to the user who runs the platform.

Belongs here: the modes of what a process makes, and bringing what older programs made to them. A
lock that another user can open is a lock that another user can hold.
"""

import os
import stat
from pathlib import Path
from typing import Final

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def keep_to_own_user() -> None:
    """Let this process, and those that it starts, make files for nobody but its user."""
    os.umask(os.umask(_OTHERS) | _OTHERS)


def private(path: str, flags: int) -> int:
    """Open a file that only its owner may read; an ``opener`` of :func:`open`.

    One that others may open already is closed to them.
    """
    descriptor = os.open(path, flags, 0o600)
    found = os.fstat(descriptor)
    if found.st_mode & _OTHERS and found.st_uid == os.geteuid():
        os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & ~_OTHERS)
    return descriptor


def tighten(folder: Path, *, without: str = "") -> None:
    """Take every right of others from a folder and all in it that belongs to this user.

    Parameters
    ----------
    folder : Path
        Links in it are not followed.
    without : str
        Name of a folder directly in it that is left alone.
    """
    own = os.geteuid()
    for place, folders, files in os.walk(folder):
        if Path(place) == folder and without in folders:
            folders.remove(without)
        for path in (place, *(os.path.join(place, name) for name in files)):  # noqa: PTH118
            try:
                found = os.lstat(path)
                known = stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)
                if known and found.st_uid == own and found.st_mode & _OTHERS:
                    os.chmod(path, stat.S_IMODE(found.st_mode) & ~_OTHERS)  # noqa: PTH101
            except FileNotFoundError:
                # Gone meanwhile.
                continue

"""Files that only their owner may read, whole or not there."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_private(path: Path, data: bytes) -> None:
    """Write a file that is either whole or not there, flushed to the disk."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def sync_folder(folder: Path) -> None:
    """Make what was renamed within a folder outlast a loss of power."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def naming_full_disk(folder: Path) -> Iterator[None]:
    """Say of which folder the disk is full where something cannot be written.

    Raises
    ------
    OSError
        With the folder and what is free there; any other error stays as it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT} and "No space left" not in str(error):
            raise
        there = next(one for one in (folder, *folder.parents) if one.exists())
        free = shutil.disk_usage(there).free
        message = f"the disk is full, {free:,} bytes are free: free some, then run again"
        raise OSError(errno.ENOSPC, message, str(folder)) from error

"""Files that were sent and wait until somebody has looked at how they are read.

Belongs here: keeping them for an hour under a name that nobody guesses, apart from landing, and
whose turn it is to have one read. Reading a file takes a thread for as long as somebody likes who
has made it, and all that the service does beside its event loop shares a few threads.
"""

import asyncio
import contextlib
import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from uuid import UUID
from weakref import WeakValueDictionary

from anomaly_platform.serving.problems import ApiProblem

MOST_BYTES: Final = 512 * 2**20
"""Of a file."""

MOST_KEPT: Final = 4 * MOST_BYTES
"""Of all files that wait."""

MOST_OF_A_KEY: Final = MOST_KEPT // 2
"""Of those that were sent with one key, so that no key leaves the others without room."""

#: Files that a worker reads at a time.
_AT_ONCE: Final = 2
#: Bytes after which somebody looks again how much waits.
_STRIDE: Final = 16 * 2**20
_KEPT_S: Final = 3600.0
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{32}")
_LONGEST_NAME: Final = 200


class Uploads:
    """Keeps sent files for a while, each for the key with which it was sent.

    Parameters
    ----------
    folder : Path
        Made when the first one comes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._turns_of: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def turn(self, whose: UUID) -> AsyncIterator[None]:
        """Wait until a file may be read: one of each key at a time, and few in all."""
        async with self._turns_of.setdefault(whose, asyncio.Lock()), self._turns:
            yield

    async def keep(
        self, name: str, content: AsyncIterator[bytes], *, whose: UUID
    ) -> tuple[str, Path]:
        """Write a file as it arrives; return the word under which it is found again, and where.

        Files that have waited for too long are removed.

        Raises
        ------
        ApiProblem
            422, when it cannot have that name; 413, when it is too large; 507, when there is no
            room for it.
        """
        checked = checked_name(name)
        token = secrets.token_urlsafe(24)
        place = self._of(whose) / token
        try:
            for folder in (self._folder, place.parent):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            place.mkdir(mode=0o700)
            await self._write(place / checked, content)
        except BaseException as error:
            shutil.rmtree(place, ignore_errors=True)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _no_room("the disk is full") from None
            raise
        return token, place / checked

    async def _write(self, path: Path, content: AsyncIterator[bytes]) -> None:
        size = checked_at = 0
        mine = path.parent.parent
        await asyncio.to_thread(self._refuse_beyond, mine)
        with path.open("wb") as file:
            async for part in content:
                size += len(part)
                if size > MOST_BYTES:
                    raise ApiProblem(
                        413,
                        f"a file of more than {MOST_BYTES // 2**20} MiB: copy it into the stream's "
                        "landing folder, or use anomaly import",
                    )
                if size - checked_at >= _STRIDE:
                    checked_at = size
                    # One that takes long is not an old one.
                    os.utime(path.parent)
                    await asyncio.to_thread(self._refuse_beyond, mine)
                # A slow disk keeps this one waiting, and no other.
                await asyncio.to_thread(file.write, part)

    def _refuse_beyond(self, mine: Path) -> None:
        """Forget what is old; refuse to keep more than may wait, in all or of one key."""
        kept = {folder: _size_of_the_young(folder) for folder in self._folder.iterdir()}
        if sum(kept.values()) > MOST_KEPT:
            raise _no_room(f"{MOST_KEPT // 2**20} MiB of files wait to be taken")
        if kept.get(mine, 0) > MOST_OF_A_KEY:
            raise _no_room(f"{MOST_OF_A_KEY // 2**20} MiB of files of this key wait to be taken")

    def find(self, token: str, whose: UUID) -> Path:
        """Return a file that was kept.

        Raises
        ------
        ApiProblem
            404, when there is none of that word and key, or no longer.
        """
        place = self._of(whose) / token
        found = list(place.glob("*")) if _TOKEN.fullmatch(token) else []
        if not found or _is_old(place):
            raise ApiProblem(404, "this file is no longer here; choose it again")
        return found[0]

    def forget(self, token: str, whose: UUID) -> None:
        """Remove a file that was kept."""
        if _TOKEN.fullmatch(token):
            shutil.rmtree(self._of(whose) / token, ignore_errors=True)

    def _of(self, whose: UUID) -> Path:
        return self._folder / whose.hex


def _size_of_the_young(folder: Path) -> int:
    """Remove what a key's folder has kept for too long; return how many bytes the rest has."""
    kept = 0
    # Other workers forget as well.
    with contextlib.suppress(OSError):
        for place in folder.iterdir():
            with contextlib.suppress(OSError):
                if _is_old(place):
                    shutil.rmtree(place, ignore_errors=True)
                kept += sum(file.stat().st_size for file in place.iterdir())
    return kept


def _is_old(place: Path) -> bool:
    return time.time() - place.stat().st_mtime > _KEPT_S


def _no_room(why: str) -> ApiProblem:
    return ApiProblem(507, f"there is no room for this file: {why}")


def checked_name(name: str) -> str:
    """Return a file's name that landing can have: its last part, printable and not hidden.

    Raises
    ------
    ApiProblem
        422, when it has none such.
    """
    last = re.split(r"[/\\]", name)[-1].strip()
    usable = 0 < len(last.encode(errors="replace")) <= _LONGEST_NAME and last.isprintable()
    if not usable or last.startswith(".") or last.endswith((".part", ".tmp", ".mapping.json")):
        raise ApiProblem(422, "a file's name has 1 to 200 printable characters and no dot in front")
    return last

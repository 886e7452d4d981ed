"""Files that were sent and wait until somebody has looked at how they are read.

Belongs here: keeping them for an hour under a name that nobody guesses, apart from landing.
"""

import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from anomaly_platform.serving.problems import ApiProblem

MOST_BYTES: Final = 512 * 2**20
_KEPT_S: Final = 3600.0
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{32}")
_LONGEST_NAME: Final = 200


class Uploads:
    """Keeps sent files for a while.

    Parameters
    ----------
    folder : Path
        Made when the first one comes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def keep(self, name: str, content: AsyncIterator[bytes]) -> tuple[str, Path]:
        """Write a file as it arrives; return the word under which it is found again, and where.

        Raises
        ------
        ApiProblem
            422, when it cannot have that name; 413, when it is too large.
        """
        checked = checked_name(name)
        self._forget_old()
        token = secrets.token_urlsafe(24)
        place = self._folder / token
        place.mkdir(parents=True, mode=0o700)
        size = 0
        with (place / checked).open("wb") as file:
            async for part in content:
                size += len(part)
                if size > MOST_BYTES:
                    shutil.rmtree(place)
                    raise ApiProblem(
                        413,
                        f"a file of more than {MOST_BYTES // 2**20} MiB: copy it into the stream's "
                        "landing folder, or use anomaly import",
                    )
                file.write(part)
        return token, place / checked

    def find(self, token: str) -> Path:
        """Return a file that was kept.

        Raises
        ------
        ApiProblem
            404, when there is none of that word, or no longer.
        """
        found = list((self._folder / token).glob("*")) if _TOKEN.fullmatch(token) else []
        if not found:
            raise ApiProblem(404, "this file is no longer here; choose it again")
        return found[0]

    def forget(self, token: str) -> None:
        """Remove a file that was kept."""
        if _TOKEN.fullmatch(token):
            shutil.rmtree(self._folder / token, ignore_errors=True)

    def _forget_old(self) -> None:
        if not self._folder.is_dir():
            return
        for place in self._folder.iterdir():
            if time.time() - place.stat().st_mtime > _KEPT_S:
                shutil.rmtree(place, ignore_errors=True)


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

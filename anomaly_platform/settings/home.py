"""Finds the home that a command means, as git finds its repository: here, or in a folder above.

Belongs here: the search and what it goes by. Does not belong here: making a home.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pydantic_settings import BaseSettings, DotEnvSettingsSource

HOME_NAME: Final = ".anomaly"
HOME_MARK: Final = "anomaly-home"
"""A file of this name says of its folder that it is a home, whatever the folder's own name."""

SERVER_USER: Final = "anomaly-postgres"
"""The system user that the embedded PostgreSQL runs as, and that a home of root's belongs to."""

_ENV_FILE: Final = ".env"
HOME_VARIABLE: Final = "ANOMALY_HOME"


def found_home() -> Path:
    """Return the home of the current folder or of the nearest folder above that has one.

    Where there is none, it is the one that a command would make in the current folder.
    """
    folder = project_folder()
    return folder if (folder / HOME_MARK).is_file() else folder / HOME_NAME


def project_folder() -> Path:
    """Return the folder that the home and ``.env`` lie in; the home itself for one inside it."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        sign = next(_signs_of_a_home(folder), None)
        # What somebody else has put into a folder above, such as /tmp, says nothing here.
        if sign is not None and (folder == here or _is_mine(sign)):
            return folder
    return here


def _signs_of_a_home(folder: Path) -> Iterator[Path]:
    if (folder / HOME_MARK).is_file():
        yield folder / HOME_MARK
    if (folder / HOME_NAME).is_dir():
        yield folder / HOME_NAME
    if _names_home(folder / _ENV_FILE):
        yield folder / _ENV_FILE


def _is_mine(path: Path) -> bool:
    if not hasattr(os, "geteuid"):
        return True
    owner, me = path.stat().st_uid, os.geteuid()
    return owner == me or (me == 0 and _name_of(owner) == SERVER_USER)


def _name_of(user: int) -> str:
    import pwd  # there is none on Windows

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return ""


def _names_home(file: Path) -> bool:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return any(line.strip().startswith(f"{HOME_VARIABLE}=") for line in lines)


class AnchoredDotEnv(DotEnvSettingsSource):
    """A file ``.env`` whose relative places lie beside it, from wherever it is read."""

    def __init__(
        self, settings_cls: type[BaseSettings], folder: Path, places: frozenset[str]
    ) -> None:
        self._folder = folder
        self._places = places
        super().__init__(settings_cls, env_file=folder / _ENV_FILE)

    def __call__(self) -> dict[str, Any]:
        """Return the file's values by field."""
        return {
            name: self._anchored(value) if name in self._places else value
            for name, value in super().__call__().items()
        }

    def _anchored(self, place: str) -> str:
        if "://" in place:
            return place
        return str(self._folder / Path(place).expanduser())

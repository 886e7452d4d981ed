"""Which home a command uses: said aloud, and made only where data come in or things start."""

import os
import sys
from pathlib import Path

from rich.console import Console

from anomaly_platform.settings import Settings, SettingsError, unknown_settings
from anomaly_platform.settings.home import HOME_MARK, HOME_NAME, HOME_VARIABLE

#: These use no home, or say themselves which.
_WITHOUT = frozenset({"backtest", "simulate", "init", "home", "doctor"})
#: These ask or change what is there: where there is no home, something is mistaken. A first key may
#: be made before anything starts.
_NEEDING = frozenset(
    {
        *("alerts", "backup", "check", "db url", "down", "keys list", "keys revoke", "labels"),
        *("models", "prune", "sql", "thresholds", "train", "tune"),
    }
)
#: These only look, also where there is no home.
_READING = frozenset({"streams", "layouts"})
_MAKERS = "`anomaly init` makes one, as do demo, up, import and run"


def settle_home(command: str, settings: Settings, errors: Console) -> None:
    """Say which home a command uses, unless its environment does, and which settings are none.

    Raises
    ------
    SettingsError
        When the home is not there, and the command needs what is in one.
    """
    if "--help" in sys.argv:
        return
    for name, nearest in unknown_settings().items():
        meant = f"; did you mean {nearest}?" if nearest else ""
        errors.print(f"{name} is no setting{meant}", style="yellow", highlight=False)
    if command in _WITHOUT:
        return
    needs_home = bool({command, _with_its_own(command)} & _NEEDING)
    if settings.is_embedded and needs_home and not settings.home.is_dir():
        raise SettingsError(
            f"there is no home {settings.home}: {_MAKERS}; ANOMALY_HOME names one that is elsewhere"
        )
    if HOME_VARIABLE in os.environ:
        return
    reads = command in _READING or "--dry-run" in sys.argv
    state = "" if settings.home.is_dir() else " (does not exist)" if reads else " (new)"
    errors.print(f"Home {settings.home}{state}", style="dim", highlight=False, soft_wrap=True)


def _with_its_own(command: str) -> str:
    """Return a group's name with the command of it that was given, such as ``keys list``."""
    given = [word for word in sys.argv[1:] if not word.startswith("-")]
    return " ".join(given[:2]) if given[:1] == [command] else command


def tell_home(settings: Settings, console: Console, errors: Console) -> None:
    """Print the home for people and scripts; beside it say so where there is none."""
    console.print(str(settings.home), markup=False, highlight=False, soft_wrap=True)
    if not settings.home.is_dir():
        errors.print(f"It does not exist yet: {_MAKERS}.", highlight=False)


def make_home(folder: Path, console: Console) -> None:
    """Make a home in `folder`, and of `folder` a place where Dagster's own tools work.

    Raises
    ------
    FileExistsError
        When the folder is a project of somebody's own, whose files would be replaced.
    """
    from anomaly_platform.resources.dagster_home import foreign_project_file, write_project

    foreign = foreign_project_file(folder)
    if foreign:
        raise FileExistsError(
            f"{foreign} belongs to a project of its own, which stays as it is; "
            "choose another folder"
        )
    home = folder.absolute() / HOME_NAME
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    (home / HOME_MARK).touch()
    for place in (home, folder):
        write_project(place)
    console.print(f"Home {home}", soft_wrap=True)
    console.print(
        f"`anomaly`, `dagster` and `dg` find it from {folder.absolute()}.", soft_wrap=True
    )

"""What a home consists of, and which of its files a back-up takes.

Belongs here: the choice of names. Does not belong here: copying (``taking`` and ``restoring``).
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from anomaly_platform.runtime.backup.files import Place
from anomaly_platform.runtime.backup.manifest import BackupError, Part
from anomaly_platform.settings import Settings
from anomaly_platform.storage.lake.landing import MAPPING_SUFFIX, is_unfinished

#: Directly in the home: what is made anew by itself, or means something only while it runs.
_PASSING: Final = ("postgres*", "cache", "logs", "run", "training", "*.lock", "*.pid", "RESTORE*")
_ARCHIVES: Final = (".archive", ".rejected")


def places(settings: Settings) -> dict[Part, Place]:
    """Return where the files of each part are; ``home`` is what none of the others has."""
    return {
        "landing": Place(settings.landing_url),
        "lake": Place(settings.lake_url),
        "mlflow": Place(str(settings.mlflow_artifacts)),
        "reference": Place(str(settings.reference_path)),
        "streams": Place(str(settings.streams_dir)),
        "home": Place(str(settings.home)),
    }


def files_of_home(found: Mapping[Part, Place], left_out: list[str]) -> Iterator[str]:
    """Yield what lies in the home and is neither passing nor part of something else."""
    home = found["home"].folder
    if home is None:
        raise AssertionError("a home is a local folder")
    others = {place.folder for part, place in found.items() if part != "home"}
    for folder, below, names in os.walk(home):
        here = Path(folder)
        top = here == home
        for name in list(below):
            another = (here / name / "postgres" / "PG_VERSION").exists()
            if another:
                left_out.append(f"{here / name}: another home, which has a back-up of its own")
            if another or here / name in others or (top and _is_passing(name)):
                below.remove(name)
        for name in names:
            path = here / name
            if path.is_file() and not (top and _is_passing(name)):
                yield str(path.relative_to(home))


def _is_passing(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _PASSING)


def files_of_lake(names: Iterable[str], referenced: set[str]) -> list[str]:
    """Return the files that rows refer to, by their own path or that of their folder.

    Raises
    ------
    BackupError
        When one of them is missing.
    """
    taken, met = [], set()
    for name in names:
        parts = name.split("/")
        above = {"/".join(parts[:depth]) for depth in range(1, len(parts) + 1)} & referenced
        if above:
            taken.append(name)
            met |= above
    missing = sorted(referenced - met)
    if missing:
        raise BackupError(
            f"{len(missing)} files of the lake are missing, {missing[0]} among them: mend the lake "
            "first, for days with anomaly run STREAM --days FIRST:LAST"
        )
    return taken


def waiting_files(names: Iterable[str]) -> list[str]:
    """Return the files in landing that wait; each may have a mapping beside it."""
    return [
        name
        for name in names
        if not name.endswith(MAPPING_SUFFIX)
        and not is_unfinished(name)
        and not any(part.startswith(".") for part in name.split("/"))
    ]


def archived_files(
    names: Iterable[str],
    known: Mapping[tuple[str, str], str],
    since: Mapping[tuple[str, str], str],
) -> Iterator[tuple[str, str]]:
    """Yield the files that were taken in or refused, each with the name that the back-up has it by.

    What came to be known after the instant of the tables waits in the back-up, under its own name:
    a file's name may be that of its device.

    Parameters
    ----------
    names : iterable of str
        Of everything in landing.
    known, since : mapping of (str, str) to str
        Names by stream and beginning of the digest, as the tables of the back-up have them and as
        they were later.
    """
    for name in names:
        zone, *rest = name.split("/")
        if zone not in _ARCHIVES or len(rest) != 2:
            continue
        stream, file = rest
        digest = file.partition("-")[0]
        if (stream, digest) in known:
            yield name, name
        else:
            own = since.get((stream, digest), file.partition("-")[2])
            own = own.removesuffix(MAPPING_SUFFIX)
            mapping = MAPPING_SUFFIX if name.endswith(MAPPING_SUFFIX) else ""
            yield name, f"{stream}/{digest}/{own}{mapping}"

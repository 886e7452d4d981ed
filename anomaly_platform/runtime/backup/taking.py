"""Takes a back-up of a home, which may be at work meanwhile.

The tables are those of one instant. Files of the lake never change, and none is removed while the
back-up reads them. Landing is read after the instant, so that nothing which the tables do not know
is missed: what was taken in since waits in the back-up.
"""

import contextlib
import fcntl
import io
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Final

from anomaly_platform.runtime.backup import contents
from anomaly_platform.runtime.backup.files import (
    Place,
    empty_folder,
    make_folder,
    sync_folder,
    sync_folders,
)
from anomaly_platform.runtime.backup.manifest import (
    MANIFEST,
    BackupError,
    Manifest,
    Part,
    StoredFile,
)
from anomaly_platform.settings import Settings
from anomaly_platform.settings.scoring import ScoringSettings
from anomaly_platform.storage.lake import landing
from anomaly_platform.storage.own_files import private
from anomaly_platform.storage.postgres import dumps
from anomaly_platform.storage.postgres.database import (
    SCHEMA_VERSION,
    connect,
    database_urls,
    plain_urls,
    schema_version,
)
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables.ledger import sources
from anomaly_platform.storage.tables.partitions import keep_files, referenced_paths

_LOCK: Final = ".lock"
_PROGRAMS: Final = ("anomaly_platform", "dagster", "mlflow")
_DIGEST_LENGTH: Final = 64

Say = Callable[[str], None]


def back_up(settings: Settings, target: Path, say: Say) -> Manifest:
    """Take a back-up of everything that a home holds.

    Parameters
    ----------
    settings : Settings
        Whose home and databases are meant. The server has to run; the platform may.
    target : Path
        A new folder. It is written under another name and gets its own once it is whole.
    say : callable
        Takes a line about each step.

    Raises
    ------
    BackupError
        When the folder is taken, lies in the home, or the home lacks something.
    DatabaseError
        When a database cannot be read.
    """
    target = target.expanduser().absolute()
    _refuse_target(target, settings)
    found = schema_version(database_urls(settings))
    if found is None or found > SCHEMA_VERSION:
        raise BackupError(
            f"the tables are at version {found or 'none'}, this program knows {SCHEMA_VERSION}: "
            + ("install the newer program" if found else "there is nothing to back up yet")
        )
    with _unfinished_folder(target) as folder:
        manifest = _fill(settings, _Copies(folder), found, say)
        text = manifest.model_dump_json(indent=1).encode()
        Place(str(folder)).write(MANIFEST, io.BytesIO(text))
        (folder / _LOCK).unlink()
        sync_folders(folder)
        # An empty folder of that name is replaced, any other one refuses.
        folder.rename(target)
        sync_folder(target.parent)
    return manifest


def _refuse_target(target: Path, settings: Settings) -> None:
    if target.is_dir() and not any(target.iterdir()):
        pass
    elif target.exists():
        raise BackupError(f"{target} is there already: name a new folder")
    for place in contents.places(settings).values():
        if place.folder is not None and target.is_relative_to(place.folder.absolute()):
            raise BackupError(f"{target} lies in what is backed up, {place.folder}: name another")


@contextmanager
def _unfinished_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside the target, which goes unless it is renamed."""
    folder = target.with_name(f"{target.name}.partial")
    lock_file = folder / _LOCK
    # The lock goes before the folder gets its name: one killed in between is known by its manifest.
    known = lock_file.exists() or (folder / MANIFEST).exists()
    if folder.exists() and any(folder.iterdir()) and not known:
        raise BackupError(f"{folder} is no back-up that was broken off: remove it, or name another")
    make_folder(folder)
    with open(lock_file, "ab", opener=private) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"another back-up to {target} is under way") from None
        try:
            empty_folder(folder, lock_file)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class _Copies:
    """Files that were copied into the back-up, by path, and those that were left out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, StoredFile] = {}
        self.left_out: list[str] = []
        self._place = Place(str(folder))

    def take(self, part: Part, place: Place, source: str, name: str | None = None) -> StoredFile:
        """Copy one file, under another name if one is given."""
        name = name or source
        modified = place.modified(source)
        with place.open(source) as handle:
            size, digest = self._place.write(f"{part}/{name}", handle)
        return self._enter(part, name, size, digest, modified)

    def made(self, part: Part, name: str) -> None:
        """Enter a file that somebody else has written into the back-up."""
        found = self._place.digest(f"{part}/{name}")
        if found is None:
            raise BackupError(f"{part}/{name} was not written")
        self._enter(part, name, *found)

    def drop(self, part: Part, name: str, reason: str) -> None:
        """Leave a file out that was copied."""
        self.left_out.append(reason)
        if self.files.pop(f"{part}/{name}", None) is not None:
            (self.folder / part / name).unlink()

    def _enter(
        self, part: Part, name: str, size: int, digest: str, modified: float | None = None
    ) -> StoredFile:
        file = StoredFile(part=part, name=name, size=size, digest=digest, modified=modified)
        self.files[file.path] = file
        return file


def _fill(settings: Settings, copies: _Copies, schema: str, say: Say) -> Manifest:
    found = contents.places(settings)
    urls = plain_urls(settings)
    with connect(urls["application"], autocommit=True) as keeper:
        keep_files(keeper)
        with dumps.snapshots(dumps.existing(keeper, urls)) as snapshots:
            tables = snapshots["application"].connection
            ((made_at,),) = tables.execute("SELECT now()").fetchall()
            say("Landing")
            _take_landing(copies, found["landing"], tables, keeper)
            for name, snapshot in snapshots.items():
                say(f"Database {name}")
                make_folder(copies.folder / "databases")
                dumps.dump(snapshot, copies.folder / "databases" / f"{name}.dump")
                copies.made("databases", f"{name}.dump")
            say("Lake")
            _take_lake(copies, found["lake"], referenced_paths(tables))
            postgres = dumps.server_major(tables)
    say("Files of the home")
    parts: tuple[Part, ...] = ("mlflow", "reference", "streams")
    for part in parts:
        for name in found[part].states():
            copies.take(part, found[part], name)
    for name in contents.files_of_home(found, copies.left_out):
        copies.take("home", found["home"], name)
    return Manifest(
        made_at=made_at,
        versions={name: version(name) for name in _PROGRAMS},
        schema_version=schema,
        postgres=postgres,
        mlflow_artifacts=str(settings.mlflow_artifacts),
        settings=settings.model_dump(mode="json", include=set(ScoringSettings.model_fields)),
        left_out=copies.left_out,
        files=list(copies.files.values()),
    )


def _take_landing(copies: _Copies, place: Place, tables: Connection, later: Connection) -> None:
    """Copy what waits, and what was taken in or refused.

    Parameters
    ----------
    tables, later : Connection
        That sees the instant of the back-up, and one that sees the present.
    """
    before = place.states()
    time.sleep(landing.SETTLE_SECONDS)
    now = place.states()
    waiting = contents.waiting_files(now)
    for name in waiting:
        mapping = name + landing.MAPPING_SUFFIX
        for one in (name, mapping) if mapping in now else (name,):
            # What has just been taken in is found in the archive, below.
            with contextlib.suppress(FileNotFoundError):
                copies.take("landing", place, one)
    after = place.states()
    for name in waiting:
        if before.get(name) != now[name] or now[name] != after.get(name, now[name]):
            copies.drop("landing", name, f"{place.url}/{name}: still being written")
    known, since = (sources(one, landing.DIGEST_LENGTH) for one in (tables, later))
    for source, name in contents.archived_files(after, known, since):
        copies.take("landing", place, source, name)


def _take_lake(copies: _Copies, place: Place, referenced: set[str]) -> None:
    for name in contents.files_of_lake(place.states(), referenced):
        file = copies.take("lake", place, name)
        named = PurePosixPath(name).stem
        if len(named) == _DIGEST_LENGTH and named != file.digest:
            raise BackupError(
                f"{name} in the lake is damaged: compute its day anew with "
                "anomaly run STREAM --days FIRST:LAST, and back up again"
            )

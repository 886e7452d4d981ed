"""Puts a back-up into a home that is empty or not there yet.

Everything is checked before anything is written. From then on the home is marked as unfinished
until its last byte is in place.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from anomaly_platform.runtime.backup.contents import places
from anomaly_platform.runtime.backup.files import Place, empty_folder, sync_folders
from anomaly_platform.runtime.backup.manifest import (
    BackupError,
    Manifest,
    Part,
    StoredFile,
    read_manifest,
)
from anomaly_platform.runtime.backup.unfinished import MARK, marked, noted_of
from anomaly_platform.settings import Settings
from anomaly_platform.storage.postgres import dumps
from anomaly_platform.storage.postgres.database import (
    EMBEDDED,
    SCHEMA_VERSION,
    DatabaseError,
    connect,
    database_urls,
    ensure_databases,
    ensure_mlflow_database,
    plain_urls,
    redact,
    upgrade,
)
from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres

#: Those of MLflow's columns that name a file by its full path.
_MLFLOW_PATHS: Final = ("artifact_location", "artifact_uri", "source", "storage_location")
_MOST_NAMED: Final = 3

Say = Callable[[str], None]


def restore(settings: Settings, source: Path, say: Say, settle: Callable[[], None]) -> Manifest:
    """Put a back-up into the home of the settings.

    Parameters
    ----------
    settings : Settings
        Whose home is empty or not there, as are the databases of a server of your own.
    source : Path
        The folder of the back-up.
    say : callable
        Takes a line about each step.
    settle : callable
        What is still to be done in the home before it counts as whole; its databases run.

    Raises
    ------
    BackupError
        When the back-up is not whole, is newer than this program, or there is something in its way.
    DatabaseError
        When a database cannot be filled.
    """
    source = source.expanduser().absolute()
    manifest = read_manifest(source)
    if manifest.schema_version > SCHEMA_VERSION:
        raise BackupError(
            f"{source} has tables of version {manifest.schema_version}, this program knows "
            f"{SCHEMA_VERSION} at most: install the newer program"
        )
    say("Checking the back-up")
    _refuse_damaged(source, manifest)
    note = {"source": str(source), "server": _server(settings)}
    again = noted_of(settings.home) == note
    _refuse_taken(settings, manifest, again=again)
    with marked(settings.home, note) as mark:
        _clear(settings, mark)
        _copy_files(settings, source, manifest, say)
        try:
            _fill_databases(settings, source, manifest, say)
            say("Settling")
            settle()
        finally:
            server = EMBEDDED.pop(settings.home, None)
            if server is not None:
                server.stop()
        sync_folders(settings.home)
    return manifest


def changed_settings(manifest: Manifest, settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Return the settings behind scores that differ here: then and now, by name."""
    now = settings.model_dump(mode="json", include=set(manifest.settings))
    return {
        name: (then, now[name])
        for name, then in manifest.settings.items()
        if name in now and now[name] != then
    }


def _server(settings: Settings) -> str:
    return "embedded" if settings.is_embedded else redact(database_urls(settings).application)


def _refuse_damaged(source: Path, manifest: Manifest) -> None:
    place = Place(str(source))
    bad = [one.path for one in manifest.files if place.digest(one.path) != (one.size, one.digest)]
    if bad:
        raise BackupError(
            f"{source} is damaged: {len(bad)} of {len(manifest.files)} files are missing or not "
            f"what they were, {', '.join(bad[:_MOST_NAMED])} among them"
        )


def _refuse_taken(settings: Settings, manifest: Manifest, *, again: bool) -> None:
    """Refuse a home, folders and databases in which there is something else."""
    home = settings.home
    is_marked = (home / MARK).exists()
    if not is_marked and home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise BackupError(f"{home} is not empty: name another home with ANOMALY_HOME")
    for part, place in places(settings).items():
        inside = place.folder is not None and place.folder.is_relative_to(home)
        for one in () if inside else manifest.of(part):
            found = place.digest(one.name)
            if found is not None and found != (one.size, one.digest):
                raise BackupError(
                    f"{place.url} has another file {one.name} already: remove it, or name another "
                    "place in the settings"
                )
    if settings.is_embedded:
        return
    urls = plain_urls(settings)
    try:
        server = connect(urls["application"])
    except DatabaseError:
        # The database itself may be missing: it is made, or that is refused, below.
        ensure_databases(settings)
        server = connect(urls["application"])
    with server as connection:
        major = dumps.server_major(connection)
        if major < manifest.postgres:
            raise BackupError(
                f"the back-up comes from PostgreSQL {manifest.postgres}, and this server is "
                f"{major}: it has to be as new"
            )
        there = dumps.existing(connection, urls)
    for name, url in there.items():
        # A restore that was broken off has found them empty.
        if not again and not dumps.is_empty(url):
            raise BackupError(
                f"the database of {name}, {redact(url)}, is not empty: name another one"
            )


def _clear(settings: Settings, mark: Path) -> None:
    """Remove what an earlier restore left, whose server may still run."""
    if settings.is_embedded:
        EmbeddedPostgres(settings.home).stop()
    empty_folder(settings.home, mark)


def _copy_files(settings: Settings, source: Path, manifest: Manifest, say: Say) -> None:
    backup = Place(str(source))
    for part, place in places(settings).items():
        files = manifest.of(part)
        say(f"{len(files):,} files of {part}")
        for one in files:
            _copy_file(backup, place, one)


def _copy_file(backup: Place, place: Place, file: StoredFile) -> None:
    with backup.open(file.path) as handle:
        copied = place.write(file.name, handle, file.modified)
    if copied != (file.size, file.digest):
        raise BackupError(f"{file.path} of the back-up has changed while it was read")


def _fill_databases(settings: Settings, source: Path, manifest: Manifest, say: Say) -> None:
    part: Part = "databases"
    dumped = {one.name: one for one in manifest.of(part)}
    ensure_databases(settings)
    urls = plain_urls(settings)
    # The platform's own tables come last: without them nothing works with the others.
    for name in sorted(urls, key=lambda one: one == "application"):
        file = dumped.get(f"{name}.dump")
        if file is None:
            continue
        say(f"Database {name}")
        if name == "mlflow":
            ensure_mlflow_database(settings)
        dumps.load(source / file.path, urls[name])
        if name == "mlflow":
            _move_artifacts(urls[name], Path(manifest.mlflow_artifacts), settings.mlflow_artifacts)
    upgrade(settings)


def _move_artifacts(url: str, old: Path, new: Path) -> None:
    """Have MLflow's database name files by where they are now."""
    for then, now in ((old.as_uri(), new.as_uri()), (str(old), str(new))):
        dumps.move_texts(url, _MLFLOW_PATHS, f"{then}/", f"{now}/")

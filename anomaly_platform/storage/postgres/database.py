"""URLs of the databases, their creation, and the version of their schema.

Belongs here: URLs, the making of databases, migrations, and errors that keep passwords to
themselves. Does not belong here: what is in the tables (see ``warehouse``), and the life of the
embedded server (see ``embedded``).
"""

from __future__ import annotations

import atexit
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import psycopg
from psycopg import errors, sql

from anomaly_platform.settings import Settings
from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres
from anomaly_platform.storage.postgres.reader import (
    READER,
    ReaderMissingError,
    ensure_reader,
    session_options,
)

if TYPE_CHECKING:
    from alembic.config import Config

APPLICATION_DATABASE: Final = "anomaly"
"""Name of the platform's own database on the embedded server."""

SCHEMA_VERSION: Final = "0019"
"""Revision that this program works with; a test holds it equal to the newest migration."""

_CONNECT_TIMEOUT_S: Final = 10
_LOCK_POLL_S: Final = 0.1
_MIGRATION_LOCK: Final = 0x616E6F6D  # any number that nobody else locks

_log = logging.getLogger(__name__)


class DatabaseError(RuntimeError):
    """The database cannot be used; the message says why and what to do, without any password."""


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """How to reach each database. Printing one shows no URL.

    Attributes
    ----------
    application : str
        For psycopg and libpq: ``postgresql://…``.
    dagster : str
        For Dagster: ``postgresql+psycopg2://…``; with a bare scheme SQLAlchemy 2.1 would choose
        psycopg 3, with which Dagster's NOTIFY fails.
    mlflow : str
        For MLflow, likewise; the database may not be there before `ensure_mlflow_database`.
    """

    application: str = field(repr=False)
    dagster: str = field(repr=False)
    mlflow: str = field(repr=False)


def database_urls(settings: Settings) -> DatabaseUrls:
    """Return how to reach the databases, without opening or starting anything."""
    if settings.database_url is None:
        application = EmbeddedPostgres(settings.home).url(APPLICATION_DATABASE)
    else:
        application = _with_scheme(settings.database_url.get_secret_value(), "postgresql")
    dagster = _with_database(application, settings.dagster_database)
    mlflow = _with_database(application, settings.mlflow_database)
    return DatabaseUrls(
        application,
        _with_scheme(dagster, "postgresql+psycopg2"),
        _with_scheme(mlflow, "postgresql+psycopg2"),
    )


def plain_urls(settings: Settings) -> dict[str, str]:
    """Return the URL of each database as PostgreSQL's own programs take it, by what is in it.

    In the order in which a copy has to see them: what Dagster says is done must be among the
    tables, and what the tables say MLflow knows must be there.
    """
    urls = database_urls(settings)
    return {
        "dagster": _with_scheme(urls.dagster, "postgresql"),
        "application": urls.application,
        "mlflow": _with_scheme(urls.mlflow, "postgresql"),
    }


def ensure_mlflow_database(settings: Settings) -> str:
    """Make MLflow's database where it is missing, and return its URL.

    Raises
    ------
    DatabaseError
        When the server cannot be reached or the database may not be made.
    """
    urls = database_urls(settings)
    _make_missing(urls.application, (settings.mlflow_database,))
    return urls.mlflow


def prepare_databases(settings: Settings) -> DatabaseUrls:
    """Make everything ready for use: server, databases and schema.

    An embedded server is started, its schema upgraded and its reading role looked after; on a
    server of your own the databases are made where that is permitted, and the schema is only
    checked.

    Parameters
    ----------
    settings : Settings
        Whose ``home`` and ``database_url`` decide which server it is.

    Returns
    -------
    DatabaseUrls
        Of databases that are there and up to date.

    Raises
    ------
    DatabaseError
        When the server cannot be reached, a database is missing and may not be made, or the
        schema of your own server is not this program's.
    """
    urls = ensure_databases(settings)
    if schema_version(urls) != SCHEMA_VERSION:
        if settings.is_embedded:
            _upgrade(urls)
        else:
            check_current(settings)
    if settings.is_embedded:
        _look_after_reader(settings, urls)
    return urls


def ensure_databases(settings: Settings) -> DatabaseUrls:
    """Start the embedded server if it is the one in use, and make databases that are missing."""
    urls = database_urls(settings)
    if settings.is_embedded:
        if settings.home not in EMBEDDED:
            EMBEDDED[settings.home] = EmbeddedPostgres(settings.home)
            # The last process that used it turns it off, whichever command that is.
            atexit.register(release_embedded, settings.home)
        EMBEDDED[settings.home].ensure_running()
    wanted = _database_of(urls.application), settings.dagster_database
    _make_missing(urls.application, wanted)
    return urls


EMBEDDED: Final[dict[Path, EmbeddedPostgres]] = {}
"""This process's embedded servers by home: holding one marks the server as in use."""


def release_embedded(home: Path) -> None:
    """Stop a home's embedded server unless another process uses it; none is fine."""
    server = EMBEDDED.pop(home, None)
    if server is not None:
        server.stop_if_unused()


def schema_version(urls: DatabaseUrls) -> str | None:
    """Return the revision of the schema, or None where there is none yet."""
    with connect(urls.application) as connection:
        found = connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
        if found is None or not found[0]:
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if row is None else str(row[0])


def check_current(settings: Settings) -> None:
    """Raise :class:`DatabaseError` unless the schema is the one that this program works with."""
    found = schema_version(database_urls(settings))
    if found == SCHEMA_VERSION:
        return
    if found is not None and found > SCHEMA_VERSION:
        raise DatabaseError(
            f"the database's schema is at version {found}, this program knows {SCHEMA_VERSION} "
            "at most: install the newer program"
        )
    raise DatabaseError(
        f"the database's schema is at version {found or 'none'}, this program needs "
        f"{SCHEMA_VERSION}: run anomaly db upgrade"
    )


def upgrade(settings: Settings) -> str:
    """Bring the schema to this program's version; any number of processes may ask at once.

    Returns
    -------
    str
        The version that it stands at now.
    """
    urls = ensure_databases(settings)
    _upgrade(urls)
    try:
        _look_after_reader(settings, urls)
    except ReaderMissingError as error:
        # Everything but questions works without it.
        _log.warning("%s", error)
    return SCHEMA_VERSION


def _look_after_reader(settings: Settings, urls: DatabaseUrls) -> None:
    """Bring the role that only reads to what it has to be, one process after the other."""
    password = settings.reader_password
    # On every server, and on one of your own they are the way in of others.
    own = ("postgres", "template1") if settings.is_embedded else ()
    with connect(urls.application) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
        ensure_reader(
            connection,
            (settings.dagster_database, settings.mlflow_database, *own),
            None if password is None else password.get_secret_value(),
        )


def connect_as_reader(settings: Settings) -> psycopg.Connection:
    """Open a connection as the role that can only read, after :func:`prepare_databases`.

    Raises
    ------
    DatabaseError
        When the server does not let the role in, with what to do about it.
    """
    url = prepare_databases(settings).application
    password = settings.reader_password
    secret = "" if password is None else password.get_secret_value()
    try:
        return psycopg.connect(
            url,
            user=READER,
            password=secret,
            connect_timeout=_CONNECT_TIMEOUT_S,
            options=f"-c timezone=UTC {session_options()}",
            application_name="anomaly_platform",
        )
    except psycopg.Error as error:
        said = _scrub(error, url)
        raise DatabaseError(
            f"the role {READER}, which only reads, cannot connect to {redact(url)}: "
            f"{said.replace(secret, '***') if secret else said}\nSet ANOMALY_READER_PASSWORD and "
            "run anomaly db upgrade, which makes the role or says what an administrator has to run"
        ) from None


def _upgrade(urls: DatabaseUrls) -> None:
    from alembic import command
    from sqlalchemy import create_engine, pool

    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(urls.application),
        poolclass=pool.NullPool,
    )
    config = migrations_config()
    with connect(urls.application, autocommit=True) as lock, engine.connect() as connection:
        # A statement that waits for the lock would be waited for by what builds an index.
        while lock.execute("SELECT pg_try_advisory_lock(%s)", (_MIGRATION_LOCK,)).fetchone() != (
            True,
        ):
            time.sleep(_LOCK_POLL_S)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    _log.info("database schema upgraded to %s", SCHEMA_VERSION)


def migrations_config() -> Config:
    """Return Alembic's configuration, found in a wheel as well as in a checkout."""
    from alembic.config import Config

    package = Path(__file__).parents[2]
    for folder in (package / "_migrations", package.parent / "migrations"):
        if (folder / "env.py").exists():
            config = Config()
            # Alembic reads percent signs as its own.
            config.set_main_option("script_location", str(folder).replace("%", "%%"))
            config.set_main_option("recursive_version_locations", "true")
            return config
    raise DatabaseError("this installation lacks its migrations; install the package again")


def run_statements(revision: str) -> None:
    """Run a migration's files, `migrations/sql/<revision>/*.sql`, in order of their names."""
    from alembic import context

    # The driver's own connection: a file holds several statements and bare percent signs.
    connection = context.get_bind().connection.driver_connection
    for file in sorted(Path(context.script.dir, "sql", revision).glob("*.sql")):
        connection.execute(file.read_text(encoding="utf-8"))  # type: ignore[union-attr]


def connect(url: str, *, autocommit: bool = False) -> psycopg.Connection:
    """Open a connection in UTC, or raise :class:`DatabaseError` without the password."""
    try:
        return psycopg.connect(
            url,
            autocommit=autocommit,
            connect_timeout=_CONNECT_TIMEOUT_S,
            options="-c timezone=UTC",
            application_name="anomaly_platform",
        )
    except psycopg.Error as error:
        raise DatabaseError(f"cannot connect to {redact(url)}: {_scrub(error, url)}") from None


def redact(url: str) -> str:
    """Return a URL for logs and errors: who and where, without password or parameters."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")
    user = place[0].partition(":")[0]
    return urlunsplit(
        (parts.scheme, f"{user}@{place[2]}" if user else place[2], parts.path, "", "")
    )


def _scrub(error: BaseException, url: str) -> str:
    """Return an error's text with every form of the URL's password taken out."""
    message = str(error).strip()
    password = urlsplit(url).password
    for secret in {url, *([password, unquote(password)] if password else [])}:
        message = message.replace(secret, "***")
    return message


def _with_scheme(url: str, scheme: str) -> str:
    return f"{scheme}://{url.partition('://')[2]}"


def _with_database(url: str, database: str) -> str:
    parts = urlsplit(url)
    changed = urlunsplit(parts._replace(path=f"/{quote(database, safe='')}"))
    # An empty host, which the embedded server's URL has, does not survive urlunsplit everywhere.
    return changed if "://" in changed else url


def _database_of(url: str) -> str:
    return unquote(urlsplit(url).path[1:])


def _any_database(url: str) -> psycopg.Connection:
    """Connect to the named database or, where it is not there yet, to one that every server has."""
    for name in (_database_of(url), "postgres"):
        try:
            return psycopg.connect(
                _with_database(url, name), autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S
            )
        except psycopg.OperationalError as error:
            reason = error
            if f'database "{name}" does not exist' not in str(error):
                break
    raise DatabaseError(f"cannot connect to {redact(url)}: {_scrub(reason, url)}") from None


def _make_missing(url: str, wanted: tuple[str, ...]) -> None:
    """Make those of the databases that are not on the server."""
    with _any_database(url) as connection:
        rows = connection.execute(
            "SELECT datname FROM pg_database WHERE datname = ANY(%s)", (list(wanted),)
        ).fetchall()
        names = [name for name in dict.fromkeys(wanted) if (name,) not in rows]
        for name in names:
            statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
            try:
                connection.execute(statement)
            except (errors.DuplicateDatabase, errors.UniqueViolation):
                # Another process made it in the same moment.
                continue
            except errors.InsufficientPrivilege:
                statements = "; ".join(f'CREATE DATABASE "{missing}"' for missing in names)
                raise DatabaseError(
                    f"the user of {redact(url)} may not create databases; "
                    f"have an administrator run for that user: {statements}"
                ) from None
            _log.info("database %s created", name)

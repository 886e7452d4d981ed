"""Whoever may only ask cannot change, read secrets, reach files, signal, wait or outlast."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import errors
from rich.console import Console

from anomaly_platform.cli.sql import ask
from anomaly_platform.settings import Settings, get_settings
from anomaly_platform.storage.postgres.database import (
    DatabaseError,
    connect_as_reader,
    prepare_databases,
    upgrade,
)
from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres
from anomaly_platform.storage.postgres.reader import READER, SESSION, end_overlong, ensure_reader

pytestmark = pytest.mark.integration

#: Tricks that PostgreSQL allows an ordinary role, or that worked once. Each as it would be typed.
TRICKS = {
    "a table of secrets": "SELECT * FROM api_keys",
    "a column of it": "SELECT digest FROM api_keys",
    "answers to whoever had a key": "SELECT * FROM idempotency_keys",
    "passwords of the server": "SELECT rolpassword FROM pg_authid",
    "a statement in a text": "SELECT * FROM ts_stat('SELECT to_tsvector(name) FROM api_keys')",
    "another statement in a text": "SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, null')",
    "a statement as xml": "SELECT query_to_xml('SELECT * FROM api_keys', true, false, '')",
    "a table as xml": "SELECT table_to_xml('champions', true, false, '')",
    "a database as xml": "SELECT database_to_xml(true, false, '')",
    "another role by function": "SELECT set_config('role', 'postgres', false)",
    "a setting by function": "SELECT set_config('statement_timeout', '0', false)",
    "a setting by view": "UPDATE pg_settings SET setting = '0' WHERE name = 'statement_timeout'",
    "another role": "SET ROLE postgres",
    "another role's rights": "SET ROLE pg_read_all_data",
    "another session": "SET SESSION AUTHORIZATION postgres",
    "rights of a superuser": f"ALTER ROLE {READER} SUPERUSER",
    "a membership": f"GRANT pg_read_all_data TO {READER}",
    "a setting of superusers": "SET temp_file_limit = -1",
    "a file": "SELECT pg_read_file('/etc/hostname')",
    "a file's bytes": "SELECT pg_read_binary_file('/etc/hostname')",
    "a folder": "SELECT * FROM pg_ls_dir('/')",
    "the log": "SELECT * FROM pg_ls_logdir()",
    "a copy of a file": "COPY scored_days FROM '/etc/hostname'",
    "a copy into a file": "COPY (SELECT 1) TO '/tmp/anomaly-stolen'",
    "a program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "a program's output": "COPY scored_days FROM PROGRAM 'id'",
    "a large object": "SELECT lo_creat(-1)",
    "a large object of a text": "SELECT lo_from_bytea(0, 'x')",
    "a file as large object": "SELECT lo_import('/etc/hostname')",
    "a large object as file": "SELECT lo_export(1, '/tmp/anomaly-stolen')",
    "another server": "SELECT * FROM dblink('dbname=anomaly', 'SELECT 1') AS t(n int)",
    "an extension": "CREATE EXTENSION dblink",
    "a foreign server": "CREATE SERVER s FOREIGN DATA WRAPPER file_fdw",
    "an end to sessions": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
    "an end to statements": "SELECT pg_cancel_backend(pid) FROM pg_stat_activity",
    "a new configuration": "SELECT pg_reload_conf()",
    "another log": "SELECT pg_rotate_logfile()",
    "a configuration": "ALTER SYSTEM SET log_min_messages = 'panic'",
    "a lock that others wait for": "SELECT pg_advisory_lock(1634627437)",
    "the same until commit": "SELECT pg_advisory_xact_lock(1634627437)",
    "the same if it is free": "SELECT pg_try_advisory_lock_shared(1)",
    "a lock of a table": "BEGIN; LOCK TABLE champions IN ACCESS EXCLUSIVE MODE",
    "rows that others wait for": "SELECT * FROM champions FOR UPDATE",
    "a message to the platform": "SELECT pg_notify('champions', 'x')",
    "a snapshot that stays": "SELECT pg_export_snapshot()",
    "a temporary table": "CREATE TEMPORARY TABLE t (n int)",
    "a temporary table of a query": "SELECT 1 AS n INTO TEMPORARY t",
    "a table": "CREATE TABLE t (n int)",
    "a view": "CREATE VIEW v AS SELECT 1",
    "a function": "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "a schema": "CREATE SCHEMA s",
    "a program of its own": "DO $$ BEGIN LOOP END LOOP; END $$",
    "a function of the platform": "SELECT ensure_stream_tables('evil')",
    "a message by function": "SELECT tell_held_back_alerts()",
    "a row": "INSERT INTO feedback_labels DEFAULT VALUES",
    "a change": "UPDATE champions SET reason = 'mine'",
    "an end of rows": "DELETE FROM champions",
    "an end of all rows": "TRUNCATE champions",
    "an end of a table": "DROP TABLE champions",
    "a number of a sequence": "SELECT setval(c.oid, 1) FROM pg_class c WHERE relkind = 'S'",
    "rows by a view": "DELETE FROM anomaly_scores",
    "a comment": "COMMENT ON TABLE champions IS 'mine'",
    "statistics": "SELECT pg_stat_reset()",
}


@pytest.fixture(scope="module")
def settings(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of one database for all: nothing of what is tried here may leave a trace in it."""
    with closing(psycopg.connect(module_database_url)) as owner:
        # A copy of a database has its privileges, but not those on the database itself.
        ensure_reader(owner, ())
        owner.commit()
    return get_settings(home=tmp_path_factory.mktemp("home"), database_url=module_database_url)


@pytest.fixture
def database_url(module_database_url: str) -> str:
    return module_database_url


@pytest.fixture
def reader(settings: Settings) -> Iterator[psycopg.Connection]:
    """The role without any other guard: what it can do is what its privileges let it."""
    with closing(connect_as_reader(settings)) as connection:
        connection.autocommit = True
        connection.execute("SET default_transaction_read_only = off")
        yield connection


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick.replace(" ", "-"))
def test_no_trick_works_by_privileges_alone(reader: psycopg.Connection, trick: str) -> None:
    expected = (
        errors.InsufficientPrivilege,
        errors.UndefinedFunction,  # of an extension that is not there
        errors.UndefinedObject,
        errors.FeatureNotSupported,  # a view without a rule for it
        errors.ObjectNotInPrerequisiteState,
    )
    with pytest.raises(expected):
        reader.execute(TRICKS[trick].encode()).fetchall()


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick.replace(" ", "-"))
def test_no_trick_works_in_a_question(settings: Settings, trick: str) -> None:
    for statement in (TRICKS[trick], f"EXPLAIN ANALYZE {TRICKS[trick]}"):
        with pytest.raises(DatabaseError):
            ask(settings, statement, Console(quiet=True))


def test_a_question_is_one_statement_in_a_read_only_transaction(settings: Settings) -> None:
    for statement in ("SELECT 1; SELECT 2", "COMMIT", "SET statement_timeout = 0", "BEGIN"):
        with pytest.raises(DatabaseError):
            ask(settings, statement, Console(quiet=True))
    with closing(connect_as_reader(settings)) as connection:
        for name, value in SESSION.items():
            assert connection.execute(f"SHOW {name}".encode()).fetchone() == (value,)


def test_no_column_with_a_secret_can_be_read(reader: psycopg.Connection) -> None:
    columns = reader.execute(
        "SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a "
        "ON a.attrelid = c.oid WHERE c.relnamespace = 'public'::regnamespace "
        "AND c.relkind IN ('r', 'p', 'v', 'm') "
        "AND has_column_privilege(c.oid, a.attnum, 'SELECT') "
        "AND a.attname ~ '(secret|password|token|digest|hash|key)'"
    ).fetchall()
    # Digests of files, which are their names in the lake, and names of events that an EMS has.
    assert {name for (name,) in columns} == {
        "bundles.digest", "ems_told.key", "ingest_ledger.digest", "quarantine.digest",
        "raw_days.digest",
    }  # fmt: skip


def test_everything_else_can_be_read_also_what_comes_later(
    reader: psycopg.Connection, database_url: str
) -> None:
    with closing(psycopg.connect(database_url, autocommit=True)) as owner:
        owner.execute("SELECT ensure_stream_tables('iiot', 'device_id')")
        owner.execute("SELECT ensure_scan_stream_tables('parcels')")
    names = reader.execute(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE relnamespace = 'public'::regnamespace "
        "AND relkind IN ('r', 'p', 'v') ORDER BY 1"
    ).fetchall()
    assert ("bi_iiot_scores",) in names
    for (name,) in names:
        if name not in ("api_keys", "idempotency_keys"):
            reader.execute(f"SELECT * FROM {name} LIMIT 1".encode())


def test_the_limits_hold(reader: psycopg.Connection) -> None:
    reader.execute("SET statement_timeout = '200ms'")
    with pytest.raises(errors.QueryCanceled):
        reader.execute("SELECT count(*) FROM generate_series(1, 1000000000)")
    reader.execute("SET statement_timeout = '60s'; SET work_mem = '64kB'")
    with pytest.raises(errors.ConfigurationLimitExceeded, match="temporary file size"):
        reader.execute(
            "SELECT repeat(n::text, 60) FROM generate_series(1, 20000000) n ORDER BY 1 OFFSET 9"
        )


def test_a_session_that_lifts_its_limit_is_ended(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "anomaly_platform.storage.postgres.reader.SESSION", SESSION | {"statement_timeout": "50ms"}
    )
    with (
        closing(psycopg.connect(database_url, autocommit=True)) as owner,
        closing(connect_as_reader(settings)) as asking,
        closing(connect_as_reader(settings)) as resting,
    ):
        resting.autocommit = asking.autocommit = True
        resting.execute("SELECT 1")
        asking.execute("SET statement_timeout = 0")
        asking.pgconn.send_query(b"SELECT pg_sleep(60)")
        deadline = time.monotonic() + 30
        while end_overlong(owner) == 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(psycopg.OperationalError):
            asking.wait(_result(asking))
        assert resting.execute("SELECT 1").fetchone() == (1,)


def _result(connection: psycopg.Connection) -> Iterator[object]:
    from psycopg.generators import fetch_many

    results = yield from fetch_many(connection.pgconn)
    raise psycopg.OperationalError(results[-1].get_error_message() if results else "closed")


def test_what_the_role_changes_of_itself_is_put_back(settings: Settings, database_url: str) -> None:
    with closing(connect_as_reader(settings)) as reader:
        reader.autocommit = True
        reader.execute("SET default_transaction_read_only = off")
        reader.execute(f"ALTER ROLE {READER} SET statement_timeout = 0".encode())
    # Not before that, either: a question brings its own settings.
    with closing(connect_as_reader(settings)) as reader:
        assert reader.execute("SHOW statement_timeout").fetchone() == ("2min",)
    with closing(psycopg.connect(database_url)) as owner:
        ensure_reader(owner, ())
        owner.commit()
    with closing(psycopg.connect(database_url.replace("postgres@", f"{READER}@"))) as plain:
        assert plain.execute("SHOW statement_timeout").fetchone() == ("2min",)


@pytest.fixture
def owner(postgres_server: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """URL of a new database whose owner is no superuser, on a server that has the role."""
    assert migrated_template, "making it made the role"
    name = f"own_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN CREATEDB".encode())
        connection.execute(f"CREATE DATABASE {name} OWNER {name}".encode())
        yield postgres_server.url(name).replace("postgres@", f"{name}@")
        for database in (name, f"{name}_dagster"):
            connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)".encode())
        connection.execute(f"DROP ROLE {name}".encode())


def test_an_owner_that_is_no_superuser_gives_what_it_can(owner: str, tmp_path: Path) -> None:
    name = owner.partition("//")[2].partition("@")[0]
    settings = get_settings(home=tmp_path, database_url=owner, dagster_database=f"{name}_dagster")
    upgrade(settings)
    ask(settings, "SELECT * FROM champions", Console(quiet=True))
    with closing(connect_as_reader(settings)) as reader:
        reader.autocommit = True
        reader.execute("SET default_transaction_read_only = off")
        for trick in ("a table of secrets", "a change", "a temporary table", "a function",
                      "another role's rights", "a file", "a program"):  # fmt: skip
            with pytest.raises(errors.InsufficientPrivilege):
                reader.execute(TRICKS[trick].encode())


def test_a_role_that_cannot_be_made_is_told(
    owner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The role is one for the whole server, so that another name stands for one without it.
    absent = f"absent_{uuid.uuid4().hex[:8]}"
    for module in ("reader", "database"):
        monkeypatch.setattr(f"anomaly_platform.storage.postgres.{module}.READER", absent)
    name = owner.partition("//")[2].partition("@")[0]
    settings = get_settings(home=tmp_path, database_url=owner, dagster_database=f"{name}_dagster")
    upgrade(settings)
    assert f"CREATE ROLE {absent} LOGIN PASSWORD" in caplog.text
    with pytest.raises(DatabaseError, match="anomaly db upgrade"):
        ask(settings, "SELECT 1", Console(quiet=True))


def test_the_password_is_kept_as_a_verifier_and_never_shown(
    postgres_server: EmbeddedPostgres, database_url: str, tmp_path: Path
) -> None:
    secret = "hunter2/%?"
    settings = get_settings(
        home=tmp_path, database_url=database_url, reader_password=secret,
    )  # fmt: skip
    upgrade(settings)
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        kept = connection.execute(
            "SELECT rolpassword FROM pg_authid WHERE rolname = %s", (READER,)
        ).fetchone()
        connection.execute(f"ALTER ROLE {READER} PASSWORD NULL".encode())
    assert kept is not None
    assert str(kept[0]).startswith("SCRAM-SHA-256$")
    assert secret not in repr(settings)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the server's user may be let through, which pytest's own ones are not."""
    with tempfile.TemporaryDirectory(prefix="anomaly-reader-") as name:
        yield Path(name)


def test_the_server_of_a_home_has_the_role(folder: Path) -> None:
    home = folder / "home"
    script = (
        "import sys; from anomaly_platform.settings import get_settings; "
        "from anomaly_platform.storage.postgres.database import *; "
        "from pathlib import Path; s = get_settings(home=Path(sys.argv[1])); "
        "prepare_databases(s); c = connect_as_reader(s); "
        "print(c.execute('SELECT session_user, count(*) FROM champions').fetchone()); "
        "import psycopg\n"
        "for name in ('dagster', 'postgres', 'template1'):\n"
        "    try: psycopg.connect(database_urls(s).application.replace('postgres@', "
        f"'{READER}@').replace('/anomaly?', '/' + name + '?')); print('open', name)\n"
        "    except psycopg.OperationalError: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(home)], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == [f"('{READER}', 0)"], done.stderr


def test_a_second_time_changes_nothing(settings: Settings, database_url: str) -> None:
    prepare_databases(settings)
    with closing(psycopg.connect(database_url)) as connection:
        ensure_reader(connection, ())
        connection.commit()
        before = connection.execute("SELECT pg_current_xact_id_if_assigned()").fetchone()
        ensure_reader(connection, ())
        assert connection.execute("SELECT pg_current_xact_id_if_assigned()").fetchone() == before

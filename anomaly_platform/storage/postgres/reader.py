"""The role of PostgreSQL that people and dashboards ask questions as, and that can only read.

Belongs here: what the role may see, what it may not do, and the statements that bring a database
there. Privileges are what holds: a session's own settings, such as a read-only transaction, can be
changed by whoever may write SQL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg import errors, sql

READER: Final = "anomaly_reader"
"""Name of the role; one for all databases of a server."""

HIDDEN: Final = ("api_keys", "idempotency_keys")
"""Tables with digests of keys, and with answers to whoever had a key; the role reads the others."""

SESSION: Final[Mapping[str, str]] = {
    "default_transaction_read_only": "on",
    "statement_timeout": "2min",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "1min",
}
"""Settings with which every session of the role begins."""
_TEMP_FILES: Final = "temp_file_limit=1GB"
_MOST_SESSIONS: Final = 30
#: PostgreSQL lets everybody call these. They change settings, hold what others wait for, send
#: signals and messages, write large objects, or run a text as a statement of its own.
_REFUSED: Final = (
    r"^(set_config|pg_notify|pg_terminate_backend|pg_cancel_backend|pg_(try_)?advisory_.*"
    r"|ts_stat|ts_rewrite|(query|cursor|table|schema|database)_to_xml.*|lo_.*|lowrite|loread"
    r"|pg_export_snapshot)$"
)
_IS_SUPERUSER: Final = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
_ROLE: Final = """
SELECT rolcanlogin AND NOT (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication
                            OR rolbypassrls) AND rolconnlimit = %(most)s,
       coalesce(rolconfig, '{}') FROM pg_roles WHERE rolname = %(reader)s
"""
#: What the owner of the tables still has to do, a statement a row.
_DUE: Final = """
WITH here AS (SELECT oid, nspowner FROM pg_namespace WHERE nspname = current_schema()),
mine AS (
    SELECT c.oid::regclass AS name, c.relname = ANY(%(hidden)s) AS hidden FROM pg_class c, here
    WHERE c.relnamespace = here.oid AND c.relkind IN ('r', 'p', 'v', 'm')
      AND pg_get_userbyid(c.relowner) = current_user
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e')
), functions AS (
    SELECT p.oid, p.oid::regprocedure AS name, EXISTS (
        SELECT FROM pg_depend d WHERE d.classid = 'pg_rewrite'::regclass
        AND d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid) AS of_views
    FROM pg_proc p, here
    WHERE p.pronamespace = here.oid AND pg_get_userbyid(p.proowner) = current_user
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
                      AND d.objid = p.oid AND d.deptype = 'e')
)
SELECT format('GRANT SELECT ON %%s TO %%I', name, %(reader)s) FROM mine
WHERE NOT hidden AND NOT has_table_privilege(%(reader)s, name, 'SELECT')
UNION ALL
SELECT format('REVOKE ALL ON %%s FROM %%I, PUBLIC', name, %(reader)s) FROM mine
WHERE has_table_privilege(%(reader)s, name,
    'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER' || CASE WHEN hidden THEN ', SELECT'
    ELSE '' END)
UNION ALL
SELECT format('GRANT EXECUTE ON FUNCTION %%s TO %%I', name, %(reader)s) FROM functions
WHERE of_views AND NOT has_function_privilege(%(reader)s, oid, 'EXECUTE')
UNION ALL
SELECT format('REVOKE EXECUTE ON FUNCTION %%s FROM PUBLIC', name) FROM functions
WHERE NOT of_views AND has_function_privilege(%(reader)s, oid, 'EXECUTE')
UNION ALL
SELECT format('ALTER DEFAULT PRIVILEGES IN SCHEMA %%I GRANT SELECT ON TABLES TO %%I',
              current_schema(), %(reader)s)
WHERE NOT EXISTS (
    SELECT FROM pg_default_acl a, here, aclexplode(a.defaclacl) e
    WHERE a.defaclnamespace = here.oid AND pg_get_userbyid(a.defaclrole) = current_user
      AND a.defaclobjtype = 'r' AND e.grantee = %(reader)s::regrole)
UNION ALL
SELECT format('GRANT USAGE ON SCHEMA %%I TO %%I', current_schema(), %(reader)s)
WHERE NOT has_schema_privilege(%(reader)s, current_schema(), 'USAGE')
UNION ALL
SELECT format('REVOKE CREATE ON SCHEMA %%I FROM %%I, PUBLIC', current_schema(), %(reader)s)
FROM here WHERE has_schema_privilege(%(reader)s, here.oid, 'CREATE')
  AND pg_has_role(current_user, nspowner, 'USAGE')
UNION ALL
SELECT format('GRANT CONNECT ON DATABASE %%I TO %%I', datname, %(reader)s) FROM pg_database
WHERE datname = current_database() AND pg_has_role(current_user, datdba, 'USAGE')
  AND NOT has_database_privilege(%(reader)s, oid, 'CONNECT')
UNION ALL
SELECT format('REVOKE CREATE, TEMPORARY ON DATABASE %%I FROM %%I, PUBLIC', datname, %(reader)s)
FROM pg_database
WHERE datname = current_database() AND pg_has_role(current_user, datdba, 'USAGE')
  AND has_database_privilege(%(reader)s, oid, 'CREATE, TEMPORARY')
"""
#: What only a superuser can do, likewise.
_DUE_OF_SUPERUSERS: Final = """
SELECT format('REVOKE EXECUTE ON FUNCTION %%s FROM PUBLIC', oid::regprocedure) FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ %(refused)s
  AND has_function_privilege(%(reader)s, oid, 'EXECUTE')
UNION ALL
SELECT 'REVOKE UPDATE ON pg_catalog.pg_settings FROM PUBLIC'
WHERE has_table_privilege(%(reader)s, 'pg_catalog.pg_settings', 'UPDATE')
UNION ALL
SELECT format('REVOKE USAGE ON LANGUAGE %%I FROM PUBLIC', lanname) FROM pg_language
WHERE lanpltrusted AND has_language_privilege(%(reader)s, oid, 'USAGE') AND lanname <> 'sql'
UNION ALL
SELECT format('REVOKE %%I FROM %%I', roleid::regrole::text, %(reader)s) FROM pg_auth_members
WHERE member = %(reader)s::regrole
UNION ALL
SELECT format('ALTER ROLE %%I IN DATABASE %%I RESET ALL', %(reader)s, datname)
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
WHERE s.setrole = %(reader)s::regrole
UNION ALL
SELECT format('REVOKE CONNECT, TEMPORARY ON DATABASE %%I FROM PUBLIC', datname) FROM pg_database
WHERE datname = ANY(%(others)s) AND datname <> current_database()
  AND has_database_privilege(%(reader)s, oid, 'CONNECT, TEMPORARY')
"""
#: Longer than any statement may run, for a session that has lifted its own limit.
_OVERLONG: Final = """
SELECT pid FROM pg_stat_activity
WHERE usename = %(reader)s AND state <> 'idle' AND datname = current_database()
  AND least(query_start, xact_start) < now() - 2 * %(limit)s::interval
"""


class ReaderMissingError(RuntimeError):
    """There is no such role, and the platform's own may not make it; the text has the statement."""


def ensure_reader(
    connection: psycopg.Connection[Any], others: Sequence[str], password: str | None = None
) -> None:
    """Bring the role and what it may see in this database to what they have to be.

    What is so already is left as it is, so that a second time changes nothing.

    Parameters
    ----------
    connection : psycopg.Connection
        Of the owner of the tables, in a transaction.
    others : sequence of str
        Databases of the server that are none of the role's business.
    password : str, optional
        For a server that asks for one.

    Raises
    ------
    ReaderMissingError
        When the role is not there and cannot be made.
    """
    superuser = connection.execute(_IS_SUPERUSER).fetchone() == (True,)
    for statement in _role_due(connection, superuser=superuser, password=password):
        try:
            with connection.transaction():
                connection.execute(statement)
        except errors.InsufficientPrivilege:
            # One that an administrator has made keeps what the administrator gave it.
            if _role(connection) is None:
                raise ReaderMissingError(
                    f"`anomaly sql` and Grafana read as the role {READER}, which this user may "
                    f"not make; have an administrator run CREATE ROLE {READER} LOGIN PASSWORD "
                    "'...', then run anomaly db upgrade (docs/how-to/operations.md)"
                ) from None
    values = {
        "reader": READER,
        "hidden": list(HIDDEN),
        "refused": _REFUSED,
        "others": list(others),
    }
    queries = (_DUE, _DUE_OF_SUPERUSERS) if superuser else (_DUE,)
    for query in queries:
        for (statement,) in _rows(connection, query, values):
            connection.execute(statement.encode())


def end_overlong(connection: psycopg.Connection[Any]) -> int:
    """End what the role does for more than twice its limit; return how many sessions that were.

    The limit begins with the session, and a session may lift it.
    """
    values = {"reader": READER, "limit": SESSION["statement_timeout"]}
    found = _rows(connection, _OVERLONG, values)
    for (pid,) in found:
        connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
    return len(found)


def session_options() -> str:
    """Return the settings as libpq takes them, which win over those that a role gave itself."""
    return " ".join(f"-c {name}={value}" for name, value in SESSION.items())


def _rows(
    connection: psycopg.Connection[Any], query: str, values: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    # Bound by the client: the server cannot tell what type a name among many is of.
    with psycopg.ClientCursor(connection) as cursor:
        return cursor.execute(query.encode(), values).fetchall()


def _role(connection: psycopg.Connection[Any]) -> tuple[bool, list[str]] | None:
    """Return whether the role is as limited as it has to be, and its settings."""
    values = {"reader": READER, "most": _MOST_SESSIONS}
    return next(((row[0], row[1]) for row in _rows(connection, _ROLE, values)), None)


def _role_due(
    connection: psycopg.Connection[Any], *, superuser: bool, password: str | None
) -> Iterator[sql.Composed]:
    """Yield the statements that make the role, or make it what it has to be."""
    role = sql.Identifier(READER)
    found = _role(connection)
    limits = sql.SQL("NOSUPERUSER NOREPLICATION NOBYPASSRLS " if superuser else "")
    if found is None or not found[0]:
        yield sql.SQL("{} ROLE {} LOGIN NOCREATEROLE NOCREATEDB {} CONNECTION LIMIT {}").format(
            sql.SQL("CREATE" if found is None else "ALTER"), role, limits, _MOST_SESSIONS
        )
    wanted = {f"{name}={value}" for name, value in SESSION.items()}
    wanted |= {_TEMP_FILES} if superuser else set()
    if found is None or not wanted <= set(found[1]):
        yield sql.SQL("ALTER ROLE {} RESET ALL").format(role)
        for one in sorted(wanted):
            name, _, value = one.partition("=")
            yield sql.SQL("ALTER ROLE {} SET {} = {}").format(role, sql.Identifier(name), value)
    if password is not None:
        # The server's log of statements must not see it.
        secret = connection.pgconn.encrypt_password(
            password.encode(), READER.encode(), b"scram-sha-256"
        )
        yield sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, secret.decode())

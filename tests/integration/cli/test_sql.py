"""`anomaly sql` asks and never changes anything."""

from __future__ import annotations

import io

import psycopg
import pytest
from rich.console import Console

from anomaly_platform.cli.sql import ask
from anomaly_platform.settings import Settings
from anomaly_platform.storage.postgres.database import DatabaseError
from tests.builders.commands import invoke, point_commands_at

pytestmark = pytest.mark.integration


def test_a_question_is_answered(settings: Settings) -> None:
    console = Console(record=True, file=io.StringIO())
    ask(settings, "SELECT 6 * 7 AS answer, '100%' AS share", console)
    assert "42" in (said := console.export_text())
    assert "100%" in said


@pytest.mark.parametrize(
    "statement",
    [
        "COMMIT; DROP TABLE champions",
        "DELETE FROM champions",
        "DROP TABLE champions",
        "SELEC 1",
        "SELECT 1; COMMIT; DROP TABLE champions",
        "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null'",
        "/* a comment */ DO $$ BEGIN RESET ROLE; DELETE FROM champions; END $$",
        "SELECT pg_read_file('/etc/hostname')",
        "SELECT pg_reload_conf()",
        "WITH gone AS (DELETE FROM champions RETURNING *) SELECT * FROM gone",
        "EXPLAIN ANALYZE DELETE FROM champions",
    ],
)
def test_whatever_would_change_something_is_refused(settings: Settings, statement: str) -> None:
    with pytest.raises(DatabaseError):
        ask(settings, statement, Console(quiet=True))
    ask(settings, "SELECT count(*) FROM champions", Console(quiet=True))


@pytest.mark.parametrize(
    ("statement", "word"), [("DELETE FROM champions", "DELETE"), ("\n drop table x", "DROP")]
)
def test_what_writes_is_told_that_sql_is_read_only(
    settings: Settings, statement: str, word: str
) -> None:
    with pytest.raises(DatabaseError, match=f"SQL is read-only here, and {word} is no question"):
        ask(settings, statement, Console(quiet=True))
    with pytest.raises(DatabaseError, match="syntax error"):
        ask(settings, "SELEC 1", Console(quiet=True))


@pytest.mark.parametrize(
    "question", ["SHOW server_version", "explain select 1", "TABLE champions;"]
)
def test_other_questions_are_taken_too(settings: Settings, question: str) -> None:
    console = Console(record=True, file=io.StringIO())
    ask(settings, question, console)
    assert "row" in console.export_text()


def test_wide_rows_are_shown_as_records(settings: Settings) -> None:
    console = Console(record=True, file=io.StringIO(), width=80)
    columns = ", ".join(f"'value {n} [red]' AS a_rather_long_name_{n}" for n in range(12))
    ask(settings, f"SELECT {columns}", console)
    said = console.export_text()
    assert "row 1" in said
    assert "a_rather_long_name_11  value 11 [red]" in said


def test_csv_has_every_row_and_a_heading(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_commands_at(settings, monkeypatch)
    query = "SELECT n, CASE WHEN n > 1 THEN 'a,b' END AS t FROM generate_series(1, 20001) n"
    said = invoke("sql", "--csv", query)
    lines = said.splitlines()
    assert lines[:3] == ["n,t", "1,", '2,"a,b"']
    assert len(lines) == 20_002


def test_csv_is_written_as_postgresql_writes_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_commands_at(settings, monkeypatch)
    query = """
        SELECT '{"who": "it''s", "n": [1, null]}'::jsonb AS document, '["a"]'::json AS list,
            ARRAY['x', 'y z', NULL] AS words, '{{1,2},{3,4}}'::int[] AS numbers, true AS yes,
            timestamptz '2026-01-02 03:04:05.5+00' AS moment, date '2026-01-02' AS day,
            interval '1 day 2 hours' AS span, 0.1::float8 AS share, 1.50::numeric AS price,
            ''::text AS empty, NULL AS nothing, E'two\nlines' AS lines, '\\x00ff'::bytea AS bytes
    """
    said = invoke("sql", "--csv", query)
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        with connection.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)") as copy:
            own = b"".join(bytes(part) for part in copy).decode()
    assert said == own
    assert '"{""n"": [1, null], ""who"": ""it\'s""}"' in said
    assert invoke("sql", "--csv", r"SELECT '\.' AS dot") == 'dot\n"\\."\n'


def test_a_document_in_the_table_is_json(settings: Settings) -> None:
    console = Console(record=True, file=io.StringIO(), width=80)
    ask(settings, """SELECT '{"who": null}'::jsonb AS document""", console)
    assert '{"who": null}' in console.export_text()

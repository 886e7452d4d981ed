"""`anomaly db url` and `anomaly prune`: where the tables are, and what is old enough to go."""

from __future__ import annotations

import psycopg
import pytest
from typer.testing import CliRunner

from anomaly_platform.cli.main import app
from anomaly_platform.settings import Settings
from anomaly_platform.warehouse import Warehouse

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, settings: Settings, database_url: str) -> None:
    monkeypatch.setenv("ANOMALY_HOME", str(settings.home))
    monkeypatch.setenv("ANOMALY_DATABASE_URL", database_url)


def anomaly(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def kept_answers(warehouse: Warehouse) -> int:
    with warehouse.transactions.begin() as connection:
        row = connection.execute("SELECT count(*) FROM idempotency_keys").fetchone()
    assert row is not None
    return int(row[0])


def test_a_password_is_in_no_url_that_is_printed(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    with_password = database_url.replace("postgres@", "postgres:secret@")
    monkeypatch.setenv("ANOMALY_DATABASE_URL", with_password)
    assert "secret" in with_password
    said = anomaly("db", "url").strip()
    assert said.startswith("postgresql://postgres@")
    assert "secret" not in said


def test_the_url_of_the_embedded_database_is_one_to_connect_with(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres

    monkeypatch.delenv("ANOMALY_DATABASE_URL")
    try:
        with psycopg.connect(anomaly("db", "url").strip()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        EmbeddedPostgres(settings.home).stop()


def test_a_dry_run_says_what_goes_and_removes_nothing(warehouse: Warehouse) -> None:
    with warehouse.transactions.begin() as connection:
        connection.execute(
            "INSERT INTO idempotency_keys (api_key_id, key, route, request_digest, created_at) "
            "SELECT gen_random_uuid(), key, 'PUT /', '\\x00', now() - age "
            "FROM (VALUES ('old', interval '2 days'), ('new', '0')) AS kept (key, age)"
        )
    told = anomaly("prune", "--dry-run")
    assert "What would go" in told
    assert kept_answers(warehouse) == 2
    went = anomaly("prune")
    assert "What went" in went
    assert kept_answers(warehouse) == 1
    for said in (told, went):
        (line,) = [line for line in said.splitlines() if "answers kept for repeats" in line]
        assert line.split("│")[2].strip() == "1"

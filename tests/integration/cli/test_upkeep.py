"""`anomaly db url` and `anomaly prune`: where the tables are, and what is old enough to go."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from anomaly_platform.warehouse import Warehouse
from tests.builders.commands import invoke
from tests.builders.tables import count

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("own_platform")]


def test_a_password_is_in_no_url_that_is_printed(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    with_password = database_url.replace("postgres@", "postgres:secret@")
    monkeypatch.setenv("ANOMALY_DATABASE_URL", with_password)
    assert "secret" in with_password
    said = invoke("db", "url").strip()
    assert said.startswith("postgresql://postgres@")
    assert "secret" not in said


def test_the_url_of_the_embedded_database_is_one_to_connect_with(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres

    monkeypatch.setenv("ANOMALY_HOME", str(folder))
    monkeypatch.delenv("ANOMALY_DATABASE_URL")
    try:
        with psycopg.connect(invoke("db", "url").strip()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        EmbeddedPostgres(folder).stop()


def test_a_dry_run_says_what_goes_and_removes_nothing(warehouse: Warehouse) -> None:
    with warehouse.transactions.begin() as connection:
        connection.execute(
            "INSERT INTO idempotency_keys (api_key_id, key, route, request_digest, created_at) "
            "SELECT gen_random_uuid(), key, 'PUT /', '\\x00', now() - age "
            "FROM (VALUES ('old', interval '2 days'), ('new', '0')) AS kept (key, age)"
        )
    told = invoke("prune", "--dry-run")
    assert "What would go" in told
    assert count(warehouse, "idempotency_keys") == 2
    went = invoke("prune")
    assert "What went" in went
    assert count(warehouse, "idempotency_keys") == 1
    for said in (told, went):
        (line,) = [line for line in said.splitlines() if "answers kept for repeats" in line]
        assert line.split("│")[2].strip() == "1"

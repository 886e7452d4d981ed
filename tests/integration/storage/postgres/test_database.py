"""Databases are made, migrated once, reached by URL, and never give a password away."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from anomaly_platform.settings import Settings, get_settings
from anomaly_platform.storage.postgres.database import (
    EMBEDDED,
    SCHEMA_VERSION,
    DatabaseError,
    DatabaseUrls,
    check_current,
    database_urls,
    migrations_config,
    prepare_databases,
    redact,
    schema_version,
    upgrade,
)
from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres
from anomaly_platform.storage.postgres.transactions import Transactions
from anomaly_platform.warehouse import Warehouse
from tests.builders.schema import migrate

pytestmark = pytest.mark.integration

PASSWORD = "hunter2/%?"


@pytest.fixture
def embedded(postgres_server: EmbeddedPostgres) -> Iterator[Settings]:
    """Settings of an embedded server; the home is new, the server its own."""
    with tempfile.TemporaryDirectory(prefix="anomaly-db-") as home:
        settings = get_settings(home=Path(home) / "home")
        yield settings
        EMBEDDED.pop(settings.home, EmbeddedPostgres(settings.home)).stop()


@pytest.fixture
def role(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """A user that may log in and nothing else."""
    name = f"role_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        yield name
        connection.execute(f"DROP OWNED BY {name}")
        connection.execute(f"DROP ROLE {name}")


def as_role(url: str, role: str) -> str:
    return url.replace("//postgres@", f"//{role}:{quote(PASSWORD, safe='')}@")


def test_embedded_mode_needs_nothing(embedded: Settings) -> None:
    urls = prepare_databases(embedded)
    assert schema_version(urls) == SCHEMA_VERSION
    assert urls.dagster.startswith("postgresql+psycopg2://")
    with psycopg.connect(urls.dagster.replace("+psycopg2", "")) as connection:
        assert connection.info.dbname == "dagster"
    assert prepare_databases(embedded) == urls, "a second time changes nothing"
    check_current(embedded)
    with contextlib.closing(Warehouse(urls.application)) as warehouse:
        assert warehouse.server_version().startswith("18")


def test_dagster_reaches_its_database(settings: Settings) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(
        database_urls(
            get_settings(database_url=_url(settings), dagster_database="postgres")
        ).dagster
    )
    with engine.connect() as connection:
        assert connection.dialect.driver == "psycopg2"
        assert connection.execute(sqlalchemy.text("SELECT current_database()")).scalar() == (
            "postgres"
        )
    engine.dispose()


def _url(settings: Settings) -> str:
    assert settings.database_url is not None
    return settings.database_url.get_secret_value()


def test_your_own_server_gets_its_databases(
    postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    name = f"own_{uuid.uuid4().hex[:8]}"
    settings = get_settings(
        home=tmp_path, database_url=postgres_server.url(name), dagster_database=f"{name}_dagster"
    )
    try:
        with pytest.raises(DatabaseError, match="run anomaly db upgrade"):
            prepare_databases(settings)
        assert upgrade(settings) == SCHEMA_VERSION
        assert schema_version(prepare_databases(settings)) == SCHEMA_VERSION
        assert not (tmp_path / "postgres").exists(), "no server of ours was started"
    finally:
        with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.execute(f"DROP DATABASE IF EXISTS {name}_dagster WITH (FORCE)")


def test_without_permission_the_error_says_what_to_create(
    postgres_server: EmbeddedPostgres, role: str, tmp_path: Path
) -> None:
    settings = get_settings(
        home=tmp_path,
        database_url=as_role(postgres_server.url("not_there"), role),
        dagster_database="not_there_dagster",
    )
    with pytest.raises(DatabaseError) as caught:
        prepare_databases(settings)
    message = str(caught.value)
    assert 'CREATE DATABASE "not_there"; CREATE DATABASE "not_there_dagster"' in message
    assert "hunter2" not in message


def test_a_role_without_superuser_rights_can_do_everything(
    postgres_server: EmbeddedPostgres, role: str, empty_database_url: str, tmp_path: Path
) -> None:
    name = conninfo_to_dict(empty_database_url)["dbname"]
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} OWNER TO {role}")
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(f"ALTER SCHEMA public OWNER TO {role}")
    url = as_role(empty_database_url, role)
    settings = get_settings(home=tmp_path, database_url=url, dagster_database=name)
    upgrade(settings)
    with contextlib.closing(Warehouse(prepare_databases(settings).application)) as warehouse:
        warehouse.scores.ensure_metric_tables("pumps", entity_field="pump")
        assert warehouse.progress.state("pumps", "isolation_forest", 100).days == []


@pytest.mark.parametrize("where", ["127.0.0.1:1", "no-such-host.invalid"])
def test_an_unreachable_server_is_named_without_its_password(
    tmp_path: Path, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"postgresql://someone:{quote(PASSWORD, safe='')}@{where}/anomaly"
    settings = get_settings(home=tmp_path, database_url=url)
    with pytest.raises(DatabaseError) as caught:
        prepare_databases(settings)
    assert f"someone@{where}/anomaly" in str(caught.value)
    told = str(caught.value) + repr(caught.value.__context__) + caplog.text
    assert PASSWORD not in told
    assert quote(PASSWORD, safe="") not in told


def test_a_pool_without_server_gives_up_without_the_password(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    pool = Transactions("postgresql://u:hunter2@127.0.0.1:1/anomaly", patience_s=0.5)
    with pytest.raises(DatabaseError, match=r"u@127\.0\.0\.1:1/anomaly"), pool.begin():
        pass
    pool.close()
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@h:1/d?sslpassword=secret", "postgresql://u@h:1/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql://h/d", "postgresql://h/d"),
        ("postgresql://u:s%40cret@/d?host=%2Ftmp", "postgresql://u@/d"),
    ],
)
def test_redact(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_urls_are_not_printed() -> None:
    assert "secret" not in repr(DatabaseUrls("postgresql://u:secret@h/d", "secret", "secret"))


def test_migrations_on_an_empty_database_and_again(empty_database_url: str, tmp_path: Path) -> None:
    settings = get_settings(
        home=tmp_path, database_url=empty_database_url, dagster_database="postgres"
    )
    urls = database_urls(settings)
    assert schema_version(urls) is None
    with pytest.raises(DatabaseError, match=r"version none, .* run anomaly db upgrade"):
        check_current(settings)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(upgrade, [settings] * 3)) == [SCHEMA_VERSION] * 3
    assert upgrade(settings) == SCHEMA_VERSION
    check_current(settings)


def test_a_newer_schema_is_told_apart(database_url: str, tmp_path: Path) -> None:
    settings = get_settings(home=tmp_path, database_url=database_url, dagster_database="postgres")
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseError, match="install the newer program"):
        check_current(settings)


def test_the_program_knows_the_newest_migration() -> None:
    from alembic.script import ScriptDirectory

    assert ScriptDirectory.from_config(migrations_config()).get_current_head() == SCHEMA_VERSION


def test_migrations_by_alembic_alone_say_how_it_is_done() -> None:
    code = (
        "from alembic import command\n"
        "from anomaly_platform.storage.postgres.database import migrations_config\n"
        "command.upgrade(migrations_config(), 'head')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "run the migrations with: anomaly db upgrade" in done.stderr


def test_days_and_models_of_older_features_are_made_anew(
    empty_database_url: str, tmp_path: Path
) -> None:
    migrate(empty_database_url, "0004")
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("INSERT INTO series (stream, entity, metric) VALUES ('ems', 'h', 'cpu')")
        for stream, detector in (("ems", "isolation_forest"), ("barcode", "one_class_svm")):
            connection.execute(
                "INSERT INTO lake_partitions (stream, stage, partition, path, rows, watermark) "
                "SELECT %s, stage, '2026-01-05', stage, 1, 1 "
                "FROM unnest(ARRAY['validated', 'features']) stage",
                (stream,),
            )
            connection.execute(
                "INSERT INTO bundles (stream, detector, version, status, path, digest, trained_at) "
                "VALUES (%s, %s, 1, 'champion', 'v1', 'd', now())",
                (stream, detector),
            )
            connection.execute(
                "INSERT INTO champions (stream, detector, version, reason) VALUES (%s, %s, 1, '')",
                (stream, detector),
            )
    settings = get_settings(
        home=tmp_path, database_url=empty_database_url, dagster_database="postgres"
    )
    assert upgrade(settings) == SCHEMA_VERSION
    with psycopg.connect(empty_database_url) as connection:
        kept = connection.execute(
            "SELECT stream, stage FROM lake_partitions ORDER BY stream, stage"
        ).fetchall()
        assert kept == [("barcode", "features"), ("barcode", "validated"), ("ems", "validated")]
        assert connection.execute("SELECT stream FROM champions").fetchall() == [("barcode",)]
        states = connection.execute("SELECT stream, status FROM bundles ORDER BY stream").fetchall()
        assert states == [("barcode", "champion"), ("ems", "retired")]
    migrate(empty_database_url, "0004", "downgrade")
    migrate(empty_database_url, "head")


def test_readings_of_before_keep_their_ids(empty_database_url: str) -> None:
    migrate(empty_database_url, "0016")
    store = (
        "INSERT INTO online_readings (stream, event_id, entity, metric, event_time, value, source, "
        "threshold, status) VALUES ('iiot', %s, 'pump', 'temp', %s, 1, 'api', 0.5, 'trained')"
    )
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(store, (UUID(int=1), "2026-03-02"))
    for revision, how in (("0017", "upgrade"), ("0016", "downgrade"), ("head", "upgrade")):
        migrate(empty_database_url, revision, how)
        with (
            psycopg.connect(empty_database_url) as connection,
            pytest.raises(psycopg.errors.UniqueViolation),
        ):
            connection.execute(store, (UUID(int=1), "2026-03-03"))


def test_columns_that_explain_speak_of_calls_and_as_before_after_a_way_back(
    empty_database_url: str,
) -> None:
    def said() -> dict[str, str]:
        with psycopg.connect(empty_database_url) as connection:
            return dict(
                connection.execute(
                    "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute "
                    "WHERE attrelid = 'scored_metrics'::regclass "
                    "AND attname IN ('reason', 'expected_low', 'expected_high')"
                ).fetchall()
            )

    migrate(empty_database_url, "0018")
    before = said()
    migrate(empty_database_url, "0019")
    assert all("call" in comment for comment in said().values())
    migrate(empty_database_url, "0018", "downgrade")
    assert said() == before
    migrate(empty_database_url, "head")


def test_an_index_that_a_failure_left_is_built_anew(empty_database_url: str) -> None:
    migrate(empty_database_url, "0016")
    with psycopg.connect(empty_database_url) as connection:
        connection.execute(
            "ALTER TABLE online_readings ADD COLUMN id_given boolean NOT NULL DEFAULT true"
        )
        connection.execute(
            "CREATE UNIQUE INDEX online_readings_given_ids ON online_readings (event_id, stream) "
            "WHERE id_given"
        )
        connection.execute(
            "UPDATE pg_index SET indisvalid = false "
            "WHERE indexrelid = 'online_readings_given_ids'::regclass"
        )
    migrate(empty_database_url, "0017")
    with psycopg.connect(empty_database_url) as connection:
        indexes = connection.execute(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid, 1, true) "
            "FROM pg_index WHERE indrelid = 'online_readings'::regclass AND indisvalid "
            "AND indpred IS NOT NULL ORDER BY 1"
        ).fetchall()
    assert indexes == [
        ("online_readings_given_ids", "event_id"),
        ("online_readings_unclaimed", "stream"),
    ]


def test_a_migration_waits_for_a_busy_table_not_for_long(
    empty_database_url: str, tmp_path: Path
) -> None:
    migrate(empty_database_url, "0016")
    settings = get_settings(
        home=tmp_path, database_url=empty_database_url, dagster_database="postgres"
    )
    with psycopg.connect(empty_database_url) as busy:
        busy.execute("SELECT FROM online_readings")
        with pytest.raises(Exception, match="lock timeout"):
            upgrade(settings)
    assert upgrade(settings) == SCHEMA_VERSION

"""A restored home: the same to the bit, quiet, and never half of one that looks whole."""

from __future__ import annotations

import datetime as dt
import io
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from dagster import DagsterRunStatus
from rich.console import Console

from anomaly_platform.cli import backup as commands
from anomaly_platform.cli.runtime import open_runtime
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.platform import Platform
from anomaly_platform.runtime.backup.manifest import MANIFEST, BackupError, read_manifest
from anomaly_platform.runtime.backup.restoring import restore
from anomaly_platform.runtime.backup.taking import back_up
from anomaly_platform.runtime.backup.unfinished import MARK
from anomaly_platform.settings import Settings
from anomaly_platform.storage.postgres.database import (
    SCHEMA_VERSION,
    database_urls,
    ensure_databases,
    migrations_config,
    plain_urls,
    schema_version,
)
from anomaly_platform.streams import EMS
from tests.builders.commands import invoke
from tests.builders.readings import START

from .conftest import QUIETED, Homes, digests

if TYPE_CHECKING:
    from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres

pytestmark = pytest.mark.integration

FIRST = START.date()


def silent(_: str) -> None:
    """Say nothing."""


def nothing() -> None:
    """Settle nothing."""


def but_messages(tables: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in tables.items() if name not in QUIETED}


def texts(url: str, query: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute(query.encode()).fetchall()}


def test_everything_is_there_and_scores_are_equal_to_the_bit(
    home: Settings, homes: Homes, backup: Path, tables: dict[str, str]
) -> None:
    copy = homes("copy")
    commands.restore_backup(copy, backup, Console(quiet=True))
    ensure_databases(copy)
    urls, origin = plain_urls(copy), plain_urls(home)
    there = digests(urls["application"])
    assert but_messages(there) == but_messages(tables)
    assert len(there) > 30
    for name in ("streams/boilers.yaml", "reference/barcode/note.csv", "landing/ems/waiting.csv"):
        assert (copy.home / name).read_bytes() == (home.home / name).read_bytes()
    waiting = Path("landing/ems/waiting.csv")
    assert (copy.home / waiting).stat().st_mtime == (home.home / waiting).stat().st_mtime
    runs = "SELECT run_id FROM runs"
    assert texts(urls["dagster"], runs) == texts(origin["dagster"], runs) != set()
    (place,) = texts(urls["mlflow"], "SELECT artifact_uri FROM runs")
    folder = Path(place.removeprefix("file://"))
    assert folder.is_relative_to(copy.mlflow_artifacts)
    assert list(folder.rglob("*.png")) or list(folder.rglob("*.json"))
    with open_runtime(copy) as runtime:
        span = (FIRST, FIRST + dt.timedelta(days=2))
        run_stream(runtime, EMS, Console(quiet=True), days=span, train=False)
        scores = runtime.platform.warehouse.scores
        columns = ("entity", "metric", "event_time", "value", "score", "threshold", "is_anomaly")
        with closing(Platform(home)) as original:
            for number in range(3):
                day = FIRST + dt.timedelta(days=number)
                mine = scores.read_day("ems", day, columns)
                theirs = original.warehouse.scores.read_day("ems", day, columns)
                host = mine.filter(entity="host-1").sort("event_time")
                assert host.equals(theirs.sort("event_time"))
                assert host.height == 288


def test_old_messages_wait_until_somebody_asks_for_them(
    homes: Homes, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = homes("quiet")
    console = Console(record=True, width=100, file=io.StringIO())
    commands.restore_backup(copy, backup, console)
    assert "1 messages that had not left are held back" in console.export_text()
    monkeypatch.setenv("ANOMALY_HOME", str(copy.home))
    ensure_databases(copy)
    with psycopg.connect(database_urls(copy).application) as connection:
        held = connection.execute("SELECT status, last_error FROM deliveries").fetchall()
        assert held == [("abandoned", "restored from whole, and not asked for")]
        assert connection.execute(
            "SELECT count(*) FROM notifications WHERE routed_at IS NULL"
        ).fetchone() == (0,)
    assert "1 deliveries are due now" in invoke("alerts", "retry")


def test_runs_that_were_under_way_have_failed(
    home: Settings, homes: Homes, folder_of_homes: Path
) -> None:
    from dagster._core.test_utils import create_run_for_test

    from anomaly_platform.resources.dagster_home import open_instance, prepare_home

    with open_instance(prepare_home(home, database_urls(home).dagster)) as instance:
        run = create_run_for_test(instance, status=DagsterRunStatus.STARTED)
        back_up(home, folder_of_homes / "with-run", silent)
        instance.delete_run(run.run_id)
    copy = homes("with-run-copy")
    commands.restore_backup(copy, folder_of_homes / "with-run", Console(quiet=True))
    ensure_databases(copy)
    with open_instance(prepare_home(copy, database_urls(copy).dagster)) as instance:
        found = instance.get_run_by_id(run.run_id)
        assert found is not None
        assert found.status == DagsterRunStatus.FAILURE


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "dump", "manifest"])
def test_a_back_up_that_is_not_whole_touches_nothing(
    own_backup: Path, homes: Homes, damage: str
) -> None:
    parquet = next((own_backup / "lake/features").rglob("*.parquet"))
    content = parquet.read_bytes()
    match damage:
        case "cut":
            parquet.write_bytes(content[:-1])
        case "changed":
            parquet.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "gone":
            parquet.unlink()
        case "dump":
            (own_backup / "databases/application.dump").write_bytes(b"")
        case _:
            (own_backup / MANIFEST).unlink()
    copy = homes("never")
    with pytest.raises(BackupError, match=r"is damaged: 1 of|is no back-up"):
        restore(copy, own_backup, silent, nothing)
    assert not copy.home.exists()


def test_a_newer_back_up_and_a_home_that_is_taken_are_refused(
    own_backup: Path, backup: Path, homes: Homes, tmp_path: Path
) -> None:
    manifest = read_manifest(own_backup)
    newer = manifest.model_copy(update={"schema_version": "9999"})
    (own_backup / MANIFEST).write_text(newer.model_dump_json())
    with pytest.raises(BackupError, match="install the newer program"):
        restore(homes("never"), own_backup, silent, nothing)
    taken = homes("taken")
    taken.home.mkdir()
    (taken.home / "mine").touch()
    with pytest.raises(BackupError, match="is not empty"):
        restore(taken, backup, silent, nothing)
    elsewhere = homes("never").model_copy(update={"streams_dir": tmp_path / "streams"})
    (tmp_path / "streams").mkdir()
    (tmp_path / "streams/boilers.yaml").write_text("name: other\n")
    with pytest.raises(BackupError, match=r"has another file boilers\.yaml already"):
        restore(elsewhere, backup, silent, nothing)
    assert not elsewhere.home.exists()


def test_a_half_home_is_refused_until_a_restore_has_finished_it(
    homes: Homes, backup: Path, tables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = homes("half")
    monkeypatch.setenv("ANOMALY_HOME", str(copy.home))

    def break_off() -> None:
        with pytest.raises(BackupError, match="is just being restored"):
            Platform(copy)
        raise RuntimeError("the power is gone")

    with pytest.raises(RuntimeError, match="the power is gone"):
        restore(copy, backup, silent, break_off)
    why = f"{copy.home} is half a home: the restore from {backup} was broken off"
    with pytest.raises(BackupError, match=why):
        Platform(copy)
    for command in (["streams"], ["check"], ["up"], ["sql", "SELECT 1"], ["doctor"], ["db", "url"]):
        with pytest.raises(BackupError, match=why):
            invoke(*command)
    (copy.home / "left").touch()
    restore(copy, backup, silent, nothing)
    ensure_databases(copy)
    assert digests(database_urls(copy).application) == tables
    assert not (copy.home / "left").exists()
    assert not (copy.home / MARK).exists()


@pytest.fixture
def own_server(postgres_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Settings]:
    """A home whose databases are on a server of one's own, and not there yet."""
    from anomaly_platform.settings import get_settings

    suffix = uuid.uuid4().hex[:8]
    names = {part: f"{part}_{suffix}" for part in ("application", "dagster", "mlflow")}
    yield get_settings(
        home=tmp_path / "own",
        database_url=postgres_server.url(names["application"]),
        dagster_database=names["dagster"],
        mlflow_database=names["mlflow"],
        start_date=FIRST,
    )
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as connection:
        for name in names.values():
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def test_an_embedded_database_goes_to_a_server_of_ones_own_and_not_over_another(
    own_server: Settings, backup: Path, tables: dict[str, str], tmp_path: Path
) -> None:
    restore(own_server, backup, silent, nothing)
    assert digests(database_urls(own_server).application) == tables
    other = own_server.model_copy(update={"home": tmp_path / "other"})
    with pytest.raises(BackupError, match=r"the database of \w+, .* is not empty"):
        restore(other, backup, silent, nothing)
    assert not other.home.exists()


def test_older_tables_are_brought_up_to_date(
    own_server: Settings, homes: Homes, tmp_path: Path
) -> None:
    from alembic import command
    from sqlalchemy import create_engine

    urls = ensure_databases(own_server)
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(urls.application)
    )
    config = migrations_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
    engine.dispose()
    manifest = back_up(own_server, tmp_path / "old", silent)
    assert manifest.schema_version == "0006"
    assert schema_version(urls) == "0006"
    copy = homes("from-older")
    restore(copy, tmp_path / "old", silent, nothing)
    assert schema_version(ensure_databases(copy)) == SCHEMA_VERSION

"""A full disk: nothing half-written looks whole, the error names the disk, the next run works."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import polars as pl
import psycopg
import pytest

from anomaly_platform.assets.raw import ingest_files
from anomaly_platform.console.uploads import Uploads
from anomaly_platform.ml.bundles.bundle import open_bundle
from anomaly_platform.ml.bundles.writer import BundleWriter
from anomaly_platform.platform import Platform
from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.settings import get_settings
from anomaly_platform.storage.lake.lake import Lake
from anomaly_platform.storage.postgres.database import upgrade
from anomaly_platform.storage.postgres.embedded import EmbeddedPostgres
from anomaly_platform.warehouse import Warehouse
from tests.builders.models import FOREST, register

NOW = datetime(2026, 1, 20, tzinfo=UTC)
ROWS = 60_000
SIZE = 24 << 20


@pytest.fixture
def disk() -> Iterator[Path]:
    """A disk of 24 MB, which other users can reach."""
    with tempfile.TemporaryDirectory(prefix="anomaly-disk-") as name:
        Path(name).chmod(0o755)
        yield from _mounted(Path(name) / "disk", SIZE)


def _mounted(folder: Path, size: int) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def disk_of_tables() -> Iterator[Path]:
    """A disk of 80 MB, room for the tables of a database."""
    with tempfile.TemporaryDirectory(prefix="anomaly-disk-") as name:
        Path(name).chmod(0o755)
        yield from _mounted(Path(name) / "disk", 80 << 20)


@pytest.fixture
def url_on_disk(disk_of_tables: Path) -> Iterator[str]:
    """A database whose tables are on that disk; the log of the server is elsewhere.

    The server is the test's own: one that can't write its tables out makes nobody a new database.
    """
    place = disk_of_tables / "tables"
    place.mkdir(mode=0o700)
    with tempfile.TemporaryDirectory(prefix="anomaly-tests-") as home:
        server = EmbeddedPostgres(Path(home), options={"fsync": "off", "synchronous_commit": "off"})
        server.ensure_running()
        try:
            yield _migrated(server, place)
        finally:
            server.stop_if_unused()


def _migrated(server: EmbeddedPostgres, place: Path) -> str:
    """Make a database whose tables are in a folder, with the current schema; return its URL."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        (data,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        owner = Path(data).stat()
        os.chown(place, owner.st_uid, owner.st_gid)
        connection.execute(f"CREATE TABLESPACE disk LOCATION '{place}'".encode())
        connection.execute("CREATE DATABASE disk TABLESPACE disk")
    url = server.url("disk")
    upgrade(get_settings(home=server.home, database_url=url, dagster_database="disk"))
    return url


def fill(disk: Path, left: int) -> Path:
    """Fill a disk up to some bytes; return the file that does."""
    usage = os.statvfs(disk)
    filler = disk / "filler"
    try:
        filler.write_bytes(bytes(max(usage.f_bavail * usage.f_frsize - left, 0)))
    except OSError as error:
        # Somebody has taken room since it was counted: then there is none left.
        if error.errno != errno.ENOSPC or left:
            raise
    return filler


def readings() -> str:
    rng = np.random.default_rng(1)
    times = pl.Series(np.datetime64("2026-01-05T00:00:00", "us") + np.arange(ROWS) * 1_000_000)
    return pl.DataFrame(
        {
            "device_id": [f"pump-{number}" for number in rng.integers(0, 10**9, ROWS)],
            "metric_name": "load",
            "timestamp": times.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "value": rng.normal(20, 2, ROWS),
        }
    ).write_csv()


def files_of(lake: Path) -> list[Path]:
    return [path for path in lake.rglob("*") if path.is_file()]


@pytest.mark.integration
def test_a_file_is_taken_in_once_there_is_room(
    disk: Path, tmp_path: Path, database_url: str
) -> None:
    settings = get_settings(
        home=tmp_path / "home", database_url=database_url, lake_url=str(disk / "lake")
    )
    platform = Platform(settings)
    stream, folder = platform.stream("iiot"), Path(platform.landing.folder("iiot"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.csv").write_text(readings())
    filler = fill(disk, left=64 << 10)
    report = ingest_files(platform, stream, platform.landing.waiting("iiot"), NOW)
    assert not report.ingested
    assert not report.rejected
    assert "the disk is full" in report.failed["a.csv"]
    assert str(disk / "lake") in report.failed["a.csv"]
    assert not platform.warehouse.ledger.entries("iiot")
    assert files_of(disk / "lake") == []
    filler.unlink()
    for expected in (["a.csv"], []):
        report = ingest_files(platform, stream, platform.landing.waiting("iiot"), NOW)
        assert report.ingested == expected
        assert not report.failed
    (entry,) = platform.warehouse.ledger.entries("iiot")
    assert entry.rows_in == ROWS
    stored = platform.lake.read(entry.raw_path or "")
    assert stored["row_number"].sort().to_list() == list(range(1, ROWS + 1))


def test_a_bundle_is_whole_or_not_there(disk: Path) -> None:
    lake = Lake(str(disk / "lake"))
    arrays = {"weights": np.random.default_rng(1).normal(size=(64, 1024))}
    path = "models/iiot/isolation_forest/000001"

    def write() -> str:
        work = lake.new_folder() / "bundle"
        with BundleWriter(work) as writer:
            slots = [writer.append(arrays) for _ in range(8)]
            series = pl.DataFrame(
                {"entity": [f"e{slot}" for slot in slots], "metric": "load", "slot": slots}
            )
            digest = writer.publish({"feature_schema": {"features": ["value"]}}, series)
        lake.publish_folder(work, path)
        return digest

    for left in (0, 4096, 1 << 20, 5 << 20):
        filler = fill(disk, left)
        with pytest.raises(OSError, match=r"the disk is full|No space left") as full:
            write()
        assert str(disk) in str(full.value)
        assert not (disk / "lake" / path).exists()
        assert files_of(disk / "lake") == []
        filler.unlink()
    digest = write()
    with open_bundle(disk / "lake" / path, expected_digest=digest) as bundle:
        assert np.array_equal(bundle.arrays(3)["weights"], arrays["weights"])


@pytest.mark.integration
def test_refused_rows_without_room_in_the_tables_come_once(
    disk_of_tables: Path, url_on_disk: str, tmp_path: Path
) -> None:
    platform = Platform(get_settings(home=tmp_path / "home", database_url=url_on_disk))
    stream, folder = platform.stream("iiot"), Path(platform.landing.folder("iiot"))
    folder.mkdir(parents=True, exist_ok=True)
    refused = "pump,load,never,1\n" * ROWS
    (folder / "a.csv").write_text(
        f"device_id,metric_name,timestamp,value\npump,load,2026-01-05,1\n{refused}"
    )
    filler = fill(disk_of_tables, left=0)
    report = ingest_files(platform, stream, platform.landing.waiting("iiot"), NOW)
    assert "No space left on device" in report.failed["a.csv"]
    assert not report.ingested
    filler.unlink()
    assert not platform.warehouse.ledger.entries("iiot")
    report = ingest_files(platform, stream, platform.landing.waiting("iiot"), NOW)
    assert report.ingested == ["a.csv"]
    count = "SELECT count(*) FROM quarantine WHERE stream = 'iiot'"
    assert platform.warehouse.transactions.value(count) == ROWS


@pytest.mark.integration
def test_a_promotion_without_room_changes_nothing(disk_of_tables: Path, url_on_disk: str) -> None:
    with contextlib.closing(Warehouse(url_on_disk)) as warehouse:
        versions = [register(warehouse, "iiot") for _ in range(2)]
        warehouse.bundles.promote_set("iiot", {FOREST: versions[0]}, "first")
        filler = fill(disk_of_tables, left=0)
        told = "why ".join(map(str, np.random.default_rng(1).integers(0, 10**9, 200_000)))
        with pytest.raises(psycopg.errors.DiskFull, match="No space left on device"):
            warehouse.bundles.promote_set("iiot", {FOREST: versions[1]}, told)
        assert warehouse.bundles.champions("iiot") == {FOREST: versions[0]}
        filler.unlink()
        warehouse.bundles.promote_set("iiot", {FOREST: versions[1]}, told)
        assert warehouse.bundles.champions("iiot") == {FOREST: versions[1]}


def test_a_file_that_is_put_in_by_hand_says_that_there_is_no_room(disk: Path) -> None:
    uploads = Uploads(disk / "uploads")
    fill(disk, 2 << 20)

    async def content() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(64 << 10)

    with pytest.raises(ApiProblem, match="the disk is full") as refused:
        asyncio.run(uploads.keep("a.csv", content(), whose=uuid4()))
    assert refused.value.status == 507
    assert files_of(disk / "uploads") == []

"""A back-up while the platform is at work: of one instant, with nothing lost and nothing twice."""

from __future__ import annotations

import datetime as dt
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from anomaly_platform.assets.raw import ingest_files
from anomaly_platform.cli.runtime import open_runtime
from anomaly_platform.cli.streams.checking import run_checks
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.ingest.online.readings import Reading
from anomaly_platform.ml.scoring.batch import FleetScorer
from anomaly_platform.ml.scoring.online import OnlineScorer
from anomaly_platform.platform import Platform
from anomaly_platform.realtime.append_path import Judge
from anomaly_platform.runtime.backup.manifest import MANIFEST, BackupError
from anomaly_platform.runtime.backup.restoring import restore
from anomaly_platform.runtime.backup.taking import back_up
from anomaly_platform.runtime.pruning import prune_files
from anomaly_platform.settings import Settings
from anomaly_platform.storage.postgres.database import connect, database_urls, ensure_databases
from anomaly_platform.storage.tables.partitions import keep_files
from anomaly_platform.streams import EMS, IIOT
from tests.builders.ingesting import take_in
from tests.builders.platforms import drop_into
from tests.builders.readings import START, readings
from tests.builders.tables import rows_of
from tests.builders.waiting import wait_until

from .conftest import Homes

pytestmark = pytest.mark.integration

_PAUSE = 0.02
_FIRST = int(START.timestamp() * 1e6)


class Work:
    """Readings that come one by one and files that are taken in, for as long as it goes on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self.files = 0
        self.readings = 0
        self.errors: list[BaseException] = []

    @contextmanager
    def going_on(self) -> Iterator[None]:
        threads = [
            threading.Thread(target=self._until_stopped, args=(one,))
            for one in (self._send_readings, self._take_files)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        if self.errors:
            raise self.errors[0]

    def _until_stopped(self, work: Callable[[Platform], None]) -> None:
        try:
            with closing(Platform(self._settings)) as platform:
                work(platform)
        except BaseException as error:
            self.errors.append(error)

    def _send_readings(self, platform: Platform) -> None:
        unjudged = FleetScorer.without_models(IIOT.features, alpha=0.001, threshold=0.7)
        judge = Judge(None, OnlineScorer(unjudged), 0.7)
        ingest = platform.online_ingest()
        now = dt.datetime.now(dt.UTC)
        while not self._stop.is_set():
            one = Reading("pump", "temp", _FIRST + self.readings * 1_000_000, 1.0, None)
            take_in(ingest, IIOT, [one], judge, now=now)
            self.readings += 1
            self._stop.wait(_PAUSE)
        ingest.close()

    def _take_files(self, platform: Platform) -> None:
        while not self._stop.is_set():
            name = f"late-{self.files}.csv"
            day = readings(EMS, "host-3", days=0.01, first=self.files % 4, seed=self.files)
            drop_into(platform, EMS, name, day)
            self.files += 1
            # A file waits for a while, as one does between the ticks of a sensor.
            waiting = [file for file in platform.landing.waiting("ems") if "late" in file.name]
            if len(waiting) > 2:
                ingest_files(platform, EMS, waiting[:2], dt.datetime.now(dt.UTC))
            self._stop.wait(_PAUSE)


@pytest.fixture
def busy(homes: Homes, backup: Path) -> Settings:
    """Another home with the same in it, which the test may change."""
    settings = homes("busy-one")
    restore(settings, backup, lambda _: None, lambda: None)
    ensure_databases(settings)
    return settings


def test_while_readings_and_files_come_in_nothing_is_lost(
    busy: Settings, homes: Homes, folder_of_homes: Path
) -> None:
    work = Work(busy)
    with work.going_on():
        wait_until(lambda: min(work.files, work.readings) >= 5)
        files, sent = work.files, work.readings
        manifest = back_up(busy, folder_of_homes / "busy", lambda _: None)
        during = (work.files - files, work.readings - sent)
    assert min(during) > 0
    copy = homes("busy-copy")
    restore(copy, folder_of_homes / "busy", lambda _: None, lambda: None)
    ensure_databases(copy)
    with closing(Platform(copy)) as platform:
        warehouse = platform.warehouse
        times = rows_of(warehouse, "SELECT event_time FROM online_readings ORDER BY event_time")
        assert len(times) >= sent
        # Sent one after the other, so those of one instant are the first ones.
        assert times[-1][0] == START + dt.timedelta(seconds=len(times) - 1)
        known = {entry.source for entry in warehouse.ledger.entries("ems")}
        waiting = {Path(file.name).name for file in platform.landing.waiting("ems")}
        wanted = {f"late-{number}.csv" for number in range(files)} | {"a.csv", "waiting.csv"}
        assert wanted - known - waiting == set()
    assert manifest.left_out == [] or all("written" in line for line in manifest.left_out)
    with open_runtime(copy) as runtime:
        account = run_stream(runtime, EMS, Console(quiet=True))
        assert (account.missing, account.pending) == (0, 0)
        assert run_checks(runtime, EMS, Console(quiet=True), None) == 0
        assert runtime.platform.landing.waiting("ems") == []


def test_pruning_leaves_the_lake_alone_while_it_is_read(home: Settings) -> None:
    with closing(Platform(home)) as platform:
        lake, transactions = platform.lake, platform.warehouse.transactions
        orphan = Path(home.lake_url) / "features/ems/orphan.parquet"
        orphan.touch()
        os.utime(orphan, (1, 1))
        with connect(database_urls(home).application, autocommit=True) as reader:
            keep_files(reader)
            kept = prune_files(lake, transactions, [], dry_run=False)
            assert (kept.count, orphan.exists()) == (0, True)
            assert "back-up" in kept.what
        # The server lets go of the lock a moment after the connection is closed.
        wait_until(lambda: prune_files(lake, transactions, [], dry_run=False).count == 1)
        assert not orphan.exists()


def test_what_cannot_be_backed_up_is_refused_and_leaves_nothing(
    home: Settings, tmp_path: Path
) -> None:
    taken, foreign = tmp_path / "taken", tmp_path / "new.partial"
    for folder in (taken, foreign):
        folder.mkdir()
        (folder / "mine").touch()
    for target, why in (
        (taken, "is there already"),
        (tmp_path / "new", "no back-up that was broken off"),
        (home.home / "backups/one", "lies in what is backed up"),
    ):
        with pytest.raises(BackupError, match=why):
            back_up(home, target, lambda _: None)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "mine",
        "mine",
        "new.partial",
        "taken",
    ]


def test_a_lake_that_lacks_a_file_or_has_a_damaged_one_is_no_back_up(
    home: Settings, tmp_path: Path
) -> None:
    (file,) = (Path(home.lake_url) / "validated_events/ems/2026-01-06").glob("*.parquet")
    content = file.read_bytes()
    # Killed between its last file and its name: the next back-up takes its place.
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / MANIFEST).touch()
    try:
        file.write_bytes(content[:-1])
        with pytest.raises(BackupError, match=rf"{file.name} in the lake is damaged"):
            back_up(home, tmp_path / "new", lambda _: None)
        file.unlink()
        with pytest.raises(BackupError, match="1 files of the lake are missing"):
            back_up(home, tmp_path / "new", lambda _: None)
    finally:
        file.write_bytes(content)
    assert list(tmp_path.iterdir()) == []

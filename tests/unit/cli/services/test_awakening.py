"""A file that lands and a run that ends wake the sensors of data, and nothing else does."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from anomaly_platform.cli.services import awakening as services_awakening
from anomaly_platform.cli.services.awakening import Awakening, Watchful
from anomaly_platform.runtime.warm_runs import RUN_ENDED


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    folder = tmp_path / "landing"
    (folder / "ems").mkdir(parents=True)
    (folder / ".archive").mkdir()
    age(folder / "ems", 3_600)
    (tmp_path / "dagster").mkdir()
    return folder


@pytest.fixture
def awakening(tmp_path: Path, landing: Path) -> Awakening:
    return Awakening(tmp_path, landing)


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_without_anything_new_nobody_is_woken(awakening: Awakening, landing: Path) -> None:
    now = time.time()
    assert not awakening.due("ems_new_data", now - 1)
    assert not awakening.any_since(now - 1)
    assert not awakening.due("a_stream_without_folder_new_data", now - 1)


def test_a_file_wakes_its_stream_for_as_long_as_it_may_still_grow(
    awakening: Awakening, landing: Path
) -> None:
    file = landing / "ems" / "a.csv"
    file.write_text("x")
    assert awakening.due("ems_new_data", time.time())
    assert awakening.any_since(time.time())
    assert not awakening.due("iiot_new_data", time.time())
    assert not awakening.due("ems_retraining", 0.0)
    age(file, 60)
    age(landing / "ems", 60)
    # One that nobody takes in, because its run failed, waits for the usual tick.
    assert not awakening.due("ems_new_data", time.time())


def test_a_file_that_keeps_its_time_wakes_when_it_is_moved_in(
    awakening: Awakening, landing: Path
) -> None:
    file = landing / "ems" / "a.csv"
    file.write_text("x")
    age(file, 86_400)
    assert awakening.due("ems_new_data", time.time())


def test_hidden_files_and_folders_wake_nobody(awakening: Awakening, landing: Path) -> None:
    (landing / "ems" / ".a.csv").write_text("x")
    (landing / ".archive" / "a.csv").write_text("x")
    assert not awakening.due("ems_new_data", time.time())
    assert not awakening.any_since(time.time())


def test_a_run_that_ended_wakes_each_stream_once(awakening: Awakening, tmp_path: Path) -> None:
    (tmp_path / RUN_ENDED).touch()
    ended = (tmp_path / RUN_ENDED).stat().st_mtime
    assert awakening.due("ems_new_data", ended - 0.1)
    assert awakening.any_since(ended - 0.1)
    assert not awakening.due("ems_new_data", ended + 0.1)


def test_a_mark_of_the_future_wakes_nobody(awakening: Awakening, tmp_path: Path) -> None:
    (tmp_path / RUN_ENDED).touch()
    age(tmp_path / RUN_ENDED, -3_600)
    assert not awakening.due("ems_new_data", time.time() - 10)
    assert not awakening.any_since(time.time() - 10)


@pytest.mark.parametrize("name", ["a.csv.part", "a.csv.mapping.json"])
def test_what_is_no_data_file_yet_wakes_nobody(
    awakening: Awakening, landing: Path, name: str
) -> None:
    (landing / "ems" / name).write_text("x")
    assert not awakening.due("ems_new_data", time.time())


def test_a_link_wakes_nobody(awakening: Awakening, landing: Path, tmp_path: Path) -> None:
    (tmp_path / "busy.log").write_text("x")
    (landing / "ems" / "a.csv").symlink_to(tmp_path / "busy.log")
    assert not awakening.due("ems_new_data", time.time())


def test_a_file_that_goes_on_growing_is_followed_for_a_minute(
    awakening: Awakening, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = landing / "ems" / "a.csv"
    file.write_text("x")
    assert awakening.due("ems_new_data", time.time())
    monkeypatch.setattr(services_awakening, "_LONGEST_AWAKE_S", 0.0)
    assert not awakening.due("ems_new_data", time.time())
    # Once it has held still, the next one is followed again.
    age(file, 60)
    age(landing / "ems", 60)
    assert not awakening.due("ems_new_data", time.time())
    monkeypatch.undo()
    file.write_text("y")
    assert awakening.due("ems_new_data", time.time())


def test_landing_elsewhere_is_not_watched(tmp_path: Path) -> None:
    awakening = Awakening(tmp_path, None)
    assert not awakening.any_since(0.0)
    assert not awakening.due("ems_new_data", 0.0)


def test_waiting_ends_when_something_is_due_or_at_the_end(
    awakening: Awakening, landing: Path
) -> None:
    ending = threading.Event()
    watchful = Watchful(ending, awakening)
    began = time.monotonic()
    assert not watchful.wait(0.05)
    assert time.monotonic() - began >= 0.05
    threading.Timer(0.1, (landing / "ems" / "a.csv").write_text, ("x",)).start()
    assert not watchful.wait(60)
    assert time.monotonic() - began < 30
    ending.set()
    assert watchful.is_set()
    assert watchful.wait(60)

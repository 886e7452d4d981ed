"""The daemon ticks data sensors before their time, and no other ones."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dagster._daemon import sensor
from dagster._daemon.daemon import SensorDaemon

from anomaly_platform.cli.services.awakening import Awakening, Watchful
from anomaly_platform.cli.services.dagster_daemon import (
    CODE_SOCKET,
    await_code,
    awakening_of,
    wake_data_sensors,
)
from anomaly_platform.settings import get_settings


@pytest.fixture
def landing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A landing folder that the daemon watches; what it changes of Dagster is taken back."""
    monkeypatch.setattr(sensor, "is_under_min_interval", lambda *_: True)
    monkeypatch.setattr(sensor, "get_elapsed", lambda _: 1.0)
    monkeypatch.setattr(SensorDaemon, "core_loop", lambda _self, _context, ending: ending)
    folder = tmp_path / "landing"
    (folder / "ems").mkdir(parents=True)
    wake_data_sensors(Awakening(tmp_path, folder))
    return folder


def rests(name: str) -> bool:
    state: Any = None
    remote: Any = SimpleNamespace(name=name)
    return sensor.is_under_min_interval(state, remote)


def test_a_file_lets_the_sensor_of_its_stream_tick(landing: Path) -> None:
    assert rests("ems_new_data")
    (landing / "ems" / "a.csv").write_text("x")
    assert not rests("ems_new_data")
    assert rests("iiot_new_data")
    assert rests("ems_retraining")


def test_the_loop_waits_watchfully(landing: Path) -> None:
    daemon: Any = None
    context: Any = None
    waits: Any = SensorDaemon.core_loop(daemon, context, threading.Event())
    assert isinstance(waits, Watchful)
    (landing / "ems" / "a.csv").write_text("x")
    assert not waits.wait(60)


@pytest.mark.parametrize(
    ("url", "watched"),
    [("{home}/landing", True), ("file://{home}/landing", True), ("s3://bucket/landing", False)],
)
def test_only_a_folder_is_watched(tmp_path: Path, url: str, watched: bool) -> None:
    settings = get_settings(home=tmp_path, landing_url=url.format(home=tmp_path))
    file = tmp_path / "landing" / "ems" / "a.csv"
    file.parent.mkdir(parents=True)
    file.write_text("x")
    assert awakening_of(settings).any_since(0.0) is watched


def test_the_daemon_begins_when_the_code_server_listens(tmp_path: Path) -> None:
    arguments = ["run", "--workspace", str(tmp_path / "workspace.yaml")]
    socket = tmp_path / CODE_SOCKET
    comes = threading.Timer(0.2, socket.touch)
    comes.start()
    await_code(arguments)
    assert socket.exists()
    comes.join()
    socket.unlink()
    await_code(arguments, patience_s=0.0)
    await_code(["run"])

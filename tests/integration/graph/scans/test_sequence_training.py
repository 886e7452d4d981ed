"""The sequence model's training: in its own process, resumed when killed, gone when cancelled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from dagster import AssetKey, DagsterEventType, DagsterInstance, EventRecordsFilter
from rich.console import Console

from anomaly_platform.assets import stage
from anomaly_platform.cli.runtime import RunFailedError, Runtime
from anomaly_platform.cli.streams.run import run_stream
from anomaly_platform.definitions import build_defs
from anomaly_platform.platform import Platform
from anomaly_platform.resources.trainer import Trainer
from anomaly_platform.settings import Settings
from anomaly_platform.simulator.supply_network import simulate_supply_network
from anomaly_platform.streams import BARCODE, ScanStream
from tests.builders.platforms import Drop, Keep, Kept, Restore, open_runtime
from tests.builders.scans import file_of

pytestmark = pytest.mark.integration

SCANS: ScanStream = replace(
    BARCODE,
    sequence={"max_epochs": 60, "patience": 60, "hidden": 16, "span": 8},
    search={"nu": (0.05,), "gamma": ("scale",), "kernel": ("rbf",), "rows": 200},
)
LSTM = AssetKey(SCANS.key("lstm_model"))


@pytest.fixture(scope="module")
def ready(keep: Keep) -> Kept:
    """Everything that the sequence model is trained on."""

    def fill(runtime: Runtime, drop: Drop) -> None:
        network = simulate_supply_network(
            events=2_500, days=8, seed=5, start=datetime(2026, 1, 5, tzinfo=UTC)
        )
        network.world.write_reference(runtime.platform.reference_folder(SCANS))
        drop(SCANS, "scans.csv", file_of(network.scans.drop("label", "anomaly_kind")))
        run_stream(runtime, SCANS, Console(quiet=True), train=False)
        runtime.materialize([SCANS.key("rules_model")], {})

    return keep(fill, (SCANS,))


@pytest.fixture
def runtime(
    settings: Settings,
    restore: Restore,
    ready: Kept,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Runtime]:
    retries = getattr(request, "param", 0)
    monkeypatch.setattr(stage, "RETRIES", retries)
    restore(settings, ready)
    with open_runtime(settings, (SCANS,)) as opened:
        yield opened


def trainers(parent: int) -> list[psutil.Process]:
    """Return the training processes below a process."""
    try:
        children = psutil.Process(parent).children(recursive=True)
        return [c for c in children if "anomaly_platform.runtime.trainer_process" in c.cmdline()]
    except psutil.NoSuchProcess:
        return []


def kill_after_checkpoint(home: Path) -> threading.Thread:
    """Kill the first trainer, outright, as soon as it has written a checkpoint."""

    def wait_and_kill() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            found = trainers(os.getpid())
            if found and list(home.glob("training/barcode/*/checkpoint/*.json")):
                found[0].send_signal(signal.SIGKILL)
                return
            time.sleep(0.02)

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    return thread


def epochs_seen(instance: DagsterInstance) -> list[int]:
    records = instance.get_event_records(
        EventRecordsFilter(DagsterEventType.ASSET_OBSERVATION, asset_key=LSTM), ascending=True
    )
    observed = [record.asset_observation for record in records]
    return [int(str(one.metadata["epoch"].value)) for one in observed if one is not None]


def test_a_killed_trainer_fails_the_run_with_the_reason_and_the_next_run_resumes(
    runtime: Runtime,
) -> None:
    home = runtime.platform.settings.home
    killer = kill_after_checkpoint(home)
    # The news of the epoch whose checkpoint is there may be lost with the process.
    said = r"the trainer was killed by SIGKILL (after \d+ epochs|before its first epoch was over)"
    with pytest.raises(RunFailedError, match=said):
        runtime.materialize([SCANS.key("lstm_model")], {})
    killer.join()
    (failed,) = runtime.platform.warehouse.bundles.all("barcode", "lstm")
    assert failed.status == "failed"
    assert "SIGKILL" in (failed.reason or "")
    before = epochs_seen(runtime.instance)
    runtime.materialize([SCANS.key("lstm_model")], {})
    after = epochs_seen(runtime.instance)[len(before) :]
    # An epoch whose news was lost with the process may have left its checkpoint nevertheless.
    assert after[0] > 1
    assert after == list(range(after[0], 61))
    assert runtime.platform.warehouse.bundles.all("barcode", "lstm")[0].status == "challenger"
    assert list(home.glob("training/barcode/*")) == []
    materialized = runtime.instance.get_latest_materialization_event(LSTM)
    assert materialized is not None
    assert materialized.asset_materialization is not None
    assert "data:image/svg" in str(materialized.asset_materialization.metadata["loss"].value)


@pytest.mark.parametrize("runtime", [1], indirect=True)
def test_a_killed_trainer_is_started_again_and_resumes_within_the_run(runtime: Runtime) -> None:
    killer = kill_after_checkpoint(runtime.platform.settings.home)
    runtime.materialize([SCANS.key("lstm_model")], {})
    killer.join()
    statuses = [b.status for b in runtime.platform.warehouse.bundles.all("barcode", "lstm")]
    assert statuses == ["challenger", "failed"]
    seen = epochs_seen(runtime.instance)
    assert seen[-1] == 60
    assert seen.count(1) == 1


def test_a_silent_trainer_is_stuck_and_killed(runtime: Runtime) -> None:
    definitions = build_defs(
        platform=runtime.platform, resource_overrides={"trainer": Trainer(stuck_after=0.1, grace=1)}
    )
    stuck = replace(runtime, _built=(runtime.platform.first_days.read(), definitions))
    with pytest.raises(RunFailedError, match=r"said nothing for 0\.1 s and was killed"):
        stuck.materialize([SCANS.key("lstm_model")], {})
    assert trainers(os.getpid()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_survives_a_cancelled_or_killed_run(
    runtime: Runtime, number: signal.Signals
) -> None:
    settings = runtime.platform.settings
    assert settings.database_url is not None
    program = f"""
from dataclasses import replace
from dagster import DagsterInstance
from anomaly_platform.cli.runtime import Runtime
from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings
from anomaly_platform.streams import BARCODE
stream = replace(BARCODE, sequence={dict(SCANS.sequence)!r} | {{"max_epochs": 100000,
                                                               "patience": 100000}})
platform = Platform(get_settings(), streams=(stream,))
with DagsterInstance.ephemeral() as instance:
    runtime = Runtime(platform, instance, {{}})
    runtime.materialize([stream.key("lstm_model")], {{}})
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "ANOMALY_HOME": str(settings.home),
            "ANOMALY_DATABASE_URL": settings.database_url.get_secret_value(),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        pattern = "training/barcode/*/checkpoint/*.json"
        while not list(settings.home.glob(pattern)) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
        (trainer,) = trainers(process.pid)
        process.send_signal(number)
        process.wait(60)
        gone, alive = psutil.wait_procs([trainer], timeout=30)
        assert alive == []
        assert gone
    finally:
        process.kill()
        process.wait()


def test_the_trainer_says_why_it_failed(runtime: Runtime) -> None:
    hopeless = replace(SCANS, sequence={"learning_rate": 1e9, "clip": 1e9})
    platform = Platform(runtime.platform.settings, streams=(hopeless,))
    broken = replace(runtime, platform=platform, _built=None)
    with pytest.raises(RunFailedError, match="the trainer failed: FloatingPointError"):
        broken.materialize([SCANS.key("lstm_model")], {})
    platform.close()

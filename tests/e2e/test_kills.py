"""Processes killed at random while files arrive: a long trial, only in `make stress`."""

from __future__ import annotations

import contextlib
import random
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import psutil
import pytest

from anomaly_platform.streams import EMS

pytestmark = [pytest.mark.stress, pytest.mark.timeout(3600)]

START = datetime(2026, 1, 5, tzinfo=UTC)
FILES = 12
KILLS = 20
SEED = 20260105


def one_file(number: int) -> pl.DataFrame:
    rng = np.random.default_rng(number)
    return pl.DataFrame(
        {
            "asset_id": [f"host-{number % 4}"] * 288,
            "metric_name": ["load"] * 288,
            "timestamp": [START + timedelta(days=number // 4, minutes=5 * n) for n in range(288)],
            "value": (20 + rng.normal(0, 1, 288)).round(3),
        }
    )


def test_every_row_is_there_once_whatever_is_killed(running) -> None:
    chance = random.Random(SEED)
    folder = running.landing("ems")
    killed: list[str] = []
    rows = 0
    for number in range(FILES):
        frame = one_file(number)
        rows += frame.height
        frame.write_csv(folder / f"{number}.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ")
        for _ in range(KILLS // FILES + 1):
            time.sleep(chance.uniform(1, 12))
            victims = psutil.Process(running.process.pid).children(recursive=True)
            # One that has just ended by itself is none.
            with contextlib.suppress(psutil.Error, IndexError):
                victim = chance.choice(victims)
                name = victim.name()
                victim.kill()
                killed.append(name)

    def all_there() -> bool:
        account = running.platform.account_of(EMS)
        return account.scored == rows and account.pending == 0

    running.wait_for(all_there, 1800)
    account = running.platform.account_of(EMS)
    assert account.missing == 0
    assert account.rows_in == rows
    with running.platform.warehouse.transactions.begin() as connection:
        counts = connection.execute(
            "SELECT count(*), count(DISTINCT (entity, metric, event_time)) FROM scored_ems"
        ).fetchone()
    assert counts == (rows, rows)
    assert len(killed) >= KILLS

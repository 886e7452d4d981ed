"""Backtests from the command line, and files for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from anomaly_platform.ingest.files.sources import UnreadableFile
from tests.builders.commands import invoke, run_command

START = datetime(2026, 1, 5, tzinfo=UTC)


def wide(
    rows: int, *, seed: int, start: datetime = START, spike: int | None = None
) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    cpu = 50 + rng.normal(0, 1, rows)
    if spike is not None:
        cpu[spike : spike + 3] += 40
    labels = np.zeros(rows, dtype=int)
    if spike is not None:
        labels[spike : spike + 3] = 1
    times = [start + timedelta(minutes=5 * n) for n in range(rows)]
    return pl.DataFrame(
        {
            "when": [f"{time:%Y-%m-%d %H:%M:%S}" for time in times],
            "cpu": cpu.round(4),
            "memory": (30 + rng.normal(0, 2, rows)).round(4),
            "is_anomaly": labels,
        }
    )


def run(*arguments: str | Path, code: int = 0) -> str:
    return invoke("backtest", "metrics", *arguments, code=code)


def refused(*arguments: str | Path) -> str:
    result = run_command("backtest", "metrics", *arguments)
    assert isinstance(result.exception, (UnreadableFile, OSError))
    return str(result.exception)

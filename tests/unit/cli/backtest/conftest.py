"""Files that several backtests read."""

from __future__ import annotations

import gzip
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.cli.backtest.runs import START, wide


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    wide(900, seed=1).drop("is_anomaly").write_csv(folder / "train.csv")
    test = wide(400, seed=2, start=START + timedelta(minutes=5 * 900), spike=200)
    with gzip.open(folder / "test.csv.gz", "wb") as packed:
        packed.write(test.write_csv().encode())
    wide(900, seed=3, spike=700).write_parquet(folder / "series.parquet")
    return folder

"""What is compiled at its first call is compiled before somebody waits for it."""

import subprocess
import sys

REHEARSED = """
from anomaly_platform.ml.rehearsal import rehearse
rehearse()
from anomaly_platform.ml.features.metrics import append_kernel as append
from anomaly_platform.ml.scoring import calls, one_row
from anomaly_platform.ml.scoring.explaining import search_kernels as search
lazy = one_row.measure_row, one_row.conclude_row, calls.look_ahead, append.next_row
for one in (*lazy, search.put_values, search.look_further, search.in_season):
    print(len(one.signatures) > 0)
"""

TIMED = """
import gc
from datetime import UTC, datetime, timedelta
import numpy as np
import polars as pl
from numba.core.dispatcher import Dispatcher
from anomaly_platform.ml.backtest import series, streaming
from anomaly_platform.ml.rehearsal import rehearse

def kinds():
    return sum(len(one.overloads) for one in gc.get_objects() if isinstance(one, Dispatcher))

rehearse()
noise = np.random.default_rng(1).normal(50, 1, (1000, 2))
noise[800:803] += 40
times = [datetime(2026, 1, 5, tzinfo=UTC) + timedelta(minutes=5 * n) for n in range(1000)]
rows = pl.DataFrame({"at": times, "cpu": noise[:, 0], "memory": noise[:, 1]})
before, compiled, collect = kinds(), [], series.collected

def after_timing(*given):
    compiled.append(kinds() - before)
    return collect(*given)

series.collected = streaming.collected = after_timing
print(series.train_test(rows[:700], rows[700:], time_column="at").is_anomaly.any())
streaming.streaming(rows.select("at", "cpu"), time_column="at")
print(*compiled)
"""


def test_a_backtest_compiles_nothing_while_it_is_timed() -> None:
    said = subprocess.check_output([sys.executable, "-c", TIMED], text=True)
    assert said.split() == ["True", "0", "0"]


def test_a_rehearsal_calls_what_judges_and_explains_one_reading() -> None:
    said = subprocess.check_output([sys.executable, "-c", REHEARSED], text=True)
    assert said.split() == ["True"] * 7

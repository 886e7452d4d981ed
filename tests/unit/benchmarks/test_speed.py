"""The speed benchmark says durations, sizes and memory rightly."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def speed_table(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import speed_table

    yield speed_table
    sys.modules.pop("speed_table", None)


def test_durations_and_sizes_are_in_units_that_suit_them(speed_table):
    assert speed_table.clock(1.5) == "1.50 s"
    assert speed_table.clock(0.0025) == "2.50 ms"
    assert speed_table.clock(3e-6) == "3.0 µs"
    assert speed_table.size(244_300) == "244.3 KB"
    assert speed_table.size(2.5e9) == "2.50 GB"


def test_a_ratio_is_the_peer_over_ours_and_the_other_way_round(speed_table):
    line = speed_table.Line("score", 0.5, "peer", 2.0)
    assert line.faster == 4.0
    assert line.slower == 0.25


def test_runs_take_turns(speed_table):
    order: list[str] = []
    speed_table.in_turns(lambda: order.append("ours"), lambda: order.append("theirs"), 2)
    assert order == ["ours", "theirs", "ours", "theirs"]


def test_peak_memory_sees_what_is_already_given_back():
    # In a process of its own, whose peak is small.
    code = (
        "import sys; sys.path.append('benchmarks'); import numpy as np, speed_table\n"
        "before = speed_table.peak_memory(); np.ones(before // 4)\n"
        "assert speed_table.peak_memory() > before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)

"""A limit that several processes keep together, without Redis."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from pathlib import Path

import pytest

from anomaly_platform.serving.auth import shared_windows
from anomaly_platform.serving.auth.rate_limits import RateLimits


def _ask(folder: Path, times: int) -> int:
    async def ask() -> int:
        rates = RateLimits(100, folder=folder)
        answers = [await rates.take("key", None) for _ in range(times)]
        return sum(answer is not None and answer.granted for answer in answers)

    return asyncio.run(ask())


def test_four_processes_get_one_limit_together(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        granted = pool.starmap(_ask, [(tmp_path, 60)] * 4)
    assert sum(granted) == 100
    assert _ask(tmp_path, 5) == 0, "a worker that starts anew knows of it"


def test_the_window_moves_and_a_restart_of_the_machine_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [time.monotonic()]
    monkeypatch.setattr(shared_windows.time, "monotonic", lambda: clock[0])

    async def story() -> None:
        rates = RateLimits(2, folder=tmp_path)
        one = await rates.take("key", None)
        clock[0] += 30
        two, three = await rates.take("key", None), await rates.take("key", None)
        assert one is not None
        assert two is not None
        assert three is not None
        assert (one.granted, two.granted, three.granted) == (True, True, False)
        assert three.reset_s in (29, 30)
        other = await rates.take("another", None)
        assert other is not None
        assert other.remaining == 1
        clock[0] += 30.1
        four = await rates.take("key", None)
        assert four is not None
        assert (four.granted, four.remaining) == (True, 0)
        clock[0] = 1.0
        five = await rates.take("key", None)
        assert five is not None
        assert (five.granted, five.remaining) == (True, 1)

    asyncio.run(story())


def test_a_folder_that_cannot_be_written_to_leaves_each_process_to_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert _ask(tmp_path / "file", 101) == 100

"""Look-backs in memory: who waits for the database, and what is believed of its answers."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
from anomaly_platform.ml.features.metrics.series_state import SeriesState
from anomaly_platform.serving.predict import look_backs as module
from anomaly_platform.serving.predict.look_backs import FRESH_S, LookBacks, Revision

_FEATURES = MetricFeatureSet()
_SERVED: Any = SimpleNamespace(
    stream=SimpleNamespace(name="iiot"), feature_set=_FEATURES, version=1
)
_SERIES = ("press-1", "temperature")


class _Tables:
    """What the database says of a series; questions can be made to wait."""

    def __init__(self) -> None:
        self.revision = 1
        self.questions = 0
        self.answering = asyncio.Event()
        self.answering.set()

    async def revise(self, *_names: object) -> Revision:
        self.questions += 1
        said = (self.revision,)
        await self.answering.wait()
        return said

    def read(self, *_names: object) -> tuple[SeriesState, Any]:
        return SeriesState.empty(_FEATURES), np.empty(0)


class _Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    found = _Clock()
    monkeypatch.setattr(module, "time", found)
    return found


def test_a_series_that_is_asked_for_again_and_again_never_waits(clock: _Clock) -> None:
    async def ask() -> None:
        tables = _Tables()
        held = LookBacks(tables.revise, tables.read)
        first = await held.get(_SERVED, *_SERIES)
        tables.answering.clear()
        for _ in range(9):
            clock.now += FRESH_S / 10
            assert held.fresh(_SERVED, *_SERIES) is first
            await asyncio.sleep(0)
        assert tables.questions == 2
        tables.answering.set()
        await asyncio.sleep(0.01)
        clock.now += FRESH_S / 2
        assert held.fresh(_SERVED, *_SERIES) is first

    asyncio.run(ask())


def test_an_entry_is_not_used_for_longer_than_a_second_while_no_answer_comes(
    clock: _Clock,
) -> None:
    async def ask() -> None:
        tables = _Tables()
        held = LookBacks(tables.revise, tables.read)
        await held.get(_SERVED, *_SERIES)
        tables.answering.clear()
        clock.now += 0.9 * FRESH_S
        assert held.fresh(_SERVED, *_SERIES) is not None
        clock.now += 0.2 * FRESH_S
        assert held.fresh(_SERVED, *_SERIES) is None

    asyncio.run(ask())


def test_an_answer_from_before_readings_were_stored_is_not_believed(clock: _Clock) -> None:
    async def ask() -> None:
        tables = _Tables()
        held = LookBacks(tables.revise, tables.read)
        before = await held.get(_SERVED, *_SERIES)
        tables.answering.clear()
        clock.now += 0.9 * FRESH_S
        assert held.fresh(_SERVED, *_SERIES) is before
        await asyncio.sleep(0)
        tables.revision = 2
        held.forget(_SERVED, [_SERIES])
        tables.answering.set()
        await asyncio.sleep(0.01)
        assert held.fresh(_SERVED, *_SERIES) is None
        after = await held.get(_SERVED, *_SERIES)
        assert after.revision == (2,)
        assert held.fresh(_SERVED, *_SERIES) is after

    asyncio.run(ask())


def test_a_question_without_an_answer_is_asked_again(clock: _Clock) -> None:
    async def ask() -> None:
        tables = _Tables()
        held = LookBacks(tables.revise, tables.read)
        await held.get(_SERVED, *_SERIES)

        async def refuse(*_names: object) -> Revision:
            raise ConnectionError

        held._revise = refuse
        clock.now += 0.9 * FRESH_S
        assert held.fresh(_SERVED, *_SERIES) is not None
        await asyncio.sleep(0.01)
        held._revise = tables.revise
        assert held.fresh(_SERVED, *_SERIES) is not None
        await asyncio.sleep(0.01)
        assert tables.questions == 2

    asyncio.run(ask())

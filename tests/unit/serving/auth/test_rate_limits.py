"""Never more predictions than the limit in any minute, whatever the moments of asking."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.serving.auth import rate_limits as limits
from anomaly_platform.serving.auth.rate_limits import RateLimits


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@given(
    st.lists(st.floats(0.0, 50.0), min_size=1, max_size=60),
    st.integers(1, 10),
)
def test_no_minute_has_more_than_the_limit(pauses: list[float], limit: int) -> None:
    clock = Clock()
    granted: list[float] = []

    async def ask() -> None:
        rates = RateLimits(limit)
        for pause in pauses:
            clock.now += pause
            allowance = await rates.take("a", None)
            assert allowance is not None
            recent = [one for one in granted if one > clock.now - 60]
            # Exact in both directions: nothing is refused that could be granted.
            assert allowance.granted == (len(recent) < limit)
            if allowance.granted:
                granted.append(clock.now)
                recent.append(clock.now)
            assert allowance.remaining == limit - len(recent)
            assert 1 <= allowance.reset_s <= 60

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "time", clock)
        asyncio.run(ask())


def test_callers_count_apart_and_a_key_may_have_its_own_limit() -> None:
    async def ask() -> None:
        rates = RateLimits(1)
        first = await rates.take("a", None)
        second = await rates.take("a", None)
        other = await rates.take("b", None)
        own = [await rates.take("c", 2) for _ in range(3)]
        assert first is not None
        assert second is not None
        assert other is not None
        assert (first.granted, second.granted, other.granted) == (True, False, True)
        assert [one.granted for one in own if one is not None] == [True, True, False]
        assert first.headers == {
            "RateLimit-Policy": '"predictions";q=1;w=60',
            "RateLimit": '"predictions";r=0;t=60',
        }
        assert await rates.take("a", 0) is None
        assert await RateLimits(0).take("a", None) is None

    asyncio.run(ask())


def test_callers_of_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MOST_CALLERS", 10)

    async def ask() -> int | None:
        windows = limits.ProcessWindows()
        for number in range(100):
            await windows.acquire_entry(str(number), 5, 60)
        assert await windows.check()
        return await windows.reset()

    assert asyncio.run(ask()) == 10

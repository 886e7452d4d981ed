"""What is out of date follows from watermarks alone."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from anomaly_platform.streams.staleness import (
    DayState,
    StreamState,
    needs_first_model,
    stale_feature_days,
    stale_scored_days,
)

FIRST = date(2026, 1, 1)


def day(n: int) -> date:
    return FIRST + timedelta(days=n)


def fresh(n: int, watermark: int = 1, version: int | None = 1) -> DayState:
    return DayState(day(n), watermark, watermark, watermark, version)


def test_late_data_reaches_its_day_and_every_day_that_looks_back_on_it() -> None:
    days = [fresh(0), DayState(day(1), 9, 1, 1, 1), fresh(2), fresh(3), fresh(4)]
    state = StreamState(days, champion=1)
    assert stale_feature_days(state, lookback_days=2) == [day(1), day(2), day(3)]
    assert stale_scored_days(state, lookback_days=2) == [day(1), day(2), day(3)]


def test_a_new_champion_rescores_the_last_seven_days_only() -> None:
    state = StreamState([fresh(n) for n in range(20)], champion=2)
    assert stale_scored_days(state, 1) == [day(n) for n in range(13, 20)]


def test_days_scored_without_a_champion_wait_for_the_first_one() -> None:
    days = [fresh(n, version=None) for n in range(20)]
    assert stale_scored_days(StreamState(days), 1) == []
    assert len(stale_scored_days(StreamState(days, champion=1), 1)) == 20


def test_first_model_waits_for_features_and_is_not_tried_twice_on_the_same_data() -> None:
    ready = [fresh(n, version=None) for n in range(3)]
    assert needs_first_model(StreamState(ready, trainable_series=1), 1)
    assert not needs_first_model(StreamState(ready, trainable_series=0), 1)
    assert not needs_first_model(StreamState(ready, trainable_series=1, trained_watermark=1), 1)
    late = [*ready, DayState(day(3), 2)]
    assert not needs_first_model(StreamState(late, trainable_series=1), 1)


def test_days_after_one_that_left_other_runs_are_scored_again() -> None:
    days = [
        DayState(day(0), 1, 1, 1, 1, runs="a"),
        DayState(day(1), 1, 1, 1, 1, runs="b", runs_before="a"),
        DayState(day(2), 1, 1, 1, 1, runs="c", runs_before="b"),
        DayState(day(4), 1, 1, 1, 1, runs="d", runs_before="c"),
    ]
    assert stale_scored_days(StreamState(days, champion=1), 0) == []
    days[1] = DayState(day(1), 1, 1, 1, 1, runs="other", runs_before="a")
    assert stale_scored_days(StreamState(days, champion=1), 0) == [day(2)]
    days[2] = DayState(day(2), 1, 1, 1, 1, runs="c", runs_before="other")
    assert stale_scored_days(StreamState(days, champion=1), 0) == []


def test_days_after_one_that_left_other_calls_are_scored_again_by_the_same_version() -> None:
    days = [
        DayState(day(0), 1, 1, 1, 1, calls="a"),
        DayState(day(1), 1, 1, 1, 1, calls="b", calls_before="a"),
        # Another version takes up where it was itself.
        DayState(day(2), 1, 1, 1, 2, calls="x"),
        DayState(day(3), 1, 1, 1, 2, calls="y", calls_before="x"),
    ]
    assert stale_scored_days(StreamState(days), 0) == []
    days[0] = DayState(day(0), 1, 1, 1, 1, calls="other")
    assert stale_scored_days(StreamState(days), 0) == [day(1)]
    days[2] = DayState(day(2), 1, 1, 1, 2, calls="other")
    assert stale_scored_days(StreamState(days), 0) == [day(1), day(3)]


def test_days_scored_before_runs_were_kept_are_not_due_for_them() -> None:
    days = [fresh(0), fresh(1), DayState(day(2), 1, 1, 1, 1, runs="c")]
    assert stale_scored_days(StreamState(days, champion=1), 0) == []


@given(
    st.lists(st.tuples(st.integers(1, 9), st.one_of(st.none(), st.integers(1, 9))), max_size=12),
    st.integers(0, 3),
)
def test_after_working_off_what_is_stale_nothing_is(
    marks: list[tuple[int, int | None]], lookback: int
) -> None:
    days = [DayState(day(n), raw, done) for n, (raw, done) in enumerate(marks)]
    stale = set(stale_feature_days(StreamState(days), lookback))
    newest = max((d.raw for d in days), default=0)
    worked = [DayState(d.day, d.raw, newest if d.day in stale else d.features) for d in days]
    assert stale_feature_days(StreamState(worked), lookback) == []

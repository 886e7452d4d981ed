"""What of a stream is out of date: a pure comparison of watermarks, day by day.

A watermark is the number of the newest ingested file that went into something. Whoever works
(the sensors, the command line) asks here what is due instead of remembering what happened, so
that a lost tick, a killed run or a restart changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

#: A promotion re-scores this many days up to the newest one.
RESCORED_DAYS = 7


@dataclass(frozen=True, slots=True)
class DayState:
    """The watermarks of one event day.

    Attributes
    ----------
    day : date
        UTC day that raw rows belong to.
    raw : int
        Newest ingested file with rows of this day.
    features : int or None
        Newest file that the day's features (look-back included) were made from.
    scored : int or None
        Newest file that the day's scores were made from.
    scored_version : int or None
        Bundle that scored the day; ``None`` when no bundle served.
    runs : str or None
        What names the states of runs that the day left; ``None`` where it was scored without any.
    runs_before : str
        What names those that it began with, empty for none.
    calls, calls_before
        The same of the states of calls, which each version has of its own.
    """

    day: date
    raw: int
    features: int | None = None
    scored: int | None = None
    scored_version: int | None = None
    runs: str | None = None
    runs_before: str = ""
    calls: str | None = None
    calls_before: str = ""


@dataclass(frozen=True, slots=True)
class StreamState:
    """Everything the decision needs to know of a stream.

    Attributes
    ----------
    days : sequence of DayState
        The days that have raw rows, ascending.
    champion : int or None
        Version in service.
    trainable_series : int
        Series with enough history to train on.
    trained_watermark : int
        Newest file that any training has seen, 0 before the first one.
    """

    days: Sequence[DayState] = field(default_factory=tuple)
    champion: int | None = None
    trainable_series: int = 0
    trained_watermark: int = 0


def input_watermarks(days: Sequence[DayState], lookback_days: int) -> dict[date, int]:
    """Return per day the newest file among its own rows and its look-back's."""
    raw = {state.day: state.raw for state in days}
    return {
        day: max(raw.get(day - timedelta(days=n), 0) for n in range(lookback_days + 1))
        for day in raw
    }


def stale_feature_days(state: StreamState, lookback_days: int) -> list[date]:
    """Return the days whose raw input is newer than their features."""
    newest = input_watermarks(state.days, lookback_days)
    return [d.day for d in state.days if d.features is None or d.features < newest[d.day]]


def stale_scored_days(state: StreamState, lookback_days: int) -> list[date]:
    """Return the days whose scores lag behind their input or, among the last ones, the champion.

    Part of a day's input is how the runs of its series stood when it began, and at which level the
    version that scored it made calls. Late rows may have changed that: the days after theirs are
    due until they begin as they did.

    Days that were scored before there was any champion lag behind the first one however old
    they are.
    """
    newest = input_watermarks(state.days, lookback_days)
    recent = state.days[-1].day - timedelta(days=RESCORED_DAYS - 1) if state.days else date.max
    begun_otherwise = _begun_otherwise(state)
    return [
        d.day
        for d in state.days
        if d.scored is None
        or d.scored < newest[d.day]
        or d.day in begun_otherwise
        or (
            d.scored_version != state.champion
            and (d.day >= recent or d.scored_version is None)
            and state.champion is not None
        )
    ]


def _begun_otherwise(state: StreamState) -> set[date]:
    """Return the days that began with other states than the day before them has left."""
    found, left = set(), ""
    before: DayState | None = None
    for one in state.days:
        if one.calls is not None:
            # A version begins where it was itself, which may be days before.
            same = before is not None and before.scored_version == one.scored_version
            if before is not None and same and one.calls_before != before.calls:
                found.add(one.day)
            before = one
        if one.runs is not None:
            if one.runs_before != left:
                found.add(one.day)
            left = one.runs
    return found


def needs_first_model(state: StreamState, lookback_days: int) -> bool:
    """Return whether a first model is due: none serves, and history is ready.

    A training that brought forth no champion is tried again only when there is newer data.
    """
    return (
        state.champion is None
        and state.trainable_series > 0
        and max((d.raw for d in state.days), default=0) > state.trained_watermark
        and not stale_feature_days(state, lookback_days)
    )

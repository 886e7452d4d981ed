"""The span of time that a page shows: in its address, or else before the newest reading."""

import datetime as dt
from typing import Final, NamedTuple

from fastapi import Request

from anomaly_platform.console.rendering import link
from anomaly_platform.serving.problems import ApiProblem

RANGES: Final = {
    "6 h": dt.timedelta(hours=6),
    "1 day": dt.timedelta(days=1),
    "7 days": dt.timedelta(days=7),
    "28 days": dt.timedelta(days=28),
    "1 year": dt.timedelta(days=365),
}
_LONGEST: Final = dt.timedelta(days=36_500)
#: Spans around any of them stay within the calendar of `datetime`.
_YEARS: Final = range(1_000, 9_000)
#: Lengths of the spans that a window is divided into, the shortest first.
_STEPS: Final = tuple(
    dt.timedelta(minutes=minutes)
    for minutes in (1, 5, 15, 30, 60, 180, 360, 720, 1440, 4320, 10_080, 43_200)
)


class Shown(NamedTuple):
    """A span of time."""

    since: dt.datetime
    until: dt.datetime

    @property
    def length(self) -> dt.timedelta:
        """How long it is."""
        return self.until - self.since


def moment_of(text: str) -> dt.datetime:
    """Return a time that a page wrote.

    Raises
    ------
    ApiProblem
        422, when it is none, has no zone, or lies in no year that anybody means.
    """
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment.year not in _YEARS:
        raise ApiProblem(422, "a time has the form 2026-11-26T12:30:00Z")
    return moment.astimezone(dt.UTC)


def shown_span(request: Request, newest: dt.datetime | None, usual: str) -> Shown:
    """Return the span in a page's address; without one the usual one before the newest reading.

    Raises
    ------
    ApiProblem
        422, when the address names no span.
    """
    asked = request.query_params
    length = RANGES.get(asked.get("range", ""), RANGES[usual])
    until = newest or dt.datetime.now(dt.UTC)
    if asked.get("until"):
        until = moment_of(asked["until"])
    since = moment_of(asked["since"]) if asked.get("since") else until - length
    if not dt.timedelta(0) < until - since <= _LONGEST:
        raise ApiProblem(422, "a span of time begins before it ends, and is at most 100 years long")
    return Shown(since, until)


def steps_of(shown: Shown, most: int) -> list[dt.datetime]:
    """Return where equal spans begin that cover a window, from a round time on; at most so many.

    Examples
    --------
    >>> day = dt.datetime(2026, 11, 26, 12, 30, tzinfo=dt.UTC)
    >>> edges = steps_of(Shown(day, day + dt.timedelta(hours=5)), 6)
    >>> len(edges), edges[0].isoformat(), edges[-1].isoformat()
    (6, '2026-11-26T12:00:00+00:00', '2026-11-26T17:00:00+00:00')
    """
    epoch = dt.datetime(1970, 1, 5, tzinfo=dt.UTC)  # a Monday
    for step in _STEPS:
        first = epoch + (shown.since - epoch) // step * step
        # The newest reading lies within the last span.
        number = (shown.until - first) // step + 1
        if number <= most:
            break
    else:
        step = shown.length / (most - 1)
        first, number = shown.since, most
    return [first + n * step for n in range(number)]


def range_links(path: str, query: dict[str, str], shown: Shown) -> list[tuple[str, str, bool]]:
    """Return name, address and whether it is chosen, of the usual spans that end where this does.

    Where the address names no end, the spans end at the newest reading.
    """
    kept = {name: one for name, one in query.items() if name not in ("since", "range", "number")}
    return [
        (
            name,
            link(path, **kept, since=shown.until - length)
            if "until" in kept
            else link(path, **kept, range=name),
            abs(shown.length - length) < dt.timedelta(seconds=1),
        )
        for name, length in RANGES.items()
    ]

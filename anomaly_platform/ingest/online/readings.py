"""Readings that arrive one by one: what they may say, by the rules that hold for files.

Here belongs the check of a single reading, fast enough for thousands a second. What the rules are
is decided in `cells` and `event_days`, whose answers these functions repeat; a test holds the two
together. What becomes of a good reading is not decided here.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import count
from typing import Any, Final
from uuid import UUID

import polars as pl

from anomaly_platform.ingest.cells import MAX_METADATA, MAX_NAME, canonical_json
from anomaly_platform.ingest.event_days import FUTURE_ALLOWANCE, NO_TIME
from anomaly_platform.ingest.files.batches import CONTROL
from anomaly_platform.ingest.identity import NOT_A_UUID, NOT_DERIVED, foreign_ids, is_uuid
from anomaly_platform.ingest.notation.times import read_single_times

MAX_EVENT_ID: Final = 64
"""Characters of an event id that are looked at."""

#: What Rust, and so the reading of files, takes for white space.
_BLANKS: Final = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000"
)
_PLAIN_TIME: Final = re.compile(
    r"(?:19|20)\d{2}-\d{2}-\d{2}[T ]\d{2}:\d{2}:[0-5]\d(?:\.\d{1,6})?(Z|[+-]\d{2}:\d{2})"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Reading:
    """One good reading.

    Attributes
    ----------
    entity, metric
        Names, normalised.
    time
        Microseconds since 1970.
    value
        Finite; never −0.
    event_id
        The sender's id, None where it gave none.
    metadata
        Canonical JSON of an object, None without.
    has_time
        Whether the sender said the time; otherwise it is that of arrival.
    """

    entity: str
    metric: str
    time: int
    value: float
    event_id: UUID | None = None
    metadata: str | None = None
    has_time: bool = True


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a reading is not taken: the canonical field at fault and a reason for people."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class RawReading:
    """A reading as it came, by canonical field."""

    entity: str
    metric: str
    value: float
    event_time: str | None = None
    event_id: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ReadingRules:
    """What a stream takes.

    Attributes
    ----------
    start
        The first instant, with a time zone.
    timezone
        Where times without a zone are at home.
    future_allowance
        How far beyond the present a time may lie.
    """

    start: datetime
    timezone: str = "UTC"
    future_allowance: timedelta = FUTURE_ALLOWANCE

    def check(self, raw: Iterable[RawReading], now: datetime) -> list[Reading | Refusal]:
        """Return each reading as it is kept, or why it is not.

        Parameters
        ----------
        raw
            As they came.
        now
            The present by our clock, with a time zone.
        """
        times = _Times(self, now)
        checked = [_check(one, times) for one in raw]
        good = [(n, one) for n, one in enumerate(checked) if isinstance(one, Reading)]
        for place in foreign_ids(
            [one.event_id for _, one in good],
            [(one.entity, one.metric) for _, one in good],
            [one.time for _, one in good],
        ):
            checked[good[place][0]] = Refusal("event_id", NOT_DERIVED)
        return checked

    def times_of(self, texts: Sequence[str], now: datetime) -> list[int] | None:
        """Return times in microseconds since 1970, None where one of them may not be."""
        times = _Times(self, now)
        try:
            read = {text: times.of(text) for text in set(texts)}
        except _RefusedError:
            return None
        return [read[text] for text in texts]


class _RefusedError(Exception):
    """The field at fault, and why."""


class _Times:
    """The times of readings that come together, among which few differ."""

    def __init__(self, rules: ReadingRules, now: datetime) -> None:
        self._arrivals = count(micros(now))
        self._rules = rules
        self._first = micros(rules.start)
        self._last = micros(now + rules.future_allowance)
        self._read: dict[str, int] = {}

    def arrival(self) -> int:
        """Return the time of a reading that came without one.

        Those that come together are a microsecond apart, in their order: they are not the same.
        """
        return next(self._arrivals)

    def of(self, text: str) -> int:
        """Return a time that a reading may have, in microseconds since 1970."""
        known = self._read.get(text)
        if known is not None:
            return known
        time, reason = read_time(text, self._rules.timezone)
        if time is None:
            raise _RefusedError("event_time", reason)
        if time < self._first:
            day = self._rules.start.astimezone(UTC)
            raise _RefusedError("event_time", f"before the stream's first day, {day:%Y-%m-%d}")
        if time > self._last:
            raise _RefusedError("event_time", "in the future")
        self._read[text] = time
        return time


def _check(raw: RawReading, times: _Times) -> Reading | Refusal:
    try:
        return Reading(
            _name(raw.entity, "entity", "the entity"),
            _name(raw.metric, "metric", "the metric's name"),
            times.arrival() if raw.event_time is None else times.of(raw.event_time),
            _finite(raw.value),
            None if raw.event_id is None else _event_id(raw.event_id),
            None if raw.metadata is None else canonical_metadata(raw.metadata),
            raw.event_time is not None,
        )
    except _RefusedError as error:
        return Refusal(*error.args)


def _name(text: str, field: str, what: str) -> str:
    name, reason = read_name(text)
    if reason:
        raise _RefusedError(field, f"{what} {reason}")
    return name


def _finite(value: float) -> float:
    if not math.isfinite(value):
        kind = "NaN" if math.isnan(value) else "infinite"
        raise _RefusedError("value", f"the value is {kind}")
    return value + 0.0


def _event_id(text: str) -> UUID:
    found = uuid_of(text)
    if found is None:
        raise _RefusedError("event_id", NOT_A_UUID)
    return found


def uuid_of(text: str) -> UUID | None:
    """Return an event's id, None where it is none."""
    if len(text) > MAX_EVENT_ID or not is_uuid(text.strip()):
        return None
    return UUID(text.strip())


@lru_cache(maxsize=65_536)
def read_name(text: str) -> tuple[str, str]:
    """Return a name without blanks at its ends in normal form C, and what is wrong with it.

    Examples
    --------
    >>> read_name(" pump-1 ")
    ('pump-1', '')
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "", "is not valid text"
    name = unicodedata.normalize("NFC", text.strip(_BLANKS))
    if not name:
        return "", "is missing"
    if len(name) > MAX_NAME:
        return "", f"is longer than {MAX_NAME} characters"
    if CONTROL.search(name):
        return "", "has control characters"
    return name, ""


def read_time(text: str, timezone: str) -> tuple[int | None, str]:
    """Return a time as microseconds since 1970, or None and why it is none (`notation.times`)."""
    if _PLAIN_TIME.fullmatch(text):
        try:
            return micros(datetime.fromisoformat(text)), ""
        except (ValueError, OverflowError):
            return None, NO_TIME
    if len(text) > 64 or not text.isascii():
        return None, NO_TIME
    read = read_single_times(pl.Series([text]), timezone)
    found: datetime | None = read.times[0]
    return (None, read.reasons[0] or NO_TIME) if found is None else (micros(found), "")


def canonical_metadata(said: Mapping[str, Any]) -> str:
    """Return metadata as canonical JSON; what cannot be kept is refused."""
    try:
        text, size = canonical_json(said)
    except (TypeError, ValueError, RecursionError):
        raise _RefusedError("metadata", "the metadata is not valid JSON") from None
    if size > MAX_METADATA:
        raise _RefusedError("metadata", f"the metadata is longer than {MAX_METADATA:,} bytes")
    if "\\u0000" in text:
        raise _RefusedError("metadata", "the metadata has a NUL character")
    return text


def micros(moment: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND

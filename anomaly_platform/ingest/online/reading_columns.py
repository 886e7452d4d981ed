"""Readings that came together, by column: an object per reading costs more than storing it.

Belongs here: the columns, their way to and from single readings, and out of plain documents. What a
good reading is, is decided in `online_readings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar, cast
from uuid import UUID

import numpy as np
import numpy.typing as npt

from anomaly_platform.ingest.identity import foreign_ids
from anomaly_platform.ingest.online.readings import (
    Reading,
    ReadingRules,
    micros,
    read_name,
    uuid_of,
)

Key = tuple[str, str]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ReadingColumns:
    """Good readings; see `Reading` for what each column means.

    Attributes
    ----------
    keys
        (n,) entity and metric.
    times
        (n,) microseconds since 1970.
    values
        (n,)
    event_ids, metadata, has_time
        (n,) or None: no reading has an id of its sender's, or metadata; every one has a time.
    """

    keys: Sequence[Key]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    event_ids: Sequence[UUID | None] | None = None
    metadata: Sequence[str | None] | None = None
    has_time: Sequence[bool] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(cls, readings: Sequence[Reading]) -> ReadingColumns:
        """Return the columns of readings."""
        n = len(readings)
        return cls(
            [(one.entity, one.metric) for one in readings],
            np.fromiter((one.time for one in readings), np.int64, n),
            np.fromiter((one.value for one in readings), np.float64, n),
            _unless_all([one.event_id for one in readings], None),
            _unless_all([one.metadata for one in readings], None),
            _unless_all([one.has_time for one in readings], True),
        )

    @classmethod
    def joined(cls, parts: Sequence[ReadingColumns]) -> ReadingColumns:
        """Return the readings of all parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            list(chain.from_iterable(one.keys for one in parts)),
            np.concatenate([one.times for one in parts]),
            np.concatenate([one.values for one in parts]),
            _all_of([(len(one), one.event_ids) for one in parts], None),
            _all_of([(len(one), one.metadata) for one in parts], None),
            _all_of([(len(one), one.has_time) for one in parts], True),
        )

    def part(self, start: int, stop: int) -> ReadingColumns:
        """Return the readings from one place to before another."""
        some = slice(start, stop)
        return self._picked(some, lambda column: column[some])

    def take(self, places: npt.NDArray[np.int64]) -> ReadingColumns:
        """Return the readings in some places, in the order of these."""
        chosen = places.tolist()
        return self._picked(places, lambda column: [column[place] for place in chosen])

    def _picked(
        self,
        places: slice | npt.NDArray[np.int64],
        pick: Callable[[Sequence[Any]], Sequence[Any]],
    ) -> ReadingColumns:
        """Return the readings in some places; `pick` takes those of a column that is a list."""
        columns = (self.event_ids, self.metadata, self.has_time)
        return ReadingColumns(
            pick(self.keys),
            self.times[places],
            self.values[places],
            *(None if column is None else pick(column) for column in columns),
        )

    def readings(self) -> list[Reading]:
        """Return them one by one."""
        n = len(self)
        return [
            Reading(key[0], key[1], time, value, event_id, metadata, has_time)
            for key, time, value, event_id, metadata, has_time in zip(
                self.keys,
                self.times.tolist(),
                self.values.tolist(),
                self.event_ids or [None] * n,
                self.metadata or [None] * n,
                self.has_time or [True] * n,
                strict=True,
            )
        ]


def plain_columns(
    documents: Sequence[Any], names: Mapping[str, str], rules: ReadingRules, now: datetime
) -> ReadingColumns | None:
    """Return readings of plain documents; None where one has to be looked at by itself.

    Plain are documents that all have the same members, of the right kinds, and nothing to refuse.
    The readings are those that `ReadingRules.check` makes of them.

    Parameters
    ----------
    documents
        What JSON says, in order.
    names
        Of entity, metric, value, event_time and event_id in the documents.
    rules
        What the stream takes.
    now
        The present by our clock, with a time zone.
    """
    columns = _columns(documents, names)
    if columns is None:
        return None
    n = len(documents)
    timed = "event_time" in columns
    keys = list(map(_key, columns["entity"], columns["metric"]))
    times = (
        rules.times_of(columns["event_time"], now) if timed else range(micros(now), micros(now) + n)
    )
    ids = [uuid_of(text) for text in columns["event_id"]] if "event_id" in columns else []
    numbers = _finite(columns["value"])
    if times is None or numbers is None or None in keys or None in ids:
        return None
    known = cast("list[Key]", keys)
    if foreign_ids(ids, known, times):
        return None
    return ReadingColumns(
        known,
        np.array(times, dtype=np.int64),
        numbers,
        ids or None,
        None,
        None if timed else [False] * n,
    )


def _columns(documents: Sequence[Any], names: Mapping[str, str]) -> dict[str, list[Any]] | None:
    """Return the members of documents that all have the same ones, of the right kinds."""
    if not documents or type(documents[0]) is not dict:
        return None
    members = ["entity", "metric", "value"]
    members += [name for name in ("event_time", "event_id") if names[name] in documents[0]]
    try:
        # Each has these members; that none has more, their number tells.
        columns = {name: list(map(itemgetter(names[name]), documents)) for name in members}
    except (KeyError, TypeError):
        return None
    if sum(map(len, documents)) != len(members) * len(documents):
        return None
    times = columns.get("event_time", [])
    if set(map(type, times)) == {int}:
        columns["event_time"] = list(map(str, times))
    texts = (columns[name] for name in members if name != "value")
    if set(map(type, chain.from_iterable(texts))) != {str}:
        return None
    return columns if set(map(type, columns["value"])) <= {float, int} else None


def _finite(values: list[float]) -> npt.NDArray[np.float64] | None:
    """Return numbers without −0.0, None where one of them is not finite."""
    try:
        numbers = np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    return numbers + 0.0 if np.isfinite(numbers).all() else None


@lru_cache(maxsize=65_536)
def _key(entity: str, metric: str) -> Key | None:
    """Return the names of a series, None where one of them cannot be one."""
    (entity, wrong), (metric, wrong_too) = read_name(entity), read_name(metric)
    return None if wrong or wrong_too else (entity, metric)


def _unless_all(column: list[_T], usual: object) -> list[_T] | None:
    return None if all(one is usual for one in column) else column


def _all_of(parts: Iterable[tuple[int, Sequence[Any] | None]], usual: object) -> list[Any] | None:
    known = list(parts)
    if all(column is None for _, column in known):
        return None
    return [one for n, column in known for one in (column or [usual] * n)]

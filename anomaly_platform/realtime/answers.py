"""What became of readings: by column where all were stored, else one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.storage.tables.online import StoredReading

if TYPE_CHECKING:
    from anomaly_platform.ingest.online.reading_columns import ReadingColumns


Outcome = Literal["stored", "repeated", "conflict"]

OTHER_VALUE: Final = (
    "a reading of this device, metric and time is known with another value; the first one counts"
)
OTHER_READING: Final = "this event id belongs to another reading; every reading has its own"

#: Of `StoredColumns`, what is an array with an element per reading.
_ARRAYS: Final = ("scores", "p_values", "decisions", "late", "thresholds", "calls")


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a reading.

    Attributes
    ----------
    outcome
        ``stored`` now, ``repeated`` when it was known with the same values, ``conflict`` when
        what is known contradicts it.
    reading
        The reading that is kept, with its verdict; None where only the lake has it.
    reason
        Of a conflict, for people.
    """

    outcome: Outcome
    reading: StoredReading | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StoredColumns:
    """Readings that are stored, with their verdicts.

    Attributes
    ----------
    readings
        As they came.
    event_ids
        (16 n,) bytes of their ids.
    scores, p_values
        (n,) NaN where nothing could be said.
    decisions
        (n,) 1 anomaly, 0 none, −1 undecided.
    late
        (n,) whether each came out of order.
    thresholds, statuses, bundle_version
        As in `StoredReading`.
    calls
        (n,) 1 where somebody is told, 0 where nobody is, −1 where nothing can be said.
    """

    readings: ReadingColumns
    event_ids: bytes
    scores: Floats
    p_values: Floats
    decisions: Ints
    late: Bools
    thresholds: Floats
    statuses: Sequence[str]
    bundle_version: int | None
    calls: Ints

    def part(self, start: int, stop: int) -> StoredColumns:
        """Return those from one place to before another."""
        if start == 0 and stop == len(self.readings):
            return self
        some = slice(start, stop)
        return replace(
            self,
            readings=self.readings.part(start, stop),
            event_ids=self.event_ids[16 * start : 16 * stop],
            statuses=self.statuses[some],
            **{name: getattr(self, name)[some] for name in _ARRAYS},
        )

    def at(self, place: int) -> StoredReading:
        """Return one of them."""
        readings = self.readings
        entity, metric = readings.keys[place]
        score, p_value = self.scores.item(place), self.p_values.item(place)
        known, decision = not math.isnan(score), self.decisions.item(place)
        return StoredReading(
            UUID(bytes=self.event_ids[16 * place : 16 * place + 16]),
            entity,
            metric,
            readings.times.item(place),
            readings.values.item(place),
            None if readings.metadata is None else readings.metadata[place],
            score if known else None,
            p_value if known else None,
            None if decision < 0 else decision == 1,
            self.thresholds.item(place),
            self.statuses[place],
            self.late.item(place),
            self.bundle_version,
            None if self.calls[place] < 0 else self.calls.item(place) == 1,
        )

    def answers(self) -> list[Answer]:
        """Return them one by one."""
        return [Answer("stored", self.at(place)) for place in range(len(self.readings))]

"""What was said of readings that were stored together, by column.

Belongs here: the columns, and the single answers that they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from anomaly_platform.storage.tables.online import StoredReading

if TYPE_CHECKING:
    from anomaly_platform.ingest.online.reading_columns import ReadingColumns
    from anomaly_platform.ml.features.metrics.kernels import Ints
    from anomaly_platform.ml.scoring.online import Floats


@dataclass(frozen=True, slots=True)
class StoredColumns:
    """Readings that are stored, all now and all in order, with their verdicts.

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
    thresholds, statuses, bundle_version
        As in `StoredReading`.
    """

    readings: ReadingColumns
    event_ids: bytes
    scores: Floats
    p_values: Floats
    decisions: Ints
    thresholds: Floats
    statuses: Sequence[str]
    bundle_version: int | None

    def part(self, start: int, stop: int) -> StoredColumns:
        """Return those from one place to before another."""
        if start == 0 and stop == len(self.readings):
            return self
        some = slice(start, stop)
        return StoredColumns(
            self.readings.part(start, stop),
            self.event_ids[16 * start : 16 * stop],
            self.scores[some],
            self.p_values[some],
            self.decisions[some],
            self.thresholds[some],
            self.statuses[some],
            self.bundle_version,
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
            False,
            self.bundle_version,
        )

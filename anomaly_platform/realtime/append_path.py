"""Readings that are newer than all that is known of their series, as nearly all are: by column.

Belongs here: telling whether they are, features and verdicts of all in one pass, and the one
statement that stores them. Nothing is locked beforehand: the states in memory are believed, and the
statement finds only rows that are still at the revisions that are known. Where somebody was faster,
and for all other readings, ``online_ingest`` goes the long way, under locks.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from anomaly_platform.ingest.identity import derived_octets
from anomaly_platform.realtime.alerts import tell
from anomaly_platform.realtime.series_state_cache import TAIL_ROWS, HeldSeries
from anomaly_platform.realtime.stored_columns import StoredColumns
from anomaly_platform.storage.postgres.binary_format import (
    NULL,
    Encoded,
    cell_array,
    fixed_array,
    text_array,
    text_cell,
)
from anomaly_platform.storage.tables.online import Source
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ingest.online.reading_columns import ReadingColumns
    from anomaly_platform.ml.features.metrics.kernels import Ints
    from anomaly_platform.platform import Platform
    from anomaly_platform.realtime.readings_at_work import Judge
    from anomaly_platform.storage.postgres.transactions import Connection

_ADD: Final = (
    "SELECT add_newer_readings(%s, %s, %s, %b, %b, %b, %b, %b, %b, %b, %b, "
    "%b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b)"
)


@dataclass(frozen=True, slots=True)
class _Series:
    """The series of some readings, in the order of their rows' ids.

    Attributes
    ----------
    places, counts
        Where each is held, and how many readings it gets.
    last
        (series,) the newest of them.
    tail_rows
        (series,) readings since each row's snapshot afterwards; 0 where a new one is written.
    """

    places: Ints
    counts: Ints
    last: Ints
    tail_rows: Ints


class NewerReadings:
    """Readings on their way into one statement.

    Parameters
    ----------
    stream : MetricStream
        Whose readings.
    readings : ReadingColumns
    judge : Judge
        What scores.
    held : HeldSeries
        The stream's series in memory.

    Attributes
    ----------
    stored : StoredColumns
        What is said of them; there after `judge_all`.
    """

    def __init__(
        self, stream: MetricStream, readings: ReadingColumns, judge: Judge, held: HeldSeries
    ) -> None:
        self._stream = stream
        self._readings = readings
        self._judge = judge
        self._held = held
        self._places: Ints = np.empty(0, dtype=np.int64)
        #: Place of each reading in the order of series and times, where that is not theirs.
        self._order: Ints | None = None

    def find(self) -> bool:
        """Find the series' states; return whether all readings are newer than theirs."""
        found = self._held.places(self._readings.keys)
        places = np.array(found, dtype=np.int64)
        if places.min() < 0 or self._held.revisions[places].min() < 0:
            return False
        times = self._readings.times
        if not (times > self._held.newest(places)).all():
            return False
        if len(set(found)) < len(found):
            order = np.lexsort((times, places))
            ordered = places[order]
            same = ordered[1:] == ordered[:-1]
            if (same & (np.diff(times[order]) == 0)).any():
                return False
            self._order = order
        self._places = places
        return True

    def judge_all(self) -> None:
        """Compute features and verdicts, and add the readings to the states in memory.

        Whoever does not commit them forgets those states.
        """
        readings, held, judge = self._readings, self._held, self._judge
        places, times, values, keys = self._places, readings.times, readings.values, readings.keys
        own = held.own[places]
        thresholds = np.where(np.isnan(own), judge.threshold, own)
        if self._order is None:
            features = held.append(places, times, values)
        else:
            back = np.empty_like(self._order)
            back[self._order] = np.arange(back.size)
            features = held.append(
                places[self._order], times[self._order], values[self._order]
            ).take(back, axis=1)
        said = judge.scorer.judge(keys, times, features, thresholds)
        self.stored = StoredColumns(
            readings,
            self._event_ids(),
            said.score,
            said.p_value,
            np.where(said.decided, said.is_anomaly, -1),
            thresholds,
            said.status,
            judge.version,
        )

    def store(
        self, connection: Connection, platform: Platform, source: Source, now: dt.datetime
    ) -> None:
        """Store readings, states, detections and alerts in one transaction, and commit it.

        Parameters
        ----------
        connection : psycopg.Connection
            In autocommit mode, outside of a transaction.

        Raises
        ------
        psycopg.errors.SerializationFailure
            When somebody else has written readings of one of the series.
        psycopg.errors.UniqueViolation
            When one of the readings is known under its id.
        """
        stored = self.stored
        series = self._series()
        arguments = self._arguments(series, source)
        flagged = [stored.at(place) for place in np.flatnonzero(stored.decisions == 1).tolist()]
        if flagged:
            with connection.transaction():
                connection.execute(_ADD, arguments)
                tell(connection, platform, self._stream, flagged, now)
        else:
            connection.execute(_ADD, arguments)
        self._held.committed(series.places, series.tail_rows)

    def _event_ids(self) -> bytes:
        readings = self._readings
        derived = derived_octets(readings.keys, readings.times)
        if readings.event_ids is None:
            return derived
        return b"".join(
            derived[16 * n : 16 * n + 16] if given is None else given.bytes
            for n, given in enumerate(readings.event_ids)
        )

    def _series(self) -> _Series:
        places, times, held = self._places, self._readings.times, self._held
        if self._order is None:
            order = held.ids[places].argsort()
            own, last = places[order], times[order]
            counts = np.ones_like(own)
        else:
            own, first, counts = np.unique(
                places[self._order], return_index=True, return_counts=True
            )
            last = times[self._order][first + counts - 1]
            order = held.ids[own].argsort()
            own, counts, last = own[order], counts[order], last[order]
        rows = held.tail_rows[own] + counts
        return _Series(own, counts, last, np.where(rows > TAIL_ROWS, 0, rows))

    def _arguments(self, series: _Series, source: Source) -> tuple[Any, ...]:
        readings, stored, held = self._readings, self.stored, self._held
        places, of_series = self._places.tolist(), series.places.tolist()
        whole = series.places[series.tail_rows == 0]
        return (
            *(self._stream.name, source, stored.bundle_version),
            fixed_array("int8", held.ids[series.places]),
            fixed_array("int8", held.revisions[series.places]),
            fixed_array("timestamptz", series.last),
            cell_array([held.entities[place] for place in of_series]),
            cell_array([held.metrics[place] for place in of_series]),
            fixed_array("float8", held.own[series.places]),
            fixed_array("int8", held.ids[whole]),
            text_array(held.snapshots(whole.tolist()), "bytea"),
            fixed_array("uuid", stored.event_ids),
            cell_array([held.entities[place] for place in places]),
            cell_array([held.metrics[place] for place in places]),
            fixed_array("timestamptz", readings.times),
            fixed_array("float8", readings.values),
            _metadata(readings),
            fixed_array("float8", stored.scores),
            fixed_array("float8", stored.p_values),
            fixed_array("int2", stored.decisions),
            fixed_array("float8", stored.thresholds),
            cell_array([_STATUS[status] for status in stored.statuses]),
        )


_STATUS: Final = {name: text_cell(name) for name in ("trained", "insufficient_history", "failed")}


def _metadata(readings: ReadingColumns) -> Encoded | None:
    if readings.metadata is None:
        return None
    return cell_array([NULL if one is None else text_cell(one) for one in readings.metadata])

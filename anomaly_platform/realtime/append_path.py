"""The way of readings into the tables, by column: features, verdicts, and what stores them.

Belongs here: one attempt. Readings that are all newer than what is in memory of their series, as
nearly all are, are believed to be new, and nothing is locked beforehand: the statement finds only
rows that are still at the revisions that are known. Otherwise the caller locks the series, and
`duplicates` tells which readings are new, and which of these are late. Does not belong here: the
order of attempts and locks (``ingest``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from anomaly_platform.ingest.online.id_kernels import octets_at
from anomaly_platform.ml.arrays import Bools, Floats, Ints
from anomaly_platform.ml.scoring.call_states import VISITED
from anomaly_platform.ml.scoring.calls import Told, rates_of, tell
from anomaly_platform.ml.scoring.explaining.words import roles_of
from anomaly_platform.ml.scoring.reasons import clock_of, novelty_reason
from anomaly_platform.ml.series_model.visited import SINCE
from anomaly_platform.ml.series_runs.layout import RUN_COLUMNS
from anomaly_platform.ml.written import as_given
from anomaly_platform.notifications.outbox import Outbox
from anomaly_platform.realtime.added_rows import MovedSeries, add_rows, arguments_of
from anomaly_platform.realtime.alerts import raise_for
from anomaly_platform.realtime.answers import Answer, StoredColumns
from anomaly_platform.realtime.duplicates import Duplicates
from anomaly_platform.realtime.series_state_cache import TAIL_ROWS, UNTOLD, CachedSeries
from anomaly_platform.storage.lake.call_states import stage_of
from anomaly_platform.storage.postgres.binary_format import Encoded, cell_array, fixed_array
from anomaly_platform.storage.tables.online import Key, Source
from anomaly_platform.storage.tables.partitions import has_partitions
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ingest.online.reading_columns import ReadingColumns
    from anomaly_platform.ml.scoring.explaining.numbers import Explanation
    from anomaly_platform.ml.scoring.online import OnlineScorer, Verdicts
    from anomaly_platform.storage.postgres.transactions import Connection

MOST_EXPLAINED: Final = 200
"""So many anomalies and calls of a transaction are explained at once, each within milliseconds."""

_PROVISIONAL: Final = (
    "UPDATE online_readings r SET provisional = true "
    "FROM unnest(%b::text[], %b::text[], %b::timestamptz[]) k(entity, metric, event_time) "
    "WHERE r.stream = %s AND r.entity = k.entity AND r.metric = k.metric "
    "AND r.event_time = k.event_time"
)


@dataclass(frozen=True)
class Judge:
    """What scores: one version from a transaction's start to its end.

    Attributes
    ----------
    version
        Of the bundle; None where the statistical fallback alone serves.
    scorer
        Its models. Its features are those of the stream.
    threshold
        The stream's; series may have their own (``thresholds``).
    """

    version: int | None
    scorer: OnlineScorer
    threshold: float


class Append:
    """Readings on their way into one transaction.

    Parameters
    ----------
    stream : MetricStream
        Whose readings.
    readings : ReadingColumns
    judge : Judge
        What scores.
    cached : CachedSeries
        The stream's series in memory.

    Attributes
    ----------
    stream, readings, judge
        As given; of the readings those that are to be stored.
    """

    def __init__(
        self, stream: MetricStream, readings: ReadingColumns, judge: Judge, cached: CachedSeries
    ) -> None:
        self.stream = stream
        self.readings = readings
        self.judge = judge
        self._cached = cached
        self._places: Ints = np.empty(0, dtype=np.int64)
        #: Whether a series has more than one of the readings.
        self._several = False
        self._late = np.zeros(len(readings), dtype=np.bool_)
        #: What is not new, and which readings are; None as long as all are believed to be.
        self._duplicates: tuple[Duplicates, Ints] | None = None
        #: Of which readings the sender gave an id of its own.
        self._given: Bools | None = None
        self._series: MovedSeries | None = None
        #: Why readings are anomalies or calls, by place.
        self._reasons: dict[int, str] = {}
        self._explanations: dict[int, Explanation] = {}

    def find_series(self) -> None:
        """Find where the series are in memory; −1 for those that are not."""
        self._places, self._several = self._cached.find(self.readings.keys)

    def look_for_calls(self, connection: Connection) -> bool:
        """Return whether what is held of calls still holds: no version has left its first states.

        Where one has, its series are to be told of anew.
        """
        begins = self._places[self._cached.begins[self._places]]
        if not begins.size:
            return True
        stage = stage_of(self.judge.version)
        if not has_partitions(connection, self.stream.name, stage):
            return True
        self._cached.versions[begins] = UNTOLD
        return False

    def is_newer(self) -> bool:
        """Return whether the readings are all newer than what is in memory of their series."""
        places, times = self._places, self.readings.times
        if places.min() < 0 or self._cached.revisions[places].min() < 0:
            return False
        if (self._cached.versions[places] != (self.judge.version or 0)).any():
            return False
        if not (times > self._cached.newest(places)).all():
            return False
        if not self._several:
            return True
        order = np.lexsort((times, places))
        same = places[order[1:]] == places[order[:-1]]
        return not (same & (np.diff(times[order]) == 0)).any()

    def leave_out_known(self, connection: Connection) -> bool:
        """Go on with the new readings, if there are any; return whether. The series are locked."""
        found = Duplicates(self.stream.name, self.readings, self._places, self._cached)
        rows = found.find(connection)
        self._duplicates = found, rows
        self.readings = self.readings.take(rows)
        self._places, self._late = self._places[rows], found.late[rows]
        return bool(rows.size)

    def untold(self) -> list[Key]:
        """Return the series of which nobody knows at which level the version calls."""
        version, held = self.judge.version or 0, self._cached.versions
        keys = zip(self._places.tolist(), self.readings.keys, strict=True)
        return sorted({key for place, key in keys if held.item(place) != version})

    def judge_all(self) -> None:
        """Compute features and verdicts, and add the readings to the series in memory.

        Whoever does not commit them forgets those series.
        """
        readings, judge = self.readings, self.judge
        own = self._cached.own[self._places]
        thresholds: Floats = np.where(np.isnan(own), judge.threshold, own)
        features = self._features()
        said = judge.scorer.judge(readings.keys, readings.times, features, thresholds)
        told = self._tell(said, thresholds)
        self._explain(features, said, thresholds, told)
        for n in np.flatnonzero(told.novel).tolist():
            since = self._cached.calls[self._places[n], VISITED + SINCE]
            value, time = readings.values.item(n), readings.times.item(n)
            self._reasons[n] = novelty_reason(
                *(value, time, since, told.bounds[:, n], self._reasons.get(n, "")),
                trained_until=judge.scorer.source.trained_until(*readings.keys[n]),
            )
        self._stored = StoredColumns(
            readings,
            self._event_ids(),
            said.score,
            said.p_value,
            np.where(said.decided, said.is_anomaly, -1),
            self._late,
            thresholds,
            said.status,
            judge.version,
            np.where(np.isnan(said.p_value) & ~told.novel, -1, told.calls),
        )

    def store(
        self,
        connection: Connection,
        outbox: Outbox,
        source: Source,
        now: dt.datetime,
        meanwhile: Callable[[StoredColumns], None] = lambda _: None,
    ) -> None:
        """Store readings, states, detections and alerts in one transaction.

        What is to be stored is handed to `meanwhile` while PostgreSQL works.

        Raises
        ------
        psycopg.errors.SerializationFailure
            When somebody else has written readings of one of the series.
        psycopg.errors.UniqueViolation
            When one of the readings is known under its id.
        """
        stored = self._stored
        self._series = series = self._series_of_readings()
        late = np.flatnonzero(stored.late).tolist()
        unusual = [
            replace(
                stored.at(place),
                reason=self._reasons.get(place),
                explanation=self._explanations.get(place),
            )
            for place in np.flatnonzero((stored.decisions == 1) | (stored.calls == 1)).tolist()
        ]
        with connection.transaction() if late or unusual else nullcontext():
            arguments = arguments_of(
                *(self.stream.name, source, stored, self._given),
                *(self._cached, self._places, series),
            )
            add_rows(connection, arguments, partial(meanwhile, stored))
            if late:
                connection.execute(_PROVISIONAL, (*self._names(late), self.stream.name))
            if unusual:
                raise_for(connection, outbox, self.stream, unusual, now)

    def committed(self) -> StoredColumns | list[Answer]:
        """Take note of the commit, and return what became of the readings."""
        if self._series is not None:
            self._cached.committed(self._series.places, self._series.tail_rows)
        if self._duplicates is None:
            return self._stored
        found, rows = self._duplicates
        return found.answers({row: self._stored.at(n) for n, row in enumerate(rows.tolist())})

    def _features(self) -> Floats:
        """Return features and run columns: late ones as of their place, the others in order."""
        places, times, values = self._places, self.readings.times, self.readings.values
        late = np.flatnonzero(self._late)
        if not (late.size or self._several):
            return self._cached.append(places, times, values)
        features = np.empty((len(self.stream.features.names) + RUN_COLUMNS, times.size))
        for n in late[np.argsort(times[late], kind="stable")].tolist():
            features[:, n] = self._cached.insert(places.item(n), times.item(n), values.item(n))
        rest = np.flatnonzero(~self._late)
        rest = rest[np.lexsort((times[rest], places[rest]))]
        features[:, rest] = self._cached.append(places[rest], times[rest], values[rest])
        return features

    def _tell(self, said: Verdicts, thresholds: Floats) -> Told:
        """Return what is told of the readings, each series' in order of time."""
        readings, cached, alpha = self.readings, self._cached, self.judge.scorer.source.alpha
        cached.begin_calls_anew(self._places)
        columns = (self._places, readings.times, readings.values, said.p_value, thresholds)
        if not self._several:
            told = _tell(cached.calls, columns, alpha)
        else:
            order = np.lexsort((readings.times, self._places))
            told = _tell(cached.calls, [column[order] for column in columns], alpha)
            back = order.argsort()
            told = Told(told.calls[back], told.novel[back], told.bounds[:, back])
        # What a late one changes is known once the states are derived anew.
        cached.versions[self._places[self._late]] = UNTOLD
        return told

    def _explain(self, features: Floats, said: Verdicts, thresholds: Floats, told: Told) -> None:
        """Say why readings are anomalies or calls, of all together, sorted by series."""
        unusual = np.flatnonzero(said.is_anomaly | (told.calls & ~told.novel)).tolist()
        if not unusual:
            return
        readings, roles = self.readings, roles_of(said.is_anomaly)
        some = sorted(unusual[:MOST_EXPLAINED], key=readings.keys.__getitem__)
        found = self.judge.scorer.explain(
            [readings.keys[place] for place in some],
            *(readings.times[some], features[:, some], said.kinds[some]),
            *(thresholds[some], roles[some]),
        )
        for place, one in zip(some, found, strict=True):
            self._reasons[place], self._explanations[place] = one.reason, one.explanation
        for place in unusual[MOST_EXPLAINED:]:
            clock = clock_of(readings.times.item(place))
            value = as_given(readings.values.item(place))
            self._reasons[place] = f"{value} is not usual at {clock}"

    def _event_ids(self) -> bytes:
        """Return the ids of the readings, and take note of those that senders gave."""
        readings = self.readings
        derived = octets_at(self._cached.digests, self._places, readings.times)
        if readings.event_ids is None:
            return derived
        own = [derived[at : at + 16] for at in range(0, len(derived), 16)]
        ids = [
            id_ if given is None else given.bytes
            for id_, given in zip(own, readings.event_ids, strict=True)
        ]
        self._given = np.array([one != id_ for one, id_ in zip(ids, own, strict=True)])
        return b"".join(ids)

    def _series_of_readings(self) -> MovedSeries:
        cached = self._cached
        own, counts = self._places, np.ones_like(self._places)
        if self._several:
            own, counts = np.unique(own, return_counts=True)
        order = cached.ids[own].argsort()
        own, counts = own[order], counts[order]
        rows = cached.tail_rows[own] + counts
        # What comes together would else be due together.
        rows[rows > TAIL_ROWS + cached.ids[own] % TAIL_ROWS] = 0
        if self._late.any():
            # Late ones may belong before the snapshot's end.
            rows[np.isin(own, self._places[self._late])] = 0
        return MovedSeries(own, rows)

    def _names(self, some: slice | list[int]) -> tuple[Encoded, Encoded, Encoded]:
        """Return entity, metric and time of some readings."""
        cached, places = self._cached, self._places[some].tolist()
        return (
            cell_array([cached.entities[place] for place in places]),
            cell_array([cached.metrics[place] for place in places]),
            fixed_array("timestamptz", self.readings.times[some]),
        )


def _tell(states: Floats, columns: Sequence[Any], alpha: float) -> Told:
    places, times, values, p_values, thresholds = columns
    return tell(states, places, times, values, p_values, rates_of(thresholds, alpha))

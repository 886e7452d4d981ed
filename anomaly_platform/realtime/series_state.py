"""The past of series, for scoring their next reading: in a table, or in the lake.

Belongs here: finding a series' state and making its first one. Does not belong here: what a state
is (``ml.features.metrics.series_state``), what of it is in memory (``series_state_cache``), nor the
statements (``storage.tables.online``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from anomaly_platform.ml.arrays import Floats, Ints
from anomaly_platform.ml.times import time_of
from anomaly_platform.realtime.call_states import CallsFound, CallsNow
from anomaly_platform.realtime.series_state_cache import CachedState
from anomaly_platform.storage.lake.lake import Lake
from anomaly_platform.storage.lake.run_states import run_state_files
from anomaly_platform.storage.postgres.transactions import Transactions
from anomaly_platform.storage.tables import online
from anomaly_platform.storage.tables.online import TAIL, Key, StateRow
from anomaly_platform.storage.tables.partitions import Partitions
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
    from anomaly_platform.ml.features.metrics.series_state import SeriesState


class SeriesStates:
    """Finds the past of series.

    Parameters
    ----------
    transactions : Transactions
        Of the tables.
    lake : Lake
        The validated days.
    partitions : Partitions
        Which of them there are.
    """

    def __init__(self, transactions: Transactions, lake: Lake, partitions: Partitions) -> None:
        self._transactions = transactions
        self._lake = lake
        self._partitions = partitions
        self._calls = CallsNow(transactions, lake, partitions)

    def calls(
        self,
        stream: MetricStream,
        version: int | None,
        alpha: float,
        keys: Sequence[Key],
        first: Callable[[Key], Floats],
    ) -> CallsFound:
        """Return at which level a version calls on series; see `CallsNow.of`."""
        return self._calls.of(stream.name, version, keys, alpha=alpha, first=first)

    def look_back(self, stream: MetricStream, entity: str, metric: str) -> SeriesState:
        """Return the newest readings of a series, without any lock.

        What ingest keeps, unless a file has brought newer readings or nothing is kept yet: then
        what the lake and the online readings hold. Nothing is stored.
        """
        with self._transactions.begin() as connection:
            row = connection.execute(
                "SELECT s.state, tail.times, tail.values "  # noqa: S608
                "FROM series_state s JOIN series_heads h USING (id) LEFT JOIN series b "
                "ON b.stream = s.stream AND b.entity = s.entity AND b.metric = s.metric "
                f"{TAIL} WHERE s.stream = %s AND s.entity = %s AND s.metric = %s "
                "AND s.feature_version = %s "
                "AND (b.last_event IS NULL OR h.last_event >= b.last_event)",
                (stream.name, entity, metric, stream.features.version),
            ).fetchone()
        if row is None:
            return self._build(stream, [(entity, metric)])[entity, metric]
        return read_state(stream.features, *row)

    def ensure(self, stream: MetricStream, keys: Sequence[Key]) -> dict[Key, int]:
        """Return the ids of series' rows, after making those that are not there."""
        with self._transactions.begin() as connection:
            found = online.find_states(connection, stream.name, keys)
        missing = [key for key in keys if key not in found]
        if missing:
            states = self._build(stream, missing)
            with self._transactions.begin() as connection:
                online.make_states(
                    connection,
                    stream.name,
                    stream.features.version,
                    (
                        (key, state.to_bytes(), int(state.times[-1]) if state.times.size else None)
                        for key, state in states.items()
                    ),
                )
            with self._transactions.begin() as connection:
                found |= online.find_states(connection, stream.name, missing)
        return found

    def _build(self, stream: MetricStream, keys: Sequence[Key]) -> dict[Key, SeriesState]:
        """Return the states of series from what the lake and the online readings hold of them.

        Where both have a reading of a time, the lake's counts: it is the one that validation kept.
        """
        parts = (self._from_lake(stream, keys), self._from_readings(stream, keys))
        before, states = self._runs_before(stream, parts[0]), {}
        for key in keys:
            found = [part[key] for part in parts if key in part]
            times = [times for times, _ in found] or [np.empty(0, dtype=np.int64)]
            values = [values for _, values in found] or [np.empty(0)]
            states[key] = _merged(
                stream.features, np.concatenate(times), np.concatenate(values), before.get(key)
            )
        return states

    def _runs_before(
        self, stream: MetricStream, rows: Mapping[Key, tuple[Ints, Floats]]
    ) -> dict[Key, Floats]:
        """Return how the runs of series stood at the start of the day of their first row."""
        days: dict[str, list[Key]] = {}
        for key, (times, _) in rows.items():
            days.setdefault(time_of(int(times.min())).date().isoformat(), []).append(key)
        files = run_state_files(self._lake, self._partitions, stream.name)
        found: dict[Key, Floats] = {}
        for day, keys in days.items():
            states = files.read(files.before(day), keys)
            found |= {key: states.of(key) for key in keys}
        return found

    def _from_lake(
        self, stream: MetricStream, keys: Sequence[Key]
    ) -> dict[Key, tuple[Ints, Floats]]:
        with self._transactions.begin() as connection:
            rows = connection.execute(
                "SELECT s.entity, s.metric, s.last_event "
                "FROM unnest(%s::text[], %s::text[]) k(entity, metric) JOIN series s "
                "ON s.stream = %s AND s.entity = k.entity AND s.metric = k.metric "
                "WHERE s.last_event IS NOT NULL",
                ([key[0] for key in keys], [key[1] for key in keys], stream.name),
            ).fetchall()
        wanted: dict[dt.date, list[Key]] = {}
        for entity, metric, last in rows:
            for back in range(stream.lookback_days + 1):
                day = (last - dt.timedelta(days=back)).date()
                wanted.setdefault(day, []).append((entity, metric))
        frames = [self._of_day(stream, day, wanted[day]) for day in sorted(wanted)]
        return _by_series(pl.concat(frames)) if frames else {}

    def _of_day(self, stream: MetricStream, day: dt.date, keys: Sequence[Key]) -> pl.DataFrame:
        from anomaly_platform.ingest.bucketing import bucket

        columns = ("entity", "metric", "event_time", "value")
        source = self._partitions.get(stream.name, "validated_events", day.isoformat())
        if source is None:
            return pl.DataFrame(schema=_ROWS)
        buckets = [bucket(entity) for entity, _ in keys]
        rows = self._lake.read(
            source.path, columns=columns, between={"bucket": (min(buckets), max(buckets))}
        )
        series = pl.DataFrame(
            list(keys), schema={"entity": pl.String, "metric": pl.String}, orient="row"
        )
        return rows.join(series, on=["entity", "metric"], how="semi")

    def _from_readings(
        self, stream: MetricStream, keys: Sequence[Key]
    ) -> dict[Key, tuple[Ints, Floats]]:
        with self._transactions.begin() as connection:
            rows = connection.execute(
                "SELECT k.entity, k.metric, r.event_time, r.value "
                "FROM unnest(%s::text[], %s::text[]) k(entity, metric) CROSS JOIN LATERAL ("
                "SELECT event_time, value FROM online_readings o WHERE o.stream = %s "
                "AND o.entity = k.entity AND o.metric = k.metric "
                "ORDER BY o.event_time DESC LIMIT %s) r",
                (
                    [key[0] for key in keys],
                    [key[1] for key in keys],
                    stream.name,
                    stream.features.capacity,
                ),
            ).fetchall()
        return _by_series(pl.DataFrame(rows, schema=_ROWS, orient="row"))


def cached_state(feature_set: MetricFeatureSet, row: StateRow) -> CachedState:
    """Return what a locked row with its past says."""
    state = read_state(feature_set, row.state or b"", row.times, row.values)
    return CachedState(row.id, row.revision, len(row.times or ()), state, row.threshold)


def read_state(
    feature_set: MetricFeatureSet,
    state: bytes,
    times: Sequence[int] | None,
    values: Sequence[float] | None,
) -> SeriesState:
    """Return the state that a row's snapshot and the readings behind it make (``online.TAIL``).

    Raises
    ------
    ValueError
        When the bytes are no state of this feature set.
    """
    from anomaly_platform.ml.features.metrics.series_state import SeriesState

    snapshot = SeriesState.from_bytes(bytes(state))
    if snapshot.feature_version != feature_set.version:
        raise ValueError(
            f"the state was kept for features {snapshot.feature_version}, not {feature_set.version}"
        )
    if not times or not values:
        return snapshot
    return SeriesState.of(
        feature_set,
        np.concatenate((snapshot.times, np.array(times, dtype=np.int64))),
        np.concatenate((snapshot.values, np.array(values))),
        snapshot.before,
    )


def _merged(
    feature_set: MetricFeatureSet, times: Ints, values: Floats, before: Floats | None
) -> SeriesState:
    """Return the state after readings in any order; of two at one time the first counts."""
    from anomaly_platform.ml.features.metrics.series_state import SeriesState

    order = np.argsort(times, kind="stable")
    times, values = times[order].astype(np.int64), values[order].astype(np.float64)
    first = np.ones(times.size, dtype=np.bool_)
    first[1:] = times[1:] != times[:-1]
    return SeriesState.of(feature_set, times[first], values[first], before)


_ROWS: Final[dict[str, Any]] = {
    "entity": pl.String,
    "metric": pl.String,
    "event_time": pl.Datetime("us", "UTC"),
    "value": pl.Float64,
}


def _by_series(rows: pl.DataFrame) -> dict[Key, tuple[Ints, Floats]]:
    found = {}
    for (entity, metric), part in rows.group_by("entity", "metric"):
        times = part["event_time"].dt.epoch("us").to_numpy()
        values = part["value"].fill_null(float("nan")).to_numpy()
        found[str(entity), str(metric)] = (times, values)
    return found

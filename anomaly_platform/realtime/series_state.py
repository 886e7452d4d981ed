"""The past of series, for scoring their next reading: in a table, or in the lake.

Belongs here: finding a series' state and making its first one. Does not belong here: what a state
is (``ml.features.online``), what of it is in memory (``held_states``), nor the statements
(``online``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from anomaly_platform.platform import Platform
from anomaly_platform.realtime.series_state_cache import HeldState
from anomaly_platform.storage.tables import online
from anomaly_platform.storage.tables.online import Key, StateRow
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from anomaly_platform.ml.features.metrics.definition import MetricFeatureSet
    from anomaly_platform.ml.features.metrics.series_state import SeriesState

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


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
    )


def held_state(feature_set: MetricFeatureSet, row: StateRow) -> HeldState:
    """Return what a locked row with its past holds."""
    state = read_state(feature_set, row.state or b"", row.times, row.values)
    return HeldState(row.id, row.revision, len(row.times or ()), state, row.threshold)


def merged(feature_set: MetricFeatureSet, times: Ints, values: Floats) -> SeriesState:
    """Return the state after readings in any order; of two at one time the first counts."""
    from anomaly_platform.ml.features.metrics.series_state import SeriesState

    order = np.argsort(times, kind="stable")
    times, values = times[order].astype(np.int64), values[order].astype(np.float64)
    first = np.ones(times.size, dtype=np.bool_)
    first[1:] = times[1:] != times[:-1]
    return SeriesState.of(feature_set, times[first], values[first])


def store_first_states(
    platform: Platform, stream: MetricStream, states: dict[Key, SeriesState]
) -> None:
    """Store states of series that have none, in a transaction of its own."""
    with platform.warehouse.transactions.begin() as connection:
        online.make_states(
            connection,
            stream.name,
            stream.features.version,
            (
                (key, state.to_bytes(), int(state.times[-1]) if state.times.size else None)
                for key, state in states.items()
            ),
        )


def build_states(
    platform: Platform, stream: MetricStream, keys: Sequence[Key]
) -> dict[Key, SeriesState]:
    """Return the states of series from what the lake and the online readings hold of them.

    Where both have a reading of a time, the lake's counts: it is the one that validation kept.
    """
    lake = _from_lake(platform, stream, keys)
    recent = _from_readings(platform, stream, keys)
    states = {}
    for key in keys:
        parts = [part[key] for part in (lake, recent) if key in part]
        times = [times for times, _ in parts] or [np.empty(0, dtype=np.int64)]
        values = [values for _, values in parts] or [np.empty(0)]
        states[key] = merged(stream.features, np.concatenate(times), np.concatenate(values))
    return states


def _from_lake(
    platform: Platform, stream: MetricStream, keys: Sequence[Key]
) -> dict[Key, tuple[Ints, Floats]]:
    with platform.warehouse.transactions.begin() as connection:
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
    frames = [_of_day(platform, stream, day, wanted[day]) for day in sorted(wanted)]
    return _by_series(pl.concat(frames)) if frames else {}


def _of_day(
    platform: Platform, stream: MetricStream, day: dt.date, keys: Sequence[Key]
) -> pl.DataFrame:
    from anomaly_platform.ingest.bucketing import bucket

    columns = ("entity", "metric", "event_time", "value")
    source = platform.warehouse.partitions.get(stream.name, "validated_events", day.isoformat())
    if source is None:
        return pl.DataFrame(schema=_ROWS)
    buckets = [bucket(entity) for entity, _ in keys]
    rows = platform.lake.read(
        source.path, columns=columns, between={"bucket": (min(buckets), max(buckets))}
    )
    series = pl.DataFrame(
        list(keys), schema={"entity": pl.String, "metric": pl.String}, orient="row"
    )
    return rows.join(series, on=["entity", "metric"], how="semi")


def _from_readings(
    platform: Platform, stream: MetricStream, keys: Sequence[Key]
) -> dict[Key, tuple[Ints, Floats]]:
    with platform.warehouse.transactions.begin() as connection:
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

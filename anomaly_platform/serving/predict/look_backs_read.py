"""Where look-backs come from: what ingest keeps, and behind it what the batch knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomaly_platform.realtime.series_state import SeriesStates
from anomaly_platform.storage.lake.call_states import stage_of

if TYPE_CHECKING:
    from anomaly_platform.ml.arrays import Floats
    from anomaly_platform.ml.features.metrics.series_state import SeriesState
    from anomaly_platform.serving.champions.served import ServedMetrics
    from anomaly_platform.serving.predict.look_backs import Revision
    from anomaly_platform.storage.postgres.transactions import Pool


async def revision_of(
    pool: Pool, served: ServedMetrics, entity: str, metric: str
) -> Revision | None:
    """Return what changes when a series gets new readings, or a day of it is scored again.

    None where nobody knows the series.
    """
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT (SELECT last_event FROM series WHERE stream = %(stream)s "
            "AND entity = %(entity)s AND metric = %(metric)s AND rows > 0), "
            # A state that was pruned and made anew counts from the beginning, under another id.
            "(SELECT ARRAY[id, revision] FROM series_state JOIN series_heads USING (id) "
            "WHERE stream = %(stream)s AND entity = %(entity)s AND metric = %(metric)s), "
            "(SELECT path FROM lake_partitions WHERE stream = %(stream)s AND stage = %(calls)s "
            'ORDER BY partition COLLATE "C" DESC LIMIT 1)',
            {
                "stream": served.stream.name,
                "entity": entity,
                "metric": metric,
                "calls": stage_of(served.version),
            },
        )
        row = await cursor.fetchone()
    return None if row is None or row[:2] == (None, None) else tuple(row)


def read_look_back(
    states: SeriesStates, served: ServedMetrics, entity: str, metric: str
) -> tuple[SeriesState, Floats]:
    """Return the newest readings of a series, and the state at which the version calls on it."""
    from anomaly_platform.ml.features.metrics.series_state import SeriesState

    state, wanted = states.look_back(served.stream, entity, metric), served.feature_set
    with served.predicting() as scorer:
        first = scorer.first_calls((entity, metric))
    key = entity, metric
    found = states.calls(*(served.stream, served.version, served.alpha, [key]), lambda _: first)
    if state.feature_version != wanted.version:
        # The champion was trained on another set of features, of which the readings are the same.
        state = SeriesState.of(wanted, state.times, state.values, state.before)
    return state, found.states[key]

"""Where look-backs come from: what ingest keeps, and behind it what the batch knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomaly_platform.realtime.series_state import SeriesStates

if TYPE_CHECKING:
    from anomaly_platform.ml.features.metrics.series_state import SeriesState
    from anomaly_platform.serving.champions.served import ServedMetrics
    from anomaly_platform.serving.predict.look_backs import Revision
    from anomaly_platform.storage.postgres.transactions import Pool


async def revision_of(pool: Pool, stream: str, entity: str, metric: str) -> Revision | None:
    """Return what changes when a series gets new readings; None where nobody knows the series."""
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT (SELECT last_event FROM series WHERE stream = %(stream)s "
            "AND entity = %(entity)s AND metric = %(metric)s AND rows > 0), "
            # A state that was pruned and made anew counts from the beginning, under another id.
            "(SELECT ARRAY[id, revision] FROM series_state JOIN series_heads USING (id) "
            "WHERE stream = %(stream)s AND entity = %(entity)s AND metric = %(metric)s)",
            {"stream": stream, "entity": entity, "metric": metric},
        )
        row = await cursor.fetchone()
    return None if row is None or row == (None, None) else tuple(row)


def read_look_back(
    states: SeriesStates, served: ServedMetrics, entity: str, metric: str
) -> SeriesState:
    """Return the newest readings of a series."""
    from anomaly_platform.ml.features.metrics.series_state import SeriesState

    state, wanted = states.look_back(served.stream, entity, metric), served.feature_set
    if state.feature_version != wanted.version:
        # The champion was trained on another set of features, of which the readings are the same.
        return SeriesState.of(wanted, state.times, state.values, state.before)
    return state

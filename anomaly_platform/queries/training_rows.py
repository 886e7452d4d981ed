"""Whether a training that is asked for can come to anything: readings counted before it waits.

Belongs here: the count, and the refusal that says what is missing. How a model is trained on them
is in ``assets.training``.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.streams import MetricStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anomaly_platform.serving.state import ServingState

#: Whole days, so never too few: a window that begins at noon counts its first morning, too.
_ROWS: Final = """
SELECT coalesce(max(rows), 0) FROM (
    SELECT sum(d.rows) AS rows FROM series AS s JOIN series_days AS d ON d.series_id = s.series_id
    WHERE s.stream = %s AND s.entity = %s AND (%s::text IS NULL OR s.metric = %s)
        AND d.day >= ((s.last_event - %s) AT TIME ZONE 'UTC')::date
    GROUP BY s.series_id) AS per_series
"""


async def refuse_too_few(
    serving: ServingState,
    stream: str,
    asked: Sequence[tuple[str, str | None]],
    window_days: int | None,
) -> None:
    """Refuse a training of series none of which has readings enough in its window.

    Parameters
    ----------
    serving : ServingState
    stream : str
    asked : sequence of (str, str or None)
        Entity and metric of each; without a metric, its metric with most readings counts.
    window_days : int or None
        Days of history; None is the stream's policy.

    Raises
    ------
    ApiProblem
        409, with how many there are and how many it takes.
    """
    chosen = serving.models.streams[stream]
    if not asked or not isinstance(chosen, MetricStream):
        return
    least = serving.settings.min_training_samples
    window = chosen.retraining.window if window_days is None else dt.timedelta(days=window_days)
    most = 0
    async with serving.pool.connection() as connection:
        for entity, metric in asked:
            cursor = await connection.execute(_ROWS, (stream, entity, metric, metric, window))
            row = await cursor.fetchone()
            most = max(most, 0 if row is None else int(row[0]))
            if most >= least:
                return
    whose = " ".join(part for part in asked[0] if part)
    has = f"{whose} has" if len(asked) == 1 else f"each of the {len(asked)} asked for has at most"
    raise ApiProblem(
        409,
        f"{has} {most} readings in the {window.days} days before its newest one, and a model "
        f"takes {least}: bring in more, or ask for a longer window. What arrived in the last "
        "minutes counts once a batch has taken it",
        title="Too few readings to train on",
        readings=most,
        readings_needed=least,
    )

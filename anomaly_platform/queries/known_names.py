# ruff: noqa: S608 - statements are put together from constants of this module
"""Whether anybody knows the names that a list is asked for.

Belongs here: telling a name of which nothing is found from one that nobody has heard of (404). A
device is known that has readings, online or in the lake, or a model; the code of a tag that was
scanned.
"""

from __future__ import annotations

from typing import Any, Final

from psycopg import AsyncConnection

from anomaly_platform.labelling.labels import SCAN_METRIC
from anomaly_platform.serving.problems import not_found

_FITS: Final = (
    "(%(stream)s::text IS NULL OR stream = %(stream)s) "
    "AND (%(entity)s::text IS NULL OR {entity} = %(entity)s) "
    "AND (%(metric)s::text IS NULL OR {metric} = %(metric)s)"
)
_SERIES: Final = _FITS.format(entity="entity", metric="metric")
_MODELS: Final = _FITS.format(entity="device_id", metric="metric_name")
_KNOWN: Final = f"""
    SELECT EXISTS (SELECT FROM series WHERE rows > 0 AND {_SERIES})
        OR EXISTS (SELECT FROM series_state JOIN series_heads USING (id) WHERE {_SERIES})
        OR EXISTS (SELECT FROM ml_models WHERE {_MODELS})
        OR (coalesce(%(metric)s::text, '{SCAN_METRIC}') = '{SCAN_METRIC}'
            AND EXISTS (SELECT FROM scored_scans
                WHERE (%(stream)s::text IS NULL OR stream = %(stream)s)
                AND (%(entity)s::text IS NULL OR epc_code = %(entity)s)))
"""


async def refuse_unknown(
    connection: AsyncConnection[Any],
    stream: str | None,
    entity: str | None,
    metric: str | None,
    *,
    kind: str,
) -> None:
    """Refuse names that nobody knows; for lists in which nothing was found.

    Parameters
    ----------
    connection : AsyncConnection
    stream, entity, metric : str or None
        What was asked for; None is anything.
    kind : str
        What the client calls an entity.

    Raises
    ------
    ApiProblem
        404, when no such entity, or no such metric of it, has readings or a model.
    """
    if entity is not None and not await _is_known(connection, stream, entity, None):
        raise not_found(f"{kind} {entity!r}")
    if metric is not None and not await _is_known(connection, stream, entity, metric):
        whose = "" if entity is None else f" of the {kind} {entity!r}"
        raise not_found(f"metric {metric!r}{whose}")


async def _is_known(
    connection: AsyncConnection[Any], stream: str | None, entity: str | None, metric: str | None
) -> bool:
    cursor = await connection.execute(
        _KNOWN, {"stream": stream, "entity": entity, "metric": metric}
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])

# ruff: noqa: S608 - statements are put together from constants of this module
"""Whether the platform knows an entity or a metric.

An entity is known that has readings, online or in the lake, or a model; the code of a tag that was
scanned.
"""

from typing import Any, Final

from psycopg import AsyncConnection

from anomaly_platform.labelling.labels import SCAN_METRIC

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


async def is_known(
    connection: AsyncConnection[Any], stream: str | None, entity: str | None, metric: str | None
) -> bool:
    """Return whether anything is known under these names; None stands for any name."""
    cursor = await connection.execute(
        _KNOWN, {"stream": stream, "entity": entity, "metric": metric}
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])

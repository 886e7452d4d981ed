"""Rows of ``ml_models`` as the API shows them.

Belongs here: the statements about single models. What is in service is not asked here but taken
from memory (see ``models``).
"""

from __future__ import annotations

import uuid
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from anomaly_platform.serving.schemas.models import Model

_COLUMNS: Final = (
    "m.id, m.device_id, m.metric_name, m.model_type, m.model_path, "
    "m.bundle_version AS model_version, m.status, m.accuracy, m.false_positive_rate, "
    "coalesce(t.threshold, m.threshold, %(default)s) AS threshold, m.training_samples, "
    "m.trained_at, m.last_used_at, m.created_at"
)
_FROM: Final = (
    "FROM ml_models m LEFT JOIN thresholds t ON t.stream = m.stream "
    "AND t.entity = m.device_id AND t.metric = m.metric_name"
)


async def read_model(
    connection: AsyncConnection[Any], stream: str, model_id: uuid.UUID, *, default: float
) -> Model | None:
    """Return a model of a stream, None where there is none of that id."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} {_FROM} WHERE m.id = %(id)s AND m.stream = %(stream)s",
            {"id": model_id, "stream": stream, "default": default},
        )
        row = await cursor.fetchone()
    return None if row is None else Model(**row)

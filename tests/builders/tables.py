"""What the tables hold, and rows that other rows need to be there."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import polars as pl

from anomaly_platform.registry.training_requests import TrainingRequest
from anomaly_platform.warehouse import Warehouse

from .readings import PER_DAY, START, STEP


def rows_of(warehouse: Warehouse, query: str) -> list[tuple[Any, ...]]:
    """Return what a query finds."""
    with warehouse.transactions.begin() as connection:
        return connection.execute(query.encode()).fetchall()


def count(warehouse: Warehouse, table: str, where: str = "true") -> int:
    """Return how many rows of a table meet a condition."""
    ((found,),) = rows_of(warehouse, f"SELECT count(*) FROM {table} WHERE {where}")
    return int(found)


def know_series(warehouse: Warehouse, stream: str, entity: str, metric: str) -> date:
    """Let a stream know a series with one day of readings; return the day."""
    extents = pl.DataFrame(
        {
            "entity": [entity],
            "metric": [metric],
            "rows": [PER_DAY],
            "first_event": [START],
            "last_event": [START + timedelta(days=1) - STEP],
        }
    )
    warehouse.series.replace_day(stream, START.date(), extents)
    return START.date()


def requests_of(warehouse: Warehouse, stream: str) -> list[TrainingRequest]:
    """Return every training request of a stream, the newest first."""
    return warehouse.transactions.rows(
        TrainingRequest,
        "SELECT * FROM training_requests WHERE stream = %s ORDER BY created_at DESC, id",
        (stream,),
    )

"""Transactions on connections that break."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
import pytest

from anomaly_platform.warehouse import Warehouse

pytestmark = pytest.mark.integration


@pytest.fixture
def warehouse(database_url: str) -> Iterator[Warehouse]:
    with contextlib.closing(Warehouse(database_url)) as opened:
        yield opened


def test_an_error_on_a_lost_connection_says_that_it_is_lost(warehouse: Warehouse) -> None:
    """So the API answers "try again" whatever libpq was waiting for when the server was killed."""

    def lose() -> None:
        with warehouse.transactions.begin() as connection:
            connection.pgconn.finish()
            raise psycopg.DatabaseError("no result")

    with pytest.raises(psycopg.OperationalError, match="the connection is lost: no result"):
        lose()
    assert warehouse.transactions.value("SELECT 1") == 1


def test_an_error_of_a_statement_is_what_it_was(warehouse: Warehouse) -> None:
    with (
        pytest.raises(psycopg.errors.UndefinedTable),
        warehouse.transactions.begin() as connection,
    ):
        connection.execute("SELECT 1 FROM nowhere")
    assert warehouse.transactions.value("SELECT 1") == 1

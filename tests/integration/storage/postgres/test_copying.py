"""Whatever a frame holds arrives in PostgreSQL, in either encoding."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping
from typing import Any

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anomaly_platform.storage.postgres import copying
from anomaly_platform.storage.postgres.copying import PgType, copy_frame

pytestmark = pytest.mark.integration

TYPES: Mapping[str, PgType] = {
    "b": "bool",
    "i": "int4",
    "l": "int8",
    "f": "float8",
    "d": "date",
    "t": "timestamptz",
    "u": "uuid",
    "s": "text",
    "j": "json",
    "k": "jsonb",
}
SCHEMA = {
    "b": pl.Boolean,
    "i": pl.Int32,
    "l": pl.Int64,
    "f": pl.Float64,
    "d": pl.Date,
    "t": pl.Datetime("us", "UTC"),
    "u": pl.String,
    "s": pl.String,
    "j": pl.String,
    "k": pl.String,
}

# Surrogates are no UTF-8; PostgreSQL knows no NUL, for which its picture is stored.
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_JSON = st.dictionaries(_TEXT, st.integers(-5, 5) | st.none(), max_size=2).map(json.dumps)
_MOMENTS = st.integers(-62_000_000_000, 253_000_000_000).map(
    lambda seconds: (
        dt.datetime(1970, 1, 1, 0, 0, 0, 123_456, dt.UTC) + dt.timedelta(seconds=seconds)
    )
)
ROW = st.tuples(
    st.none() | st.booleans(),
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False),
    st.none() | st.dates(dt.date(1, 1, 2), dt.date(9999, 12, 30)),
    st.none() | _MOMENTS,
    st.none() | st.uuids().map(str),
    st.none() | _TEXT,
    st.none() | _JSON,
    st.none() | _JSON.filter(lambda text: "\\u0000" not in text),
)


@pytest.fixture(scope="module")
def connection(module_database_url: str) -> Any:
    with psycopg.connect(module_database_url, options="-c timezone=UTC") as opened:
        columns = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
        opened.execute(f"CREATE TABLE target (n int4, {columns})")
        opened.commit()
        yield opened


def expected(row: tuple[Any, ...]) -> tuple[Any, ...]:
    *plain, identifier, text, document, binary_document = row
    return (
        *plain,
        None if identifier is None else uuid.UUID(identifier),
        None if text is None else text.replace("\x00", "\u2400"),
        None if document is None else json.loads(document),
        None if binary_document is None else json.loads(binary_document),
    )


@pytest.mark.parametrize("binary", [True, False])
@given(rows=st.lists(ROW, max_size=8))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_value_arrives(connection: Any, binary: bool, rows: list[tuple[Any, ...]]) -> None:
    patch = pytest.MonkeyPatch()
    patch.setattr(copying, "_ROWS_PER_LAYOUT", 1 if binary else 1_000)
    try:
        frame = pl.DataFrame(rows, schema=SCHEMA, orient="row").with_row_index("n")
        with connection.cursor() as cursor:
            assert copy_frame(cursor, "target", frame, {"n": "int4", **TYPES}) == len(rows)
        back = connection.execute("SELECT * FROM target ORDER BY n").fetchall()
    finally:
        patch.undo()
        connection.rollback()
    assert [row[1:] for row in back] == [expected(row) for row in rows]


def test_not_a_number_and_empty_texts(connection: Any) -> None:
    frame = pl.DataFrame(
        {"n": [1, 2, 3], "f": [float("nan"), float("-inf"), None], "s": ["", None, "\\."]}
    )
    with connection.cursor() as cursor:
        copy_frame(cursor, "target", frame, {"n": "int4", "f": "float8", "s": "text"})
    back = connection.execute("SELECT f::text, s FROM target ORDER BY n").fetchall()
    connection.rollback()
    assert back == [("NaN", ""), ("-Infinity", None), (None, "\\.")]


def test_rare_rows_go_beside_common_ones_and_ids_are_read_in_every_form(connection: Any) -> None:
    ids = [uuid.UUID(int=number << 64 | number) for number in range(200)]
    forms = [str, lambda one: one.hex, lambda one: str(one).upper()]
    texts = [forms[number % 3](one) for number, one in enumerate(ids)]
    rare = {7: "a sentence", 150: "another of its own length"}
    frame = pl.DataFrame({"n": range(200), "u": texts, "s": [rare.get(n) for n in range(200)]})
    with connection.cursor() as cursor:
        copy_frame(cursor, "target", frame, {"n": "int4", "u": "uuid", "s": "text"})
    back = connection.execute("SELECT n, u, s FROM target ORDER BY n").fetchall()
    connection.rollback()
    assert back == [(n, one, rare.get(n)) for n, one in enumerate(ids)]


@pytest.mark.parametrize("wrong", ["-" * 36, "0" * 36, "x" * 32, "0" * 31])
def test_a_text_that_is_no_id_is_refused(connection: Any, wrong: str) -> None:
    with connection.cursor() as cursor, pytest.raises(ValueError, match="no UUID"):
        copy_frame(cursor, "target", pl.DataFrame({"u": [wrong] * 100}), {"u": "uuid"})
    connection.rollback()


def test_many_rows_of_few_layouts_go_in_binary_pieces(connection: Any) -> None:
    rows = 300_000
    frame = pl.DataFrame({"n": range(rows)}).with_columns(
        s=pl.when(pl.col("n") % 3 == 0).then(pl.lit("host-") + (pl.col("n") % 100).cast(pl.String)),
        f=pl.col("n") / 7,
    )
    with connection.cursor() as cursor:
        copy_frame(cursor, "target", frame, {"n": "int4", "s": "text", "f": "float8"})
    found = connection.execute(
        "SELECT count(*), count(DISTINCT n), count(s), sum(f), "
        "bool_and(s IS NULL OR s = 'host-' || n % 100) FROM target"
    ).fetchone()
    connection.rollback()
    assert found[:3] == (rows, rows, rows // 3)
    assert found[3] == pytest.approx(sum(range(rows)) / 7)
    assert found[4]

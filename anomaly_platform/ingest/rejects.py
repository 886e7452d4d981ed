"""Rows that were refused: the shape of a reject, and how to build one.

Here belongs only what a reject *is*. Why a row is refused is decided where it is read, laid out or
validated. A reject always names the source row, so that a person can find it in the file.
"""

import json
from collections.abc import Sequence
from typing import Final

import polars as pl

RAW_LIMIT: Final = 4096
"""The longest ``raw`` text of a reject, in characters; it stays valid JSON when it is cut."""

REJECTS: Final = pl.Schema(
    {
        "row_number": pl.Int64(),  # data row in the source, from 1; the header is not counted
        "column": pl.String(),  # source column of a wide cell, '' where the whole row is meant
        "field": pl.String(),  # canonical field at fault, '' where the whole row is
        "reason": pl.String(),
        "raw": pl.String(),  # what was there, JSON text
    }
)


def no_rejects() -> pl.DataFrame:
    """Return a table of rejects without rows."""
    return pl.DataFrame(schema=REJECTS)


def raw_json(text: str) -> str:
    """Return a text as JSON for a person to look at, at most ``RAW_LIMIT`` characters.

    A text that is too long is cut. NUL characters, which PostgreSQL cannot store, are replaced.
    """
    clean = text[:RAW_LIMIT].replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    shown = json.dumps(clean, ensure_ascii=False)
    if len(shown) > RAW_LIMIT:
        # Escaping what is escaped already at most doubles it.
        shown = json.dumps(shown[: RAW_LIMIT // 2 - 2], ensure_ascii=False)
    return shown


def row_rejects(rows: Sequence[tuple[int, str, str]]) -> pl.DataFrame:
    """Build rejects of whole source rows.

    Parameters
    ----------
    rows
        Triples of row number, reason and the row's text as it stood in the file.
    """
    return pl.DataFrame(
        [(number, "", "", reason, raw_json(text)) for number, reason, text in rows],
        schema=REJECTS,
        orient="row",
    )


def raw_column(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Return the reject's ``raw`` text of each row: some of its columns as a JSON object."""
    storable = pl.col(columns).cast(pl.String).str.replace_all("\0", "\ufffd", literal=True)
    texts = frame.select(storable).select(pl.struct(pl.all()).struct.json_encode()).to_series()
    long = texts.str.len_chars() > RAW_LIMIT
    if long.any():
        cut = pl.Series([raw_json(text) for text in texts.filter(long)], dtype=pl.String)
        texts = texts.scatter(long.arg_true(), cut)
    return texts.alias("raw")

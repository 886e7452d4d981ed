"""Which of the 64 buckets of a day an entity belongs to.

Here belongs the one function that decides it and the functions that apply it to a column. A bucket
is the unit in which a day is worked through with bounded memory: all rows of an entity, and so all
rows of a natural key, share one bucket.
"""

import zlib
from typing import Final

import polars as pl

from anomaly_platform.ingest.cells import FEW

BUCKETS: Final = 64


def bucket(entity: str) -> int:
    """Return the bucket of one entity: crc32 of its UTF-8 text modulo 64.

    Parameters
    ----------
    entity
        The entity's name, already normalised.

    Returns
    -------
    int
        A number in 0…63, the same on every machine and in every version.
    """
    return zlib.crc32(entity.encode("utf-8")) % BUCKETS


def bucket_of(entities: pl.Series) -> pl.Series:
    """Return the bucket of every entity of a column.

    Parameters
    ----------
    entities
        Text, shape (n,). A missing entity counts as the empty text.

    Returns
    -------
    pl.Series
        Shape (n,), ``UInt8`` in 0…63, named ``bucket``. Of many, each distinct one is hashed once.
    """
    if len(entities) <= FEW:
        few = [bucket(entity or "") for entity in entities.cast(pl.String).to_list()]
        return pl.Series("bucket", few, dtype=pl.UInt8)
    filled = entities.cast(pl.String).fill_null("")
    distinct = filled.unique()
    buckets = pl.Series([bucket(entity) for entity in distinct], dtype=pl.UInt8)
    return filled.replace_strict(distinct, buckets, return_dtype=pl.UInt8).alias("bucket")

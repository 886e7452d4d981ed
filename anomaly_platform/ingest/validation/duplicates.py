"""Events of equal natural key: which one stays.

Here belongs the one rule that all streams share: of several events of equal natural key the first
one ingested wins; a later one that says the same is a duplicate and only counted, a later one that
says something else is refused.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

CONFLICT: Final = "conflicts with an earlier event of the same key"

LOCAL_CONFLICT: Final = (
    f"{CONFLICT}; in this hour clocks go back in Europe or North America: if its times are local, "
    "name their zone with --timezone, or as `timezone` of the stream"
)

_ORDER: Final = ("batch_seq", "row_number", "column")
"""Columns that say what was ingested first; together they identify a row."""


def settle_duplicates(
    events: pl.DataFrame, key: Sequence[str], payload: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Split events into the ones that stay, the conflicting ones, and a count of duplicates.

    Parameters
    ----------
    events
        Valid events of one day, in any order.
    key
        Columns of the natural key; two nulls are equal.
    payload
        Columns that must be equal for a later event to be a duplicate; two nulls are equal.

    Returns
    -------
    tuple
        Winners; conflicting events; number of duplicates. In no particular order.
    """
    repeated = events.select(key).is_duplicated()
    if not repeated.any():
        return events, events.clear(), 0
    alone = events.filter(~repeated)
    several = events.filter(repeated).sort(_ORDER)
    first = several.select(pl.int_range(pl.len()).over(key) == 0).to_series()
    same = several.select(
        pl.all_horizontal(
            pl.col(name).eq_missing(pl.col(name).first().over(key)) for name in payload
        )
    ).to_series()
    return (
        pl.concat([alone, several.filter(first)]),
        several.filter(~first & ~same),
        int((~first & same).sum()),
    )

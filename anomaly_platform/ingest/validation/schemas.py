"""The shape of validated events, checked before they are written.

Here belong the pandera schemas of validated streams. They are the last line of defence against a
mistake in our own code: bad *input* is refused earlier, row by row, with a reason. Import this
module inside functions: pandera takes seconds to import.
"""

from typing import Final

import pandera.polars as pa
import polars as pl

from anomaly_platform.ingest.bucketing import BUCKETS
from anomaly_platform.ingest.cells import MAX_NAME
from anomaly_platform.ingest.layout.scans import SENT_WITH_SCAN

_UUID: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"


def _name(*, nullable: bool = False) -> pa.Column:
    return pa.Column(pl.String, pa.Check.str_length(1, MAX_NAME), nullable=nullable)


def _ascending(*key: str) -> pa.Check:
    """Check that rows are in order of bucket and key, and no two have the same."""

    def check(data: pa.PolarsData) -> pl.LazyFrame:
        above: pl.Expr = pl.lit(value=False)
        for name in reversed(("bucket", *key)):
            here, before = pl.col(name), pl.col(name).shift(1)
            higher = (here > before).fill_null(here.is_not_null() & before.is_null())
            above = higher | (here.eq_missing(before) & above)
        return data.lazyframe.select(above)

    return pa.Check(check, error="rows are in the order of their keys, each once")


_BUCKET: Final = pa.Column(pl.UInt8, pa.Check.lt(BUCKETS), nullable=False)
_TIME: Final = pa.Column(pl.Datetime("us", "UTC"), nullable=False)


METRIC_EVENTS: Final = pa.DataFrameSchema(
    {
        "bucket": _BUCKET,
        "entity": _name(),
        "metric": _name(),
        "event_time": _TIME,
        "value": pa.Column(
            pl.Float64,
            pa.Check(lambda data: data.lazyframe.select(pl.col(data.key).is_finite())),
            nullable=True,
        ),
        "event_id": pa.Column(pl.String, pa.Check.str_matches(_UUID), nullable=False),
        "label": pa.Column(pl.Boolean, nullable=True),
        "metadata": pa.Column(pl.String, nullable=True),
    },
    strict=True,
    ordered=True,
    checks=_ascending("entity", "metric", "event_time"),
)
"""Readings of a metric stream; ``value`` is null where a reading is missing."""

SCAN_EVENTS: Final = pa.DataFrameSchema(
    {
        "bucket": _BUCKET,
        "epc_code": _name(),
        "event_time": _TIME,
        **{name: _name(nullable=True) for name in ("location_id", "business_step", "event_type")},
        "event_id": _name(),
        **{name: _name(nullable=True) for name in ("file_id", *SENT_WITH_SCAN)},
        "label": pa.Column(pl.Boolean, nullable=True),
        "anomaly_kind": _name(nullable=True),
    },
    strict=True,
    ordered=True,
    checks=_ascending("epc_code", "event_time", "location_id", "business_step", "event_type"),
)
"""Scans of goods; nulls are what the senders left out."""

"""How scans look: raw, validated, and with their features.

What belongs here: the functions of ``ingest`` that scans use, under the names of the protocol, and
the columns that the UI shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from anomaly_platform.kinds.formats import DTYPES, Columns, RowFormat
from anomaly_platform.ml.features.scans.definition import ScanFeatureSet
from anomaly_platform.streams import ScanStream

if TYPE_CHECKING:
    import pandera.polars as pa

#: How all scans of a stream are called where others have an entity and a metric: they train
#: together, and a code has too few of its own to be a series.
ALL_SCANS: Final = ("*", "scans")


def scan_rows() -> RowFormat:
    """Return how scans are read, validated and counted."""
    from anomaly_platform.ingest.layout.mapping import SCAN_FIELDS
    from anomaly_platform.ingest.layout.scans import SCAN_READER
    from anomaly_platform.ingest.validation.scans import SCAN_KEY, validate_scans

    return RowFormat(
        reader=SCAN_READER,
        fields=SCAN_FIELDS,
        validate=validate_scans,
        schema=_schema,
        key=SCAN_KEY,
        series=ALL_SCANS,
        raw_columns=_RAW_COLUMNS,
        columns=_COLUMNS,
    )


def _schema() -> pa.DataFrameSchema:
    from anomaly_platform.ingest.validation.schemas import SCAN_EVENTS

    return SCAN_EVENTS


def in_order(scans: pl.DataFrame) -> pl.DataFrame:
    """Return scans as the library takes them: by code, time and id, with the code as entity.

    The rest of the natural key decides where senders repeat an id.
    """
    return scans.with_columns(entity="epc_code").sort(
        *("bucket", "epc_code", "event_time", "event_id"),
        *("location_id", "business_step", "event_type"),
    )


def available_columns(stream: ScanStream) -> tuple[str, ...]:
    """Return the columns that stored scans have, under the names that models read."""
    return tuple(dict.fromkeys(("entity", *FEATURE_SCHEMA, *stream.features.names)))


_RAW_COLUMNS: Columns = {
    "row_number": ("int", "row in the source file, from 1"),
    "epc_code_text": ("string", "the code as it came"),
    "event_time": ("timestamp (UTC)", "when the scan happened"),
    "location_id_text": ("string", "the place as it came"),
    "business_step_text": ("string", "the business step as it came"),
    "event_type_text": ("string", "the event type as it came"),
    "label_text": ("string", "the label as it came; never a feature"),
}
_COLUMNS: Columns = {
    "bucket": ("int", "hash of the code, 0 to 63"),
    "epc_code": ("string", "the code that was read, well-formed or not"),
    "event_time": ("timestamp (UTC)", "when the scan happened"),
    "location_id": ("string", "where; null where the sender left it out"),
    "business_step": ("string", "at which step; null where left out"),
    "event_type": ("string", "what happened; null where left out"),
    "event_id": ("string", "given, or derived from the fields above"),
    "file_id": ("string", "the sender's file"),
    "scan_location": ("string", "the place's name as the sender gave it"),
    "operator_id": ("string", "who scanned"),
    "device_id": ("string", "with which reader"),
    "product_name": ("string", "what the goods are called"),
    "label": ("bool", "known anomaly, known normal, or unknown"),
    "anomaly_kind": ("string", "which kind of anomaly, where known"),
}
_TEXTS = (
    *("location_id", "business_step", "event_type", "event_id", "file_id", "scan_location"),
    *("operator_id", "device_id", "product_name"),
)
FEATURE_SCHEMA: Final[dict[str, pl.DataType]] = {
    "bucket": pl.UInt8(),
    "epc_code": pl.String(),
    "event_time": pl.Datetime("us", "UTC"),
    **dict.fromkeys(_TEXTS, pl.String()),
    "label": pl.Boolean(),
    "anomaly_kind": pl.String(),
    **{name: DTYPES[of["dtype"]] for name, of in ScanFeatureSet().schema().items()},
}
"""A scan with its features, as stored."""
#: Models read neither; the rules tell `partial_sequence` anew, by what the reference knows.
_NOT_READ: Final = ("places_so_far", "partial_sequence")
READ_FEATURES: Final = tuple(name for name in FEATURE_SCHEMA if name not in _NOT_READ)
"""The columns that models and rules read."""

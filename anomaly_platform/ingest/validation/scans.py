"""From the raw scans of one day to its validated scans.

Here belongs what makes a scan valid: a time, an EPC code, and cells that can be stored. A missing
place, step or type stays a null, and a malformed EPC code stays as it is: judging them is the work
of features and rules.

The natural key of a scan is all that says what happened: code, time, place, step and type. Scans of
one code at two places in the same second therefore both stay, for that is an anomaly to be found;
only the same thing reported twice is a duplicate. The file's id says how a scan was delivered, not
what happened, and is not compared.
"""

from datetime import date, datetime, timedelta
from typing import Final

import polars as pl

from anomaly_platform.ingest.cells import Cells, read_labels, read_names
from anomaly_platform.ingest.event_days import FUTURE_ALLOWANCE
from anomaly_platform.ingest.layout.scans import SCAN_TEXTS, SENT_WITH_SCAN
from anomaly_platform.ingest.validation.day import ValidatedDay, settle_day, time_reasons

SCAN_KEY: Final = ("epc_code", "event_time", "location_id", "business_step", "event_type")

_PAYLOAD: Final = (*SENT_WITH_SCAN, "label", "anomaly_kind")
_TEXTS: Final = ("event_time_text", *(f"{name}_text" for name in SCAN_TEXTS))


def validate_scans(
    rows: pl.DataFrame,
    day: date,
    *,
    start: datetime,
    now: datetime,
    future_allowance: timedelta = FUTURE_ALLOWANCE,
) -> ValidatedDay:
    """Validate the raw scans of one UTC day.

    Parameters
    ----------
    rows
        `scan_layout.RAW_SCAN_ROWS` and ``batch_seq`` (``Int64``: which ingested file a row is from,
        in order of ingestion), in any order.
    day
        The day; a row of another day is refused.
    start
        The first instant that the stream takes, with a time zone.
    now
        The present, with a time zone.
    future_allowance
        How far ahead of `now` a scan may lie.

    Returns
    -------
    ValidatedDay
        Its frame is sorted by bucket and natural key.

    Raises
    ------
    pandera.errors.SchemaErrors
        When the result breaks its schema: a mistake in this module, not in the input.
    """
    from anomaly_platform.ingest.validation.schemas import SCAN_EVENTS

    reasons = time_reasons(rows, day, start=start, now=now, future_allowance=future_allowance)
    columns = {
        "epc_code": read_names(rows["epc_code_text"], "the EPC code", coded=True),
        "event_time": Cells(rows["event_time"], reasons),
        "label": read_labels(rows["label_text"]),
    }
    for name in SCAN_TEXTS:
        if name not in columns:
            columns[name] = read_names(rows[f"{name}_text"], f"the {name}", required=False)
    return settle_day(
        rows, columns, key=SCAN_KEY, payload=_PAYLOAD, texts=_TEXTS, schema=SCAN_EVENTS
    )

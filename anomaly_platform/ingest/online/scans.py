"""Scans that come in a request: what they may say, by the rules that hold for files.

Here belongs the way from a request's objects to valid scans and rejects. The rules themselves are
those of `ingest.validation.scans`, day by day for files, all days at once here.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import polars as pl

from anomaly_platform.ingest.bucketing import bucket_of
from anomaly_platform.ingest.cells import Cells, read_several_names
from anomaly_platform.ingest.event_days import refuse_event_time
from anomaly_platform.ingest.layout.scans import SCAN_TEXTS, SENT_WITH_SCAN
from anomaly_platform.ingest.notation.times import read_single_times
from anomaly_platform.ingest.validation.day import (
    conflict_rejects,
    split_by_reason,
    with_event_ids,
)
from anomaly_platform.ingest.validation.duplicates import settle_duplicates
from anomaly_platform.ingest.validation.scans import SCAN_KEY

_READ: Final = tuple(name for name in SCAN_TEXTS if name not in ("label", "anomaly_kind"))
_TEXTS: Final = ("event_time_text", *(f"{name}_text" for name in _READ))


class CheckedScans(NamedTuple):
    """What became of a request's scans.

    Parameters
    ----------
    frame
        Valid scans, each once: the natural key, what came with it, ``entity`` (the code),
        ``bucket`` and ``row_number`` (from 1).
    rejects
        Refused scans (`ingest.validation.day.DAY_REJECTS`).
    duplicates
        How many repeat an earlier one exactly.
    """

    frame: pl.DataFrame
    rejects: pl.DataFrame
    duplicates: int


def check_scans(
    events: Sequence[Mapping[str, Any]],
    *,
    start: datetime,
    now: datetime,
    future_allowance: timedelta,
    timezone: str,
) -> CheckedScans:
    """Validate scans.

    Parameters
    ----------
    events
        By canonical field; texts, or None.
    start, now, future_allowance, timezone
        As in `ingest.validation.scans.validate_scans`; where times without a zone are at home.
    """
    rows = pl.DataFrame(
        {
            "batch_seq": pl.Series([1], dtype=pl.Int64).new_from_index(0, len(events)),
            "row_number": pl.int_range(1, len(events) + 1, eager=True),
            "column": pl.Series([""], dtype=pl.String).new_from_index(0, len(events)),
            **{
                f"{name}_text": pl.Series([one.get(name) for one in events], dtype=pl.String)
                for name in ("event_time", *_READ)
            },
        }
    )
    read = read_single_times(rows["event_time_text"], timezone)
    times = read.times
    reasons = refuse_event_time(times, start=start, now=now, future_allowance=future_allowance)
    if times.null_count():
        reasons = read.reasons.zip_with(read.reasons.is_not_null(), reasons)
        missing = rows["event_time_text"].str.strip_chars().fill_null("") == ""
        reasons = reasons.set(missing, "the time is missing")
    names = {name: f"the {name}" for name in _READ} | {"epc_code": "the EPC code"}
    texts = {name: rows[f"{name}_text"] for name in names}
    columns = read_several_names(texts, names, {"epc_code"}, {"epc_code"})
    columns["event_time"] = Cells(times, reasons)
    events_read, refused = split_by_reason(rows, columns, _TEXTS)
    winners, conflicts, duplicates = settle_duplicates(events_read, SCAN_KEY, SENT_WITH_SCAN)
    frame = with_event_ids(winners, [name for name in SCAN_KEY if name != "event_time"])
    frame = frame.hstack([bucket_of(frame["epc_code"]), frame["epc_code"].alias("entity")])
    frame = frame[["row_number", "bucket", "entity", "event_time", *_READ]]
    if conflicts.height or refused.height:
        refused = pl.concat([refused, conflict_rejects(conflicts, _TEXTS)]).sort("row_number")
    return CheckedScans(frame, refused, duplicates)

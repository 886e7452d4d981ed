"""What people said about readings, put beside the readings.

What belongs here: joining labels to rows. A person's label overrides the one that came with the
data, in either direction.
"""

from __future__ import annotations

import polars as pl

from anomaly_platform.labelling.labels import SCAN_METRIC

_FEEDBACK = "feedback_label"


def with_feedback(rows: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Return rows of readings with ``label`` as people know it; order and columns stay.

    Parameters
    ----------
    rows : polars.DataFrame
        With ``entity``, ``metric``, ``event_time`` and ``label``.
    labels : polars.DataFrame
        As ``Labels.between`` returns them.
    """
    if labels.is_empty() or rows.is_empty():
        return rows
    given = labels.rename({"is_anomaly": _FEEDBACK})
    return (
        rows.join(given, on=["entity", "metric", "event_time"], how="left", maintain_order="left")
        .with_columns(label=pl.coalesce(_FEEDBACK, "label"))
        .drop(_FEEDBACK)
    )


def with_scan_feedback(rows: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Do the same for scans, which are known by ``epc_code`` and ``event_time``."""
    given = labels.filter(pl.col("metric") == SCAN_METRIC)
    if given.is_empty() or rows.is_empty():
        return rows
    given = given.select(epc_code="entity", event_time="event_time", feedback_label="is_anomaly")
    return (
        rows.join(given, on=["epc_code", "event_time"], how="left", maintain_order="left")
        .with_columns(label=pl.coalesce(_FEEDBACK, "label"))
        .drop(_FEEDBACK)
    )

"""What people said about events, put beside the events.

What belongs here: joining labels to rows. A person's label overrides the one that came with the
data, in either direction.
"""

from collections.abc import Sequence

import polars as pl

_FEEDBACK = "feedback_label"
READING = ("entity", "metric", "event_time")


def with_feedback(
    rows: pl.DataFrame, labels: pl.DataFrame, key: Sequence[str] = READING
) -> pl.DataFrame:
    """Return rows with ``label`` as people know it; order and columns stay.

    Parameters
    ----------
    rows : polars.DataFrame
        With `key` and ``label``.
    labels : polars.DataFrame
        As ``Labels.between`` returns them.
    key : sequence of str
        Columns that labels name a row by; the first one holds their entity.
    """
    if labels.is_empty() or rows.is_empty():
        return rows
    given = labels.rename({"is_anomaly": _FEEDBACK, "entity": key[0]}).select(*key, _FEEDBACK)
    return (
        rows.join(given, on=list(key), how="left", maintain_order="left")
        .with_columns(label=pl.coalesce(_FEEDBACK, "label"))
        .drop(_FEEDBACK)
    )

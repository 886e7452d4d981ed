"""Compiled loop of ``quality``: how decisions compare with what was injected."""

from typing import Any

from anomaly_platform.ml.compiled import compiled


@compiled()
def count_decisions(labels: Any, decided: Any, there: Any, counts: Any) -> None:  # pragma: no cover
    """Add the decisions on a series to (6,) counts.

    They are rows injected and flagged, only flagged, neither, only injected; injected anomalies,
    and those of which a row is flagged. Rows that are not there are as if they were left out.

    Parameters
    ----------
    labels, decided, there
        (n,) whether a row was injected, is flagged, has a value.
    counts
        Added to.
    """
    inside = found = False
    for i in range(labels.size):
        if not there[i]:
            continue
        if not labels[i]:
            inside = False
            counts[1 if decided[i] else 2] += 1
            continue
        if not inside:
            inside, found = True, False
            counts[4] += 1
        if decided[i] and not found:
            found = True
            counts[5] += 1
        counts[0 if decided[i] else 3] += 1

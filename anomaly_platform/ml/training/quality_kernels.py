"""Compiled loops of ``quality``: a series and its variants, and what was decided of them."""

from typing import Any, Final

from anomaly_platform.ml.compiled import compiled

#: Rows injected and flagged, only flagged, neither, only injected; injected anomalies, and those of
#: which a row is flagged; rows with a value, and those flagged when nothing was injected.
COUNTS: Final = 8


@compiled()
def lay_variants(
    times: Any,
    clean: Any,
    changed: Any,
    judged: Any,
    all_times: Any,
    values: Any,
    since: Any,
    clock: Any,
) -> None:  # pragma: no cover
    """Lay the variants of a series one behind the other.

    Parameters
    ----------
    times, clean
        (n,) times, and readings of the first variant.
    changed
        (variants - 1, m) the last readings of each of the others.
    judged
        (variants,) how many of the last rows of each are judged.
    all_times, values
        (variants * n,) filled with times and readings.
    since
        (variants,) filled with the time from which on rows are judged.
    clock
        (sum of judged,) filled with the times of the judged rows.
    """
    n, start = times.size, times.size - changed.shape[1]
    at = 0
    for k in range(judged.size):
        begin = n - judged[k]
        since[k] = times[begin] if begin < n else times[n - 1] + 1
        own = values[k * n : (k + 1) * n]
        all_times[k * n : (k + 1) * n] = times
        own[:] = clean
        if k > 0:
            own[start:] = changed[k - 1]
        clock[at : at + judged[k]] = times[begin:]
        at += judged[k]


@compiled()
def count_decisions(
    labels: Any, flagged: Any, there: Any, judged: Any, counts: Any
) -> None:  # pragma: no cover
    """Add the decisions on a series and its variants with anomalies to (`COUNTS`,) counts.

    Rows that are not there are as if they were left out.

    Parameters
    ----------
    labels
        (variants - 1, m) whether a row was injected.
    flagged
        (sum of judged,) whether a row is flagged, of the clean series first.
    there
        (m,) whether a row has a value.
    judged
        (variants,) how many of the last rows of each; the rows before are as in the clean series.
    counts
        Added to.
    """
    rows, end = there.size, judged[0]
    for i in range(rows):
        counts[6] += there[i]
        counts[7] += there[i] and flagged[i]
    for k in range(labels.shape[0]):
        end += judged[k + 1]
        same = rows - judged[k + 1]
        inside = found = False
        for i in range(rows):
            if not there[i]:
                continue
            decided = flagged[i] if i < same else flagged[end - rows + i]
            if not labels[k, i]:
                inside = False
                counts[1 if decided else 2] += 1
                continue
            if not inside:
                inside, found = True, False
                counts[4] += 1
            if decided and not found:
                found = True
                counts[5] += 1
            counts[0 if decided else 3] += 1

"""Adjusts thresholds of a stream's series to the labels of their readings.

Belongs here: labels and scores in, thresholds and their audit rows out. The rule is in
``ml.calibration``.
"""

from collections import defaultdict
from dataclasses import dataclass

from anomaly_platform.labelling.labels import Labels
from anomaly_platform.storage.postgres.transactions import Connection, Transactions

#: Who the audit names.
AUTHOR = "labels"


@dataclass(frozen=True, slots=True)
class MovedThreshold:
    """A threshold that changed; ``None`` where the stream's holds again."""

    entity: str
    metric: str
    threshold: float | None


def move_thresholds(
    transactions: Transactions, labels: Labels, stream: str, *, default: float, alpha: float
) -> list[MovedThreshold]:
    """Move the thresholds of the series that labels speak for; return those that changed.

    One that a person set stays. One that labels set, and that the labels of today no longer
    support, gives way to the stream's.

    Parameters
    ----------
    transactions, labels
        Of the same database.
    stream : str
        Of metrics; scans have one threshold for all.
    default : float
        The stream's threshold.
    alpha : float
        Share of normal readings that lie above a score of 0.7.
    """
    from anomaly_platform.ml.calibration.label_thresholds import threshold_from_labels

    store = labels.thresholds
    moved = []
    with transactions.begin() as connection:
        known = _labelled_scores(connection, stream)
        set_before = [key for key, one in store.all(stream).items() if one.origin == "labels"]
        for entity, metric in sorted({*known, *set_before}):
            scores, truths = known.get((entity, metric), ([], []))
            threshold = threshold_from_labels(scores, truths, default=default, alpha=alpha)
            if threshold is None:
                changed = store.clear(
                    connection, stream, entity, metric, set_by=AUTHOR, origin="labels"
                )
            else:
                changed = store.set(
                    connection, stream, entity, metric, threshold, origin="labels", set_by=AUTHOR
                )
            if changed:
                moved.append(MovedThreshold(entity, metric, threshold))
    return moved


def _labelled_scores(
    connection: Connection, stream: str
) -> dict[tuple[str, str], tuple[list[float], list[bool]]]:
    """Return scores and truths of the readings that people labelled, by series."""
    found: dict[tuple[str, str], tuple[list[float], list[bool]]] = defaultdict(lambda: ([], []))
    for entity, metric, score, truth in connection.execute(
        "SELECT s.entity, s.metric, s.score, l.is_anomaly FROM current_labels l "
        "JOIN scored_metrics s ON s.stream = l.stream AND s.entity = l.entity "
        "AND s.metric = l.metric AND s.event_time = l.event_time "
        "WHERE l.stream = %s AND s.score IS NOT NULL",
        (stream,),
    ):
        scores, truths = found[entity, metric]
        scores.append(float(score))
        truths.append(bool(truth))
    return dict(found)

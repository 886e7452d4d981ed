"""Labels that people give to single readings.

Belongs here: the rows of ``feedback_labels``. A reading may be labelled as often as people like;
its newest label counts. Does not belong here: what follows from labels (``ml.calibration``,
the stages of the graph).
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from uuid import UUID

import polars as pl

from anomaly_platform.labelling.thresholds import ThresholdStore
from anomaly_platform.storage.postgres.transactions import (
    Connection,
    Transactions,
    columns_of,
    fetch_all,
)

#: What stands in the place of a metric in labels of scans.
SCAN_METRIC = "scan"

LABEL_SCHEMA = pl.Schema(
    {
        "entity": pl.String(),
        "metric": pl.String(),
        "event_time": pl.Datetime("us", "UTC"),
        "is_anomaly": pl.Boolean(),
    }
)


@dataclass(frozen=True, slots=True)
class NewLabel:
    """A label to be stored.

    Attributes
    ----------
    entity, metric : str
        The series; of a scan the EPC code and ``scan``.
    event_time : datetime
        Of the reading, with time zone.
    is_anomaly : bool
        What is true, whatever the platform said.
    event_id, detection_id : UUID or None
        The reading's and the detection's identity where known.
    """

    entity: str
    metric: str
    event_time: dt.datetime
    is_anomaly: bool
    comment: str | None = None
    event_id: UUID | None = None
    detection_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """A stored label."""

    id: UUID
    stream: str
    entity: str
    metric: str
    event_time: dt.datetime
    event_id: UUID | None
    is_anomaly: bool
    comment: str | None
    labelled_by: str
    detection_id: UUID | None
    created_at: dt.datetime


class Labels:
    """Reads and writes ``feedback_labels``.

    Attributes
    ----------
    thresholds : ThresholdStore
        Thresholds of single series, which labels may move.
    """

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self.thresholds = ThresholdStore(transactions)

    def add_all(self, stream: str, labels: Iterable[NewLabel], *, labelled_by: str) -> int:
        """Store labels in one transaction: all or, on an error, none; return how many.

        Raises
        ------
        ValueError
            When a label's time has no time zone, or its entity, metric or author is empty; the
            message says which label.
        """
        stored = 0
        with self._transactions.begin() as connection:
            for number, label in enumerate(labels, start=1):
                try:
                    add(connection, stream, label, labelled_by=labelled_by)
                except ValueError as error:
                    raise ValueError(f"label {number}: {error}") from None
                stored += 1
        return stored

    def of_day(self, stream: str, day: dt.date) -> pl.DataFrame:
        """Return the label that counts of each labelled reading of a UTC day.

        Returns
        -------
        polars.DataFrame
            ``entity``, ``metric``, ``event_time``, ``is_anomaly``.
        """
        start = dt.datetime.combine(day, dt.time(), dt.UTC)
        return self.between(stream, start, start + dt.timedelta(days=1))

    def between(
        self, stream: str, first: dt.datetime | None = None, until: dt.datetime | None = None
    ) -> pl.DataFrame:
        """Return the labels that count of readings from `first` on and before `until`.

        Returns
        -------
        polars.DataFrame
            ``entity``, ``metric``, ``event_time``, ``is_anomaly``, sorted by the first three.
        """
        rows = self._transactions.tuples(
            "SELECT entity, metric, event_time, is_anomaly FROM current_labels "
            "WHERE stream = %(stream)s "
            "AND (%(first)s::timestamptz IS NULL OR event_time >= %(first)s) "
            "AND (%(until)s::timestamptz IS NULL OR event_time < %(until)s)",
            {"stream": stream, "first": first, "until": until},
        )
        return pl.DataFrame(rows, schema=LABEL_SCHEMA, orient="row").sort(
            "entity", "metric", "event_time"
        )

    def newest(self, stream: str, *, limit: int = 50) -> list[Label]:
        """Return the labels that were given last, the newest first, superseded ones included."""
        return self._transactions.rows(
            Label,
            f"SELECT {columns_of(Label)} FROM feedback_labels "  # noqa: S608
            "WHERE stream = %s ORDER BY created_at DESC, id DESC LIMIT %s",
            (stream, limit),
        )


def add(connection: Connection, stream: str, label: NewLabel, *, labelled_by: str) -> Label:
    """Store one label within the caller's transaction; return it."""
    if label.event_time.tzinfo is None:
        raise ValueError(f"event_time {label.event_time} has no time zone: write …Z or +00:00")
    for field, text in (
        ("entity", label.entity),
        ("metric", label.metric),
        ("labelled_by", labelled_by),
    ):
        if not text.strip():
            raise ValueError(f"{field} is empty")
        if "\x00" in text:
            raise ValueError(f"{field} holds a NUL character")
    # The clock, not the transaction's start: of two labels in one transaction the later counts.
    (given,) = fetch_all(
        connection,
        Label,
        "INSERT INTO feedback_labels (stream, entity, metric, event_time, event_id, is_anomaly, "  # noqa: S608
        "comment, labelled_by, detection_id, created_at) VALUES (%(stream)s, %(entity)s, "
        "%(metric)s, %(event_time)s, %(event_id)s, %(is_anomaly)s, %(comment)s, %(labelled_by)s, "
        f"%(detection_id)s, clock_timestamp()) RETURNING {columns_of(Label)}",
        {**asdict(label), "stream": stream, "labelled_by": labelled_by},
    )
    return given


def is_labelled(connection: Connection, stream: str, label: NewLabel) -> bool:
    """Return whether anybody has said anything of a label's reading."""
    found = connection.execute(
        "SELECT 1 FROM feedback_labels WHERE stream = %s AND entity = %s AND metric = %s "
        "AND event_time = %s LIMIT 1",
        (stream, label.entity, label.metric, label.event_time),
    ).fetchone()
    return found is not None


def take_back(connection: Connection, label: UUID) -> Label | None:
    """Remove a label within the caller's transaction; return it, None where there is none.

    The label that the reading had before counts again.
    """
    taken = fetch_all(
        connection,
        Label,
        f"DELETE FROM feedback_labels WHERE id = %s RETURNING {columns_of(Label)}",  # noqa: S608
        (label,),
    )
    return next(iter(taken), None)

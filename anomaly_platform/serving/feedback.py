"""What a person says of a reading, stored and noted; shared by the API and the console."""

import datetime as dt
import uuid
from dataclasses import dataclass

from anomaly_platform.labelling.labels import SCAN_METRIC, Label, NewLabel, add, take_back
from anomaly_platform.queries.detections import detected_reading
from anomaly_platform.queries.scans import scan_exists
from anomaly_platform.queries.scored_readings import find_reading
from anomaly_platform.serving.problems import ApiProblem, not_found
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables import audit
from anomaly_platform.streams import Stream


@dataclass(frozen=True, slots=True)
class SaidOfReading:
    """That a reading is an anomaly or none; of a scan the code, and ``scan`` as its metric."""

    stream: Stream
    entity: str
    metric: str
    time: dt.datetime
    is_anomaly: bool
    comment: str | None = None


def label_of_detection(
    connection: Connection, detection: uuid.UUID, *, correct: bool, comment: str | None
) -> tuple[str, NewLabel]:
    """Return the stream and the label that a word about a detection means.

    Raises
    ------
    ApiProblem
        404, when there is no such detection.
    """
    found = detected_reading(connection, detection)
    if found is None:
        raise not_found(f"detection {detection}")
    return found.stream, NewLabel(
        found.entity,
        found.metric,
        found.event_time,
        correct,
        comment=comment,
        event_id=found.event_id,
        detection_id=detection,
    )


def label_of_reading(connection: Connection, said: SaidOfReading) -> tuple[str, NewLabel]:
    """Return the stream and the label that a word about a reading means.

    Raises
    ------
    ApiProblem
        404, when there is no such reading; 422, when a scan is given a metric.
    """
    return said.stream.name, NewLabel(
        said.entity,
        said.metric,
        said.time,
        said.is_anomaly,
        comment=said.comment,
        event_id=_event_of(connection, said),
    )


def give(connection: Connection, stream: str, label: NewLabel, *, actor: str) -> Label:
    """Store a label, with a note of who gave it, within the caller's transaction."""
    given = add(connection, stream, label, labelled_by=actor)
    audit.record(
        connection,
        actor,
        "feedback.add",
        f"{stream}/{label.entity}/{label.metric}",
        None,
        {"label": str(given.id), "is_anomaly": label.is_anomaly},
    )
    return given


def withdraw(connection: Connection, label: uuid.UUID, *, actor: str) -> Label:
    """Take a label back, with a note of who did, within the caller's transaction.

    Raises
    ------
    ApiProblem
        404, when there is no such label, or no longer.
    """
    taken = take_back(connection, label)
    if taken is None:
        raise not_found(f"label {label}")
    audit.record(
        connection,
        actor,
        "feedback.take_back",
        f"{taken.stream}/{taken.entity}/{taken.metric}",
        {"label": str(label), "is_anomaly": taken.is_anomaly, "labelled_by": taken.labelled_by},
        None,
    )
    return taken


def _event_of(connection: Connection, said: SaidOfReading) -> uuid.UUID | None:
    """Return the id of a reading; None of a scan, whose id is a text, which a label does not hold.

    Raises
    ------
    ApiProblem
        404, when there is no such reading or scan; 422, when a scan is given a metric.
    """
    stream = said.stream
    if stream.has_series:
        found = find_reading(connection, stream.name, said.entity, said.metric, said.time)
    elif said.metric != SCAN_METRIC:
        raise ApiProblem(422, f"metric_name: of a scan write {SCAN_METRIC!r}")
    else:
        known = scan_exists(connection, stream.name, said.entity, said.time)
        found = (None,) if known else None
    if found is None:
        raise not_found("reading of that entity, metric and time")
    return found[0]

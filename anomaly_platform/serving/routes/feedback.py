"""``/api/v1/feedback``: people mark detections and readings right or wrong."""

import datetime as dt
import uuid
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from anomaly_platform.labelling.labels import Label, NewLabel
from anomaly_platform.queries.labels import LabelFilter, count_labels, list_labels
from anomaly_platform.serving.auth.security import Reader, Writer
from anomaly_platform.serving.feedback import (
    SaidOfReading,
    give,
    label_of_detection,
    label_of_reading,
)
from anomaly_platform.serving.http.cursors import Pages
from anomaly_platform.serving.http.idempotency import Once
from anomaly_platform.serving.http.openapi import problems
from anomaly_platform.serving.http.strict_query import STRICT_QUERY
from anomaly_platform.serving.lookups import known_stream, refuse_unknown
from anomaly_platform.serving.schemas.base import Cursor, Name, PageSize
from anomaly_platform.serving.schemas.feedback import Feedback, FeedbackList, FeedbackRequest
from anomaly_platform.serving.state import Serving, ServingState
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.streams.bindings import DEVICES

router = APIRouter(prefix="/api/v1/feedback", tags=["feedback"], dependencies=[STRICT_QUERY])

_PAGES = Pages("feedback", dt.datetime, uuid.UUID)


@router.post("", status_code=201, responses=problems(404))
async def give_feedback(
    asked: FeedbackRequest,
    serving: Serving,
    caller: Writer,
    once: Once,
) -> Feedback:
    """Mark a detection right or wrong, or a reading as anomaly or not.

    The newest label of a reading counts. Labels move thresholds and enter the evaluation.
    """

    def write(connection: Connection) -> dict[str, Any]:
        stream, label = _label(connection, serving, asked)
        given = give(connection, stream, label, actor=caller.actor)
        return _shown(given).model_dump(mode="json")

    return Feedback(**await once.write(write))


@router.get("", responses=problems(404))
async def list_feedback(
    serving: Serving,
    _caller: Reader,
    stream: Annotated[Name | None, Query(examples=[DEVICES])] = None,
    entity: Annotated[Name | None, Query()] = None,
    metric_name: Annotated[Name | None, Query()] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> FeedbackList:
    """List what people said, the newest first, superseded labels included."""
    if stream is not None:
        known_stream(serving, stream)
    after = _PAGES.after(cursor)
    chosen = LabelFilter(stream, entity, metric_name)
    async with serving.pool.connection() as connection:
        found = await list_labels(connection, chosen, after=after, limit=limit + 1)
        total = await count_labels(connection, chosen)
        if not total:
            await refuse_unknown(connection, stream, entity, metric_name, kind="entity")
    page, following = _PAGES.cut(found, limit, lambda last: (last.created_at, last.id))
    labels = [_shown(one) for one in page]
    return FeedbackList(feedback=labels, total=total, next_cursor=following)


def _shown(label: Label) -> Feedback:
    known = asdict(label)
    metric, time, _ = (known.pop(name) for name in ("metric", "event_time", "event_id"))
    return Feedback(**known, metric_name=metric, timestamp=time)


def _label(
    connection: Connection, serving: ServingState, asked: FeedbackRequest
) -> tuple[str, NewLabel]:
    """Return the stream and the label that feedback means.

    Raises
    ------
    ApiProblem
        404, when there is no such detection, stream or reading.
    """
    if asked.detection_id is not None:
        return label_of_detection(
            connection, asked.detection_id, correct=bool(asked.correct), comment=asked.comment
        )
    if not (asked.stream and asked.entity and asked.metric_name and asked.timestamp):
        raise AssertionError("the schema lets no half of a reading pass")
    said = SaidOfReading(
        known_stream(serving, asked.stream),
        asked.entity,
        asked.metric_name,
        asked.timestamp,
        bool(asked.is_anomaly),
        asked.comment,
    )
    return label_of_reading(connection, said)

"""``/api/v1/feedback``: people mark detections and readings right or wrong."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from psycopg.rows import dict_row

from anomaly_platform.labelling.labels import SCAN_METRIC, NewLabel, add
from anomaly_platform.queries.known_names import refuse_unknown
from anomaly_platform.serving.auth.security import Caller, require
from anomaly_platform.serving.http.cursors import read_cursor, write_cursor
from anomaly_platform.serving.http.idempotency import Once
from anomaly_platform.serving.http.openapi import problems
from anomaly_platform.serving.http.strict_query import STRICT_QUERY
from anomaly_platform.serving.problems import ApiProblem, not_found
from anomaly_platform.serving.schemas.base import Cursor, Name, PageSize
from anomaly_platform.serving.schemas.feedback import Feedback, FeedbackList, FeedbackRequest
from anomaly_platform.serving.state import Serving, ServingState
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables import audit
from anomaly_platform.streams import MetricStream
from anomaly_platform.streams.bindings import DEVICES

router = APIRouter(prefix="/api/v1/feedback", tags=["feedback"], dependencies=[STRICT_QUERY])

_KIND = "feedback"
_COLUMNS = (
    "id, stream, entity, metric AS metric_name, event_time AS timestamp, is_anomaly, comment, "
    "labelled_by, detection_id, created_at"
)


@router.post("", status_code=201, responses=problems(404))
async def give_feedback(
    asked: FeedbackRequest,
    serving: Serving,
    caller: Annotated[Caller, Depends(require("ml:write"))],
    once: Once,
) -> Feedback:
    """Mark a detection right or wrong, or a reading as anomaly or not.

    The newest label of a reading counts. Labels move thresholds and enter the evaluation.
    """

    def write(connection: Connection) -> dict[str, Any]:
        stream, label = _label(connection, serving, asked)
        identity = add(connection, stream, label, labelled_by=caller.actor)
        audit.record(
            connection,
            caller.actor,
            "feedback.add",
            f"{stream}/{label.entity}/{label.metric}",
            None,
            {"label": str(identity), "is_anomaly": label.is_anomaly},
        )
        with connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(
                f"SELECT {_COLUMNS} FROM feedback_labels WHERE id = %s",  # noqa: S608
                (identity,),
            ).fetchone()
        return Feedback.model_validate(row).model_dump(mode="json")

    return Feedback(**await once.write(write))


@router.get("", responses=problems(404))
async def list_feedback(
    serving: Serving,
    _caller: Annotated[Caller, Depends(require("ml:read"))],
    stream: Annotated[Name | None, Query(examples=[DEVICES])] = None,
    entity: Annotated[Name | None, Query()] = None,
    metric_name: Annotated[Name | None, Query()] = None,
    limit: PageSize = 100,
    cursor: Cursor = None,
) -> FeedbackList:
    """List what people said, the newest first, superseded labels included."""
    if stream is not None and stream not in serving.models.streams:
        raise not_found(f"stream {stream!r}")
    after = read_cursor(_KIND, cursor, (dt.datetime, uuid.UUID)) if cursor else (None, None)
    fits = (
        "(%(stream)s::text IS NULL OR stream = %(stream)s) "
        "AND (%(entity)s::text IS NULL OR entity = %(entity)s) "
        "AND (%(metric)s::text IS NULL OR metric = %(metric)s)"
    )
    key = {"stream": stream, "entity": entity, "metric": metric_name, "limit": limit + 1}
    async with serving.pool.connection() as connection:
        async with connection.cursor(row_factory=dict_row) as rows:
            await rows.execute(
                f"SELECT {_COLUMNS} FROM feedback_labels WHERE {fits} "  # noqa: S608
                "AND (%(time)s::timestamptz IS NULL OR (created_at, id) < (%(time)s, %(id)s)) "
                "ORDER BY created_at DESC, id DESC LIMIT %(limit)s",
                {**key, "time": after[0], "id": after[1]},
            )
            found = [Feedback(**row) for row in await rows.fetchall()]
        counted = await connection.execute(
            f"SELECT count(*) FROM feedback_labels WHERE {fits}",  # noqa: S608
            key,
        )
        total = await counted.fetchone()
        if total is None or not total[0]:
            await refuse_unknown(connection, stream, entity, metric_name, kind="entity")
    page, following = found[:limit], None
    if len(found) > limit:
        following = write_cursor(_KIND, page[-1].created_at, page[-1].id)
    return FeedbackList(
        feedback=page, total=0 if total is None else total[0], next_cursor=following
    )


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
        row = connection.execute(
            'SELECT stream, device_id, metric_name, "timestamp", event_id '
            "FROM anomaly_detections WHERE id = %s",
            (asked.detection_id,),
        ).fetchone()
        if row is None:
            raise not_found(f"detection {asked.detection_id}")
        stream, entity, metric, time, event = row
        return stream, NewLabel(
            entity,
            metric,
            time,
            bool(asked.correct),
            comment=asked.comment,
            event_id=event,
            detection_id=asked.detection_id,
        )
    if None in (asked.stream, asked.entity, asked.metric_name, asked.timestamp):
        raise AssertionError("the schema lets no half of a reading pass")
    known = serving.models.streams.get(str(asked.stream))
    if known is None:
        raise not_found(f"stream {asked.stream!r}")
    is_metric = isinstance(known, MetricStream)
    if not is_metric and asked.metric_name != SCAN_METRIC:
        raise ApiProblem(422, f"metric_name: of a scan write {SCAN_METRIC!r}")
    event = _event_of(connection, asked, is_metric=is_metric)
    return known.name, NewLabel(
        str(asked.entity),
        str(asked.metric_name),
        asked.timestamp or dt.datetime.now(dt.UTC),
        bool(asked.is_anomaly),
        comment=asked.comment,
        event_id=event,
    )


def _event_of(
    connection: Connection, asked: FeedbackRequest, *, is_metric: bool
) -> uuid.UUID | None:
    """Return the id of a reading; a scan has text for one, which a label does not hold."""
    key = {
        "stream": asked.stream,
        "entity": asked.entity,
        "metric": asked.metric_name,
        "time": asked.timestamp,
    }
    statement = (
        "SELECT event_id FROM scored_metrics WHERE stream = %(stream)s AND entity = %(entity)s "
        "AND metric = %(metric)s AND event_time = %(time)s UNION ALL "
        "SELECT event_id FROM online_readings WHERE stream = %(stream)s AND entity = %(entity)s "
        "AND metric = %(metric)s AND event_time = %(time)s LIMIT 1"
        if is_metric
        else "SELECT NULL FROM scored_scans WHERE stream = %(stream)s "
        "AND epc_code = %(entity)s AND event_time = %(time)s LIMIT 1"
    )
    row = connection.execute(statement, key).fetchone()
    if row is None:
        raise not_found("reading of that entity, metric and time")
    found: uuid.UUID | None = row[0]
    return found

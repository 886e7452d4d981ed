"""The verdict on each reading, as its sender gets it.

Belongs here: verdicts as they go out, of single answers and of columns; a test holds the two
together. Does not belong here: the request (``routes.telemetry``), nor what a verdict means
(``schemas.telemetry``).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from pydantic_core import to_json

from anomaly_platform.ingest.online.id_kernels import id_texts
from anomaly_platform.ingest.online.readings import Reading, Refusal
from anomaly_platform.ml.arrays import Floats
from anomaly_platform.ml.times import time_of
from anomaly_platform.realtime.answers import OTHER_READING, Answer, StoredColumns

_NOTHING: Final[dict[str, Any]] = dict.fromkeys(
    (
        "event_id",
        "timestamp",
        "is_anomaly",
        "is_call",
        "score",
        "threshold",
        "series_status",
        "provisional",
        "model_version",
    )
)
#: By decision: 0, 1, and −1 from the end.
_DECISIONS: Final = ("false", "true", "null")


def verdicts(
    names: Mapping[str, str], checked: Sequence[Reading | Refusal], answers: Iterable[Answer]
) -> list[dict[str, Any]]:
    """Return what is said of each reading.

    Parameters
    ----------
    names
        Under which the sender knows each canonical field.
    checked, answers
        What came, and what became of those that were not refused.
    """
    said = iter(answers)
    times: dict[int, str] = {}
    return [
        _verdict(next(said), names, times)
        if isinstance(one, Reading)
        else {
            "status": "refused",
            **_NOTHING,
            "error": {"field": names.get(one.field, one.field) or None, "reason": one.reason},
        }
        for one in checked
    ]


def answer_of(rows: Sequence[str], anomalies: int) -> bytes:
    """Return the answer of which these are the verdicts, so many of them anomalies."""
    head = f'{{"accepted":{len(rows)},"refused":0,"anomalies":{anomalies},"readings":['
    return f"{head}{','.join(rows)}]}}".encode()


def written_rows(stored: StoredColumns) -> list[str]:
    """Return the verdict on each of readings that all were stored, as JSON."""
    moments = stored.readings.times.tolist()
    times = {moment: time_of(moment).isoformat() for moment in set(moments)}
    version = "null" if stored.bundle_version is None else str(stored.bundle_version)
    return [
        f'{{"status":"stored","event_id":"{event_id}","timestamp":"{when}",'
        f'"is_anomaly":{decision},"is_call":{call},"score":{score},"threshold":{threshold},'
        f'"series_status":"{status}","provisional":false,"model_version":{version},'
        f'"error":null}}'
        for event_id, when, decision, call, score, threshold, status in zip(
            id_texts(stored.event_ids),
            map(times.__getitem__, moments),
            map(_DECISIONS.__getitem__, stored.decisions.tolist()),
            map(_DECISIONS.__getitem__, stored.calls.tolist()),
            _numbers(stored.scores),
            _numbers(stored.thresholds),
            stored.statuses,
            strict=True,
        )
    ]


def _numbers(column: Floats) -> list[str]:
    """Return numbers as JSON, null for NaN."""
    bits = column.view(np.int64)
    if (bits == bits[0]).all():
        return _numbers_in_turn(column[:1]) * column.size
    return _numbers_in_turn(column)


def _numbers_in_turn(column: Floats) -> list[str]:
    return to_json(column.tolist(), inf_nan_mode="null")[1:-1].decode("ascii").split(",")


def _verdict(answer: Answer, names: Mapping[str, str], times: dict[int, str]) -> dict[str, Any]:
    """Return what is said of a reading; `times` are those written so far."""
    error = None
    if answer.reason:
        at_fault = "event_id" if answer.reason == OTHER_READING else "value"
        error = {"field": names[at_fault], "reason": answer.reason}
    kept = answer.reading
    if kept is None:
        return {"status": answer.outcome, **_NOTHING, "error": error}
    when = times.get(kept.event_time)
    if when is None:
        when = times[kept.event_time] = time_of(kept.event_time).isoformat()
    return {
        "status": answer.outcome,
        "event_id": kept.event_id,
        "timestamp": when,
        "is_anomaly": kept.is_anomaly,
        "is_call": kept.is_call,
        "score": kept.score,
        "threshold": kept.threshold,
        "series_status": kept.status,
        "provisional": kept.provisional,
        "model_version": kept.bundle_version,
        "error": error,
    }

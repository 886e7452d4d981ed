"""What a detection asks of the EMS, and what it tells it.

Belongs here: fetching readings of one asset that nobody has here yet, on the way that all readings
take, and making events of what was found. Does not belong here: the steady pull (``ems.pull``) and
messages about what arrives (``notifications``).
"""

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from anomaly_platform.ems.client import open_ems
from anomaly_platform.ems.pull import line_of
from anomaly_platform.ems.records import EmsError, NewAlert, NewEvent
from anomaly_platform.ems.told import Told
from anomaly_platform.ingest.online.readings import RawReading, Reading
from anomaly_platform.notifications.outbox import anomaly_severity
from anomaly_platform.notifications.redaction import Redactor
from anomaly_platform.queries.scored_readings import ReadingFilter, ScoredRow, known_times
from anomaly_platform.serving.metrics.requests import count_scored
from anomaly_platform.serving.schemas.telemetry import MOST_READINGS
from anomaly_platform.serving.state import ServingState
from anomaly_platform.streams import metric_streams
from anomaly_platform.streams.bindings import ASSETS

if TYPE_CHECKING:
    from anomaly_platform.ems.client import Ems

_PATIENCE_S: Final = 30.0
_MOST_EVENTS: Final = 100
Message = dict[str, NewEvent | NewAlert]
"""An event, and perhaps an alert, each by its idempotency key."""

#: What is younger, the notifications tell the EMS of, where they are sent there.
_FRESH: Final = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step.

    Attributes
    ----------
    done
        Readings that were stored, or events that were made.
    refused
        Of the readings those that cannot be used.
    left_out
        What was not done and why; None where everything was.
    """

    done: int = 0
    refused: int = 0
    left_out: str | None = None


async def fetch_missing(
    serving: ServingState, asset: str, metric: str | None, hours: float
) -> Outcome:
    """Store and score the readings of the last hours that the EMS has and nobody here.

    Parameters
    ----------
    asset, metric
        Whose; None means all metrics.
    hours
        Before now.
    """
    now = dt.datetime.now(dt.UTC)
    since, until = now - dt.timedelta(hours=hours), now + dt.timedelta(seconds=1)
    try:
        async with asyncio.timeout(_PATIENCE_S), open_ems(serving.settings) as ems:
            rows = await ems.raw_metrics(
                since=since, until=until, asset_id=asset, metric_name=metric
            )
    except (EmsError, TimeoutError) as error:
        return Outcome(left_out=_why(serving, error))
    raw = [one for one in map(_raw, rows) if one is not None]
    # A server may know nothing of filters.
    asked = [one for one in raw if one.entity == asset and metric in (None, one.metric)]
    stream = metric_streams(serving.platform.streams)[ASSETS]
    checked = serving.platform.reading_rules(stream).check(asked, now)
    good = [one for one in checked if isinstance(one, Reading)]
    async with serving.pool.connection() as connection:
        known = await known_times(connection, ReadingFilter(ASSETS, asset, metric, since, until))
    new = sorted((one for one in good if (one.metric, one.time) not in known), key=_time)
    stored: list[Any] = []
    for begin in range(0, len(new), MOST_READINGS):
        part = new[begin : begin + MOST_READINGS]
        answers = await serving.ingestion.ingest(stream, part, source="ems")
        stored += [one.reading for one in answers if one.outcome == "stored" and one.reading]
    serving.look_backs.forget(
        serving.models.metrics(ASSETS), {(one.entity, one.metric) for one in stored}
    )
    count_scored(ASSETS, len(stored), sum(one.is_anomaly is True for one in stored))
    return Outcome(len(stored), len(rows) - len(raw) + len(checked) - len(good))


async def create_events(
    serving: ServingState, found: Sequence[ScoredRow], threshold: float | None
) -> Outcome:
    """Make an event of each anomaly in the EMS, and an alert of each severe one.

    What the EMS was told before, it is not told again. Keys follow from the readings, so that what
    is told again after a crash is the same event where the EMS honours them.

    Parameters
    ----------
    found
        Anomalies, the most unusual first.
    threshold
        Judged them; None where each series' own did.
    """
    left_out: list[str] = []
    rows = list(found)
    if serving.settings.pushes_to_ems:
        fresh = dt.datetime.now(dt.UTC) - _FRESH
        rows = [row for row in rows if row.event_time < fresh]
        if len(rows) < len(found):
            left_out.append("those of the last hour: the notifications tell the EMS of them")
    messages = [_told(row, threshold) for row in rows]
    told = Told.of(serving.settings)
    async with serving.pool.connection() as connection:
        known = await told.among(connection, [key for one in messages for key in one])
    new = [one for one in messages if not known.issuperset(one)]
    if len(new) > _MOST_EVENTS:
        left_out.append(f"all but the {_MOST_EVENTS} most unusual of {len(new)}")
    keys: set[str] = set()
    try:
        if new:
            async with asyncio.timeout(_PATIENCE_S), open_ems(serving.settings) as ems:
                for message in new[:_MOST_EVENTS]:
                    await _tell(ems, message, known, keys)
    except (EmsError, TimeoutError) as error:
        missing = sum(not (known | keys).issuperset(one) for one in new[:_MOST_EVENTS])
        left_out.append(f"{missing}: {_why(serving, error)}")
    async with serving.pool.connection() as connection:
        made = await told.add(connection, keys)
    events = {key for one in new for key, record in one.items() if isinstance(record, NewEvent)}
    return Outcome(len(made & events), left_out="; ".join(left_out) or None)


async def _tell(ems: "Ems", message: Message, known: set[str], told: set[str]) -> None:
    """Tell the EMS what it does not know, and add the keys to what it was told."""
    for key, record in message.items():
        if key in known:
            continue
        if isinstance(record, NewEvent):
            await ems.create_event(record, key=key)
        else:
            await ems.create_alert(record, key=key)
        told.add(key)


def _time(reading: Reading) -> int:
    return reading.time


def _why(serving: ServingState, error: Exception) -> str:
    """Return why the EMS did not help; what it answered may repeat the token it was shown."""
    if isinstance(error, TimeoutError):
        return f"the EMS took longer than {_PATIENCE_S:g} s"
    return Redactor.of(serving.settings).clean(str(error))


def _raw(row: dict[str, Any]) -> RawReading | None:
    """Return a reading as the EMS has it, None where it is none."""
    line = line_of(row)
    value = line["value"]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if None in (line["asset_id"], line["metric_name"], line["timestamp"]):
        return None
    return RawReading(
        str(line["asset_id"]),
        str(line["metric_name"]),
        float(value),
        str(line["timestamp"]),
        line["event_id"],
    )


def _told(row: ScoredRow, threshold: float | None) -> Message:
    score, limit = row.score or 0.0, row.threshold if threshold is None else threshold
    said: dict[str, Any] = {
        "asset_id": row.entity,
        "severity": anomaly_severity(score, limit),
        "message": f"{row.metric} of {row.entity} is unusual: {row.value:g}",
        "timestamp": row.event_time,
        "metadata": {
            "reading": str(row.event_id),
            "metricName": row.metric,
            "value": row.value,
            "score": score,
            "threshold": limit,
        },
    }
    key = f"detect-{row.event_id}"
    message: Message = {key: NewEvent(type="anomaly", **said)}
    if said["severity"] == "critical":
        message[f"{key}-alert"] = NewAlert(title=said["message"], **said)
    return message

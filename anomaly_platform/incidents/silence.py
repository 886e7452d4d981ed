"""Tells of series and entities that have fallen silent, once, and of their return.

Belongs here: who is silent. A row tells when something is wrong with it; what does not come has no
row. What is usual is read from the days on which a series was heard: the mean time between readings
of a day, and the longest break between two days, so that who rests at night or over weekends is not
silent then. An entity is silent when all of its series are; otherwise a series is told by itself.
While a stream as a whole is silent (``stream_silence``), that is told alone.
"""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from anomaly_platform.incidents.stream_silence import (
    Arrivals,
    alert_of,
    arrivals_of,
    back_since,
    name_of,
)
from anomaly_platform.ml.scoring.reasons import duration
from anomaly_platform.notifications.outbox import Alert, Outbox, fingerprint
from anomaly_platform.storage.postgres.transactions import Connection, fetch_all

MOST_ENTITIES: Final = 50
"""Entities that get an alert of their own; where more fall silent, one speaks for all."""

#: Times the usual time between readings, and times the longest break between days, that is silence;
#: never less than the last.
_USUAL, _BREAK, _LEAST = 12, 2, dt.timedelta(minutes=15)
#: Days and readings from which on a habit is known, and the days that it is read from.
_DAYS, _READINGS, _WINDOW = 3, 60, dt.timedelta(days=28)
#: Silence that began earlier is history when it is first seen.
_NEWS_FOR: Final = dt.timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Habit:
    """How a series is heard.

    Attributes
    ----------
    heard, online : datetime
        The newest reading, and the newest that came one by one, None where none did.
    usual, pause : timedelta
        Mean time between readings of a day, longest break between two days.
    """

    entity: str
    metric: str
    heard: dt.datetime
    online: dt.datetime | None
    usual: dt.timedelta
    pause: dt.timedelta

    @property
    def comes_online(self) -> bool:
        """Whether its newest reading came one by one."""
        return self.online == self.heard

    def is_silent(self, moment: dt.datetime, back: dt.datetime | None) -> bool:
        """Return whether it is silent; its stream was, until `back`."""
        since = self.heard if back is None else max(self.heard, back)
        return since + max(_USUAL * self.usual, _BREAK * self.pause, _LEAST) < moment


_HABITS: Final = """
    WITH days AS (
        SELECT series_id, rows, first_event, last_event,
            first_event - lag(last_event) OVER (PARTITION BY series_id ORDER BY day) AS pause
        FROM series_days WHERE stream = %(stream)s
            AND day > (SELECT max(day) FROM series_days WHERE stream = %(stream)s) - %(window)s
    ), habits AS (
        SELECT series_id, coalesce(max(pause), '0') AS pause,
            sum(last_event - first_event) / nullif(sum(rows) - count(*), 0) AS usual
        FROM days GROUP BY series_id HAVING count(*) >= %(days)s AND sum(rows) >= %(readings)s
    )
    SELECT s.entity, s.metric, greatest(s.last_event, h.last_event) AS heard,
        h.last_event AS online, b.usual, b.pause
    FROM habits b JOIN series s USING (series_id)
    LEFT JOIN series_state t USING (stream, entity, metric) LEFT JOIN series_heads h USING (id)
    WHERE b.usual IS NOT NULL ORDER BY s.entity, s.metric
"""


def tell_of_silence(
    connection: Connection, outbox: Outbox, stream: str, title: str, now: dt.datetime
) -> tuple[int, int]:
    """Raise the alerts of what is silent of a stream, and end those of what is heard again.

    Series whose readings come one by one are missed against the clock, those of files against the
    newest reading of the stream's files: a file tells of the past. A stream that nothing comes of
    is missed against the clock, and its series are not judged meanwhile; when it is back, they are
    given as long as usual to come back, too.

    Parameters
    ----------
    connection
        In a transaction.
    outbox
        Where it is told.
    stream, title
        The stream's name, and as people call it.
    now
        The present.

    Returns
    -------
    silent, returned : int
        Alerts that were raised or are still open, and that were ended.
    """
    arrivals = arrivals_of(connection, stream)
    opened = {
        str(name): details
        for name, details in connection.execute(
            "SELECT fingerprint, details FROM alerts WHERE kind = 'silent' AND stream = %s "
            "AND state = 'open'",
            (stream,),
        ).fetchall()
    }
    of_stream = opened.pop(name_of(stream), None)
    if arrivals is not None and arrivals.due < now:
        if now - arrivals.newest <= _NEWS_FOR:
            outbox.raise_alert(connection, alert_of(stream, title, arrivals), now=now)
        return 1 + len(opened), 0
    ended = 0
    if of_stream is not None and arrivals is not None:
        _tell_of_return(connection, outbox, stream, arrivals, now)
        ended = 1
    silent, returned = _tell_of_series(connection, outbox, stream, title, opened, now)
    return silent, returned + ended


def _tell_of_return(
    connection: Connection, outbox: Outbox, stream: str, arrivals: Arrivals, now: dt.datetime
) -> None:
    reason = f"something came at {arrivals.newest:%Y-%m-%d %H:%M} UTC"
    outbox.resolve_alert(connection, name_of(stream), {"reason": reason}, now=now)


def _tell_of_series(
    connection: Connection,
    outbox: Outbox,
    stream: str,
    title: str,
    opened: Mapping[str, Mapping[str, Any]],
    now: dt.datetime,
) -> tuple[int, int]:
    values = {"stream": stream, "window": _WINDOW.days, "days": _DAYS, "readings": _READINGS}
    habits = fetch_all(connection, Habit, _HABITS, values)
    if not habits:
        return 0, 0
    newest = max((one.heard for one in habits if not one.comes_online), default=now)
    back = back_since(connection, stream, now)
    silent = {
        (one.entity, one.metric): moment - one.heard <= _NEWS_FOR
        for one in habits
        for moment in (now if one.comes_online else newest,)
        if one.is_silent(moment, back)
    }
    news = {
        (entity, of) for (entity, metric), new in silent.items() if new for of in (metric, None)
    }
    alerts = {one.fingerprint: one for one in _alerts(stream, title, habits, silent.keys())}
    for name in sorted(alerts.keys() - opened.keys()):
        known = alerts[name].details
        if news and (known.get("entity"), known.get("metric")) in news | {(None, None)}:
            outbox.raise_alert(connection, alerts[name], now=now)
    ends = {
        name: why
        for name in opened.keys() - alerts.keys()
        if (why := _why_over(opened[name], habits)) is not None
    }
    for name in sorted(ends):
        outbox.resolve_alert(connection, name, {"reason": ends[name]}, now=now)
    return len(alerts), len(ends)


def _why_over(known: Mapping[str, Any], habits: Sequence[Habit]) -> str | None:
    """Return why an open alert is over; None where nothing was heard since it was raised."""
    entity, metric = known.get("entity"), known.get("metric")
    about = [
        one.heard for one in habits if entity in {None, one.entity} and metric in {None, one.metric}
    ]
    if not about:
        return f"it was not heard for {_WINDOW.days} days"
    is_heard = max(about) > dt.datetime.fromisoformat(str(known["last_event"]))
    return "it is heard again" if is_heard else None


def _alerts(
    stream: str, title: str, habits: Sequence[Habit], missed: Collection[tuple[str, str]]
) -> Iterator[Alert]:
    entities: dict[str, list[Habit]] = {}
    for one in habits:
        entities.setdefault(one.entity, []).append(one)
    silent = {
        entity: [one for one in series if (one.entity, one.metric) in missed]
        for entity, series in entities.items()
    }
    whole = [entity for entity, series in entities.items() if len(silent[entity]) == len(series)]
    if len(whole) > MOST_ENTITIES:
        last = max(one.heard for entity in whole for one in silent[entity])
        yield Alert(
            kind="silent",
            fingerprint=fingerprint("silent", stream),
            subject=stream,
            severity="critical",
            title=f"{title}: {len(whole)} of {len(entities)} are silent",
            stream=stream,
            details={
                "last_event": last.isoformat(),
                "entities": len(whole),
                "for_example": whole[:20],
            },
        )
    for entity, series in silent.items():
        if entity not in whole:
            for one in series:
                about = f"{one.metric} of {entity}"
                yield _alert(stream, f"{title}: {about} is silent", one, one.metric)
        elif len(whole) <= MOST_ENTITIES:
            last_heard = max(series, key=lambda one: one.heard)
            yield _alert(stream, f"{title}: {entity} is silent", last_heard, None)


def _alert(stream: str, title: str, one: Habit, metric: str | None) -> Alert:
    named = (one.entity,) if metric is None else (one.entity, metric)
    often = duration(one.usual.total_seconds() * 1e6)
    return Alert(
        kind="silent",
        fingerprint=fingerprint("silent", stream, *named),
        subject=one.entity,
        severity="warning",
        title=title,
        stream=stream,
        details={
            "entity": one.entity,
            **({} if metric is None else {"metric": metric}),
            "last_event": one.heard.isoformat(),
            "reason": f"not heard since {one.heard:%Y-%m-%d %H:%M} UTC, usual is every {often}",
        },
        occurrence=one.heard.isoformat(),
    )

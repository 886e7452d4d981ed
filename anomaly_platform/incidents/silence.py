"""Tells of series and entities that have fallen silent, once, and of their return.

Belongs here: who is silent. A row tells when something is wrong with it; what does not come has no
row. What is usual is read from the days on which a series was heard: the mean time between readings
of a day, and the longest break between two days, so that who rests at night or over weekends is not
silent then. An entity is silent when all of its series are; otherwise a series is told by itself.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

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
    def due(self) -> dt.datetime:
        """From when on it is silent."""
        return self.heard + max(_USUAL * self.usual, _BREAK * self.pause, _LEAST)


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
    """Raise the alerts of a stream's silent series, and end those of series that are heard again.

    Readings that come one by one are missed against the clock, those of files against the newest
    reading of their stream: a file tells of the past.

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
    values = {"stream": stream, "window": _WINDOW.days, "days": _DAYS, "readings": _READINGS}
    habits = fetch_all(connection, Habit, _HABITS, values)
    if not habits:
        return 0, 0
    newest = max(one.heard for one in habits)
    comes_online = any(one.online == one.heard for one in habits)
    moment = now if comes_online else newest
    opened = {
        str(name): details
        for name, details in connection.execute(
            "SELECT fingerprint, details FROM alerts WHERE kind = 'silent' AND stream = %s "
            "AND state = 'open'",
            (stream,),
        ).fetchall()
    }
    alerts = {one.fingerprint: one for one in _alerts(stream, title, habits, moment)}
    for name in sorted(alerts.keys() - opened.keys()):
        heard = dt.datetime.fromisoformat(str(alerts[name].details["last_event"]))
        if moment - heard <= _NEWS_FOR:
            outbox.raise_alert(connection, alerts[name], now=now)
    returned = sorted(opened.keys() - alerts.keys())
    for name in returned:
        entity = opened[name].get("entity")
        known = entity is None or any(one.entity == entity for one in habits)
        why = "it is heard again" if known else f"it was not heard for {_WINDOW.days} days"
        outbox.resolve_alert(connection, name, {"reason": why}, now=now)
    return len(alerts), len(returned)


def _alerts(
    stream: str, title: str, habits: Sequence[Habit], moment: dt.datetime
) -> Iterator[Alert]:
    entities: dict[str, list[Habit]] = {}
    for one in habits:
        entities.setdefault(one.entity, []).append(one)
    silent = {
        entity: [one for one in series if one.due < moment] for entity, series in entities.items()
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
    every = one.usual.total_seconds()
    often = f"{every / 60:.3g} minutes" if every >= 90.0 else f"{every:.3g} seconds"
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
            "reason": f"not heard since {one.heard:%Y-%m-%d %H:%M}, usual is every {often}",
        },
        occurrence=one.heard.isoformat(),
    )

"""Transactional outbox of alerts: a message is written in the transaction that caused it.

Belongs here: alerts with their fingerprints, cool-down and resolution, as far as the message that
somebody will deliver. Does not belong here: who is told and how (``dispatcher``), nor the
decision that something is wrong. The rules stand in the SQL functions ``raise_alert`` and
``resolve_alert``.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID

from anomaly_platform.notifications.redaction import Redactor
from anomaly_platform.storage.postgres.transactions import Connection

Severity = Literal["info", "warning", "critical"]
Kind = Literal[
    "anomaly",
    "silent",
    "run_failed",
    "check_failed",
    "gate_failed",
    "model_disabled",
    "quality",
    "drift",
    "latency",
    "storage",
    "model_trained",
    "model_retrained",
]

EVENTS: Final = frozenset({"model_trained", "model_retrained"})
"""Kinds that happen once and have no end; the others stay open until they are resolved."""

NOTIFICATIONS_CHANNEL: Final = "notifications"
"""PostgreSQL channel on which every new message is announced."""

#: From this part of the way between threshold and 1 on, an anomaly is severe.
SEVERE_FROM: Final = 0.6

NEWS_FOR: Final = dt.timedelta(hours=1)
"""Anomalies older than this never alert: nobody can act on them any more."""

_LONGEST_FINGERPRINT: Final = 300
_LONGEST_TEXT: Final = 2_000
_LONGEST_LIST: Final = 50
_RAISE: Final = (
    "SELECT raise_alert(%(fingerprint)s, %(kind)s, %(stream)s, %(subject)s, %(severity)s, "
    "%(title)s, %(details)s::jsonb, %(occurrence)s, %(cool_down)s, %(lasting)s, %(now)s)"
)
#: Who holds an alert is changing it anyway; waiting for it could become a circle of waits.
_RENEW: Final = (
    "UPDATE alerts SET last_seen_at = greatest(last_seen_at, %(now)s) WHERE fingerprint IN ("
    "SELECT fingerprint FROM alerts WHERE fingerprint = ANY(%(fingerprints)s) "
    "AND state = 'open' FOR UPDATE SKIP LOCKED)"
)
_RESOLVE: Final = "SELECT resolve_alert(%(fingerprint)s, %(details)s::jsonb, %(now)s)"


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that somebody should know.

    Attributes
    ----------
    kind : str
        One of :data:`Kind`.
    fingerprint : str
        Names the one thing that is wrong; see :func:`fingerprint`.
    subject : str
        What it is about: an entity, a run, a model.
    severity : {'info', 'warning', 'critical'}
    title : str
        One line for people.
    stream : str or None
    details : mapping
        What can be written as JSON.
    occurrence : str or None
        Names what is counted, such as a run's id; the same one again changes nothing.
    """

    kind: Kind
    fingerprint: str
    subject: str
    severity: Severity
    title: str
    stream: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    occurrence: str | None = None


def fingerprint(kind: str, *parts: str) -> str:
    """Return the name of one thing that may be wrong, short enough for an index.

    Examples
    --------
    >>> fingerprint("run_failed", "ems", "refresh")
    'run_failed/ems/refresh'
    """
    joined = "/".join((kind, *(part.replace("/", "%2F") for part in parts)))
    if len(joined.encode("utf-8", "replace")) <= _LONGEST_FINGERPRINT and joined == _storable(
        joined
    ):
        return joined
    digest = hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{kind}/{digest}"


def anomaly_severity(score: float, threshold: float) -> Severity:
    """Return how bad an anomaly is, from how far its score lies beyond the threshold.

    Examples
    --------
    >>> anomaly_severity(0.75, 0.7), anomaly_severity(0.9, 0.7)
    ('warning', 'critical')
    """
    reach = (score - threshold) / (1 - threshold) if threshold < 1 else 1.0
    return "critical" if reach >= SEVERE_FROM else "warning"


class Outbox:
    """Raises and resolves alerts within the caller's transaction.

    Parameters
    ----------
    cool_down : timedelta
        Repeats of an alert within it are counted and not sent.
    redactor : Redactor or None
        Takes secrets out of titles and details.
    """

    def __init__(
        self,
        cool_down: dt.timedelta = dt.timedelta(hours=1),
        redactor: Redactor | None = None,
    ) -> None:
        self._cool_down = cool_down
        self._redactor = redactor or Redactor()

    def raise_alert(
        self, connection: Connection, alert: Alert, *, now: dt.datetime | None = None
    ) -> UUID | None:
        """Count an occurrence of an alert and write a message unless the cool-down holds it back.

        A graver occurrence than the one that was told is written at once. An alert that comes
        back within its cool-down is told at the end of it, if it is still open then.

        Parameters
        ----------
        connection : Connection
            In the transaction of what caused the alert: both are committed, or neither.
        alert : Alert
        now : datetime or None
            The database's clock by default.

        Returns
        -------
        UUID or None
            The message's id; None where the occurrence was only counted.
        """
        values = {
            "fingerprint": alert.fingerprint,
            "kind": alert.kind,
            "stream": alert.stream,
            "subject": self._text(alert.subject),
            "severity": alert.severity,
            "title": self._text(alert.title),
            "details": self._json(alert.details),
            "occurrence": alert.occurrence,
            "cool_down": self._cool_down,
            "lasting": alert.kind not in EVENTS,
            "now": now,
        }
        row = connection.execute(_RAISE, values).fetchone()
        return None if row is None else row[0]

    def raise_alerts(self, connection: Connection, alerts: Iterable[Alert]) -> list[UUID]:
        """Raise several, in an order in which no two transactions wait for each other."""
        ordered = sorted(alerts, key=lambda alert: alert.fingerprint)
        made = (self.raise_alert(connection, alert) for alert in ordered)
        return [one for one in made if one is not None]

    def renew_alerts(
        self, connection: Connection, fingerprints: Collection[str], *, now: dt.datetime
    ) -> None:
        """Say of open alerts that they go on, which tells nobody and opens none."""
        if fingerprints:
            connection.execute(_RENEW, {"fingerprints": list(fingerprints), "now": now})

    def resolve_alert(
        self,
        connection: Connection,
        fingerprint: str,
        details: Mapping[str, Any],
        *,
        now: dt.datetime | None = None,
    ) -> UUID | None:
        """Close an alert and write the message that says so.

        Returns
        -------
        UUID or None
            The message's id; None where nothing was open, or nobody had been told of it.
        """
        values = {"fingerprint": fingerprint, "details": self._json(details), "now": now}
        row = connection.execute(_RESOLVE, values).fetchone()
        return None if row is None else row[0]

    def _text(self, text: str) -> str:
        return _storable(self._redactor.clean(text))

    def _json(self, details: Mapping[str, Any]) -> str:
        return json.dumps(_plain(self._redactor.clean_all(details)))


def _plain(value: Any) -> Any:
    """Return what PostgreSQL takes as JSON, of bounded size."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    if isinstance(value, Mapping):
        pairs = list(value.items())[:_LONGEST_LIST]
        return {_storable(str(key)): _plain(one) for key, one in pairs}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value[:_LONGEST_LIST]]
    return _storable(value.isoformat() if isinstance(value, dt.date) else str(value))


def _storable(text: str) -> str:
    """Return a text that PostgreSQL takes: no NUL, no half of a character, not endless."""
    whole = text.encode("utf-8", "replace").decode().replace("\x00", "")
    return whole if len(whole) <= _LONGEST_TEXT else f"{whole[: _LONGEST_TEXT - 1]}…"

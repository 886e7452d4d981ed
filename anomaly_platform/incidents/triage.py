"""What people do about an alert: acknowledge it, comment on it, resolve it.

Each is a row of ``audit_log`` in the transaction of the change; reading them is
``queries.operation.triage``.
"""

from typing import Final

from anomaly_platform.incidents.alert_log import is_open
from anomaly_platform.notifications.outbox import Outbox
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables import audit

ACKNOWLEDGED = "alert.acknowledge"
COMMENTED = "alert.comment"
RESOLVED = "alert.resolve"

#: Two who press at once come one after the other.
_OPENED: Final = (
    "SELECT opened_at FROM alerts WHERE fingerprint = %s AND state = 'open' FOR NO KEY UPDATE"
)
_HOLDER: Final = (
    "SELECT actor FROM audit_log WHERE action = %s AND subject = %s AND at >= %s "
    "ORDER BY at DESC, id DESC LIMIT 1"
)


def subject_of(fingerprint: str) -> str:
    """Return what the audit log calls an alert."""
    return f"alert {fingerprint}"


def acknowledge(
    connection: Connection, fingerprint: str, *, actor: str, instead_of: str | None = None
) -> str | None:
    """Note that somebody looks after an open alert, unless somebody else does already.

    Parameters
    ----------
    connection : Connection
    fingerprint, actor : str
    instead_of : str or None
        From whom it is taken over.

    Returns
    -------
    str or None
        Who looks after it now; None where it is not open.
    """
    opened = connection.execute(_OPENED, (fingerprint,)).fetchone()
    if opened is None:
        return None
    subject = subject_of(fingerprint)
    found = connection.execute(_HOLDER, (ACKNOWLEDGED, subject, opened[0])).fetchone()
    holder = None if found is None else str(found[0])
    if holder not in (None, actor, instead_of):
        return holder
    if holder != actor:
        audit.record(connection, actor, ACKNOWLEDGED, subject, None, None)
    return actor


def comment(connection: Connection, fingerprint: str, text: str, *, actor: str) -> None:
    """Note what somebody says about an alert."""
    audit.record(connection, actor, COMMENTED, subject_of(fingerprint), None, {"text": text})


def resolve(
    connection: Connection, outbox: Outbox, fingerprint: str, note: str, *, actor: str
) -> bool:
    """Close an open alert and tell the channels that heard of it; return whether it was open."""
    if not is_open(connection, fingerprint):
        return False
    outbox.resolve_alert(connection, fingerprint, {"resolved_by": actor, "note": note})
    audit.record(connection, actor, RESOLVED, subject_of(fingerprint), None, {"text": note})
    return True

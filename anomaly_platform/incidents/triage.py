"""What people do about an alert: acknowledge it, comment on it, resolve it.

Each is a row of ``audit_log`` in the transaction of the change; reading them is
``queries.operation.triage``.
"""

from anomaly_platform.incidents.alert_log import is_open
from anomaly_platform.notifications.outbox import Outbox
from anomaly_platform.storage.postgres.transactions import Connection
from anomaly_platform.storage.tables import audit

ACKNOWLEDGED = "alert.acknowledge"
COMMENTED = "alert.comment"
RESOLVED = "alert.resolve"


def subject_of(fingerprint: str) -> str:
    """Return what the audit log calls an alert."""
    return f"alert {fingerprint}"


def acknowledge(connection: Connection, fingerprint: str, *, actor: str) -> bool:
    """Note that somebody looks after an open alert; return whether it is open."""
    if not is_open(connection, fingerprint):
        return False
    audit.record(connection, actor, ACKNOWLEDGED, subject_of(fingerprint), None, None)
    return True


def comment(connection: Connection, fingerprint: str, text: str, *, actor: str) -> None:
    """Note what somebody says about an alert."""
    audit.record(connection, actor, COMMENTED, subject_of(fingerprint), None, {"text": text})


def resolve(
    connection: Connection, outbox: Outbox, fingerprint: str, note: str, *, actor: str
) -> bool:
    """Close an open alert and tell those who heard of it; return whether it was open."""
    if not is_open(connection, fingerprint):
        return False
    outbox.resolve_alert(connection, fingerprint, {"resolved_by": actor, "note": note})
    audit.record(connection, actor, RESOLVED, subject_of(fingerprint), None, {"text": note})
    return True

"""Writes messages in words, for people."""

import json

from anomaly_platform.notifications.channels.base import Notification

_LONGEST_TITLE = 200


def headline(notification: Notification) -> str:
    """Return one line: how bad, what, and whether it is over."""
    mark = "RESOLVED" if notification.state == "resolved" else notification.severity.upper()
    line = " ".join(f"[{mark}] {notification.title}".split())
    return line if len(line) <= _LONGEST_TITLE else f"{line[: _LONGEST_TITLE - 1]}…"


def description(notification: Notification) -> str:
    """Return everything that is known, a line for each fact, the message's id at the end."""
    facts = {
        "what": notification.kind,
        "stream": notification.stream,
        "subject": notification.subject,
        "severity": notification.severity,
        "state": notification.state,
        "since": notification.since,
        "occurrences": notification.occurrences,
        **notification.details,
        "alert": notification.fingerprint,
        "message": str(notification.id),
    }
    return "\n".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in facts.items()
        if value is not None
    )

"""Audit log: who changed what, when, from what to what.

Belongs here: writing to ``audit_log``, in the transaction of the change itself. Reading it is for
people, with SQL.
"""

import json
from collections.abc import Mapping
from typing import Any

from anomaly_platform.storage.postgres.transactions import Connection


def record(
    connection: Connection,
    actor: str,
    action: str,
    subject: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    """Enter a change within the caller's transaction.

    Parameters
    ----------
    connection : Connection
    actor : str
        Who did it: a person, an API key's name, a sensor.
    action : str
        Such as ``threshold.set``.
    subject : str
        What was changed, such as ``iiot/press-1/pressure``.
    before, after : mapping or None
        What can be written as JSON; never a secret.
    """
    connection.execute(
        "INSERT INTO audit_log (actor, action, subject, before, after) VALUES (%s, %s, %s, %s, %s)",
        (actor, action, subject, *(one and json.dumps(one) for one in (before, after))),
    )

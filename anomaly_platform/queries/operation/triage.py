"""What people have done about alerts."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from anomaly_platform.incidents.triage import ACKNOWLEDGED, COMMENTED, RESOLVED, subject_of
from anomaly_platform.queries.rows import fetch_all


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that somebody did about an alert.

    Attributes
    ----------
    kind : str
        ``acknowledge``, ``comment`` or ``resolve``.
    """

    subject: str
    kind: str
    at: dt.datetime
    actor: str
    text: str | None


async def deeds_about(
    connection: AsyncConnection[Any], fingerprints: Sequence[str]
) -> dict[str, list[Deed]]:
    """Return what people did about some alerts, by fingerprint, the latest first."""
    by_subject = {subject_of(one): one for one in fingerprints}
    rows = await fetch_all(
        connection,
        Deed,
        "SELECT subject, split_part(action, '.', 2) AS kind, at, actor, after ->> 'text' AS text "
        "FROM audit_log WHERE subject = ANY(%(subjects)s) AND action = ANY(%(actions)s) "
        "ORDER BY at DESC, id DESC",
        {"subjects": list(by_subject), "actions": [ACKNOWLEDGED, COMMENTED, RESOLVED]},
    )
    found: dict[str, list[Deed]] = {one: [] for one in fingerprints}
    for row in rows:
        found[by_subject[row.subject]].append(row)
    return found

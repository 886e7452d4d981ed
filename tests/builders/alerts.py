"""Alerts to raise, and a dispatcher that delivers whatever is due."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from anomaly_platform.notifications.dispatcher import Dispatcher
from anomaly_platform.notifications.outbox import Alert, fingerprint


def anomaly_of(
    entity: str, severity: Literal["warning", "critical"] = "warning", stream: str = "iiot"
) -> Alert:
    """Return the alert that an entity is unusual."""
    details = {"entity": entity, "score": 0.9}
    name = fingerprint("anomaly", stream, entity)
    return Alert("anomaly", name, entity, severity, f"{entity} is unusual", stream, details)


async def deliver_due(dispatcher: Dispatcher) -> Counter[str]:
    """Route and try everything that is due at this moment, once."""
    while await dispatcher.route():
        pass
    done: Counter[str] = Counter()
    for channel in dispatcher.channels:
        while (batch := await dispatcher.deliver(channel)).tried:
            done.update(delivered=batch.delivered, failed=batch.failed, refused=batch.refused)
    return done

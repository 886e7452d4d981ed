"""What several tests of channels let a dispatcher do."""

from __future__ import annotations

from collections import Counter

from anomaly_platform.notifications.dispatcher import Dispatcher


async def deliver_due(dispatcher: Dispatcher) -> Counter[str]:
    """Route and try everything that is due at this moment, once."""
    while await dispatcher.route():
        pass
    done: Counter[str] = Counter()
    for channel in dispatcher.channels:
        while (batch := await dispatcher.deliver(channel)).tried:
            done.update(delivered=batch.delivered, failed=batch.failed, refused=batch.refused)
    return done

"""Delivers the outbox through every channel, each at its own pace.

Belongs here: when a message is tried, and again, and by whom. Channels are independent: one that
hangs or is down holds up no other. Any number of dispatchers may run, and each may be killed at
any moment: what was not recorded as delivered is sent again, with the same id.
"""

import asyncio
import contextlib
import datetime as dt
import functools
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from anomaly_platform.notifications import deliveries
from anomaly_platform.notifications.channels import build_channels
from anomaly_platform.notifications.channels.base import (
    Channel,
    DeliveryError,
    DeliveryRefused,
    Notification,
    Send,
)
from anomaly_platform.notifications.channels.routes import Routes
from anomaly_platform.notifications.outbox import NOTIFICATIONS_CHANNEL
from anomaly_platform.notifications.redaction import Redactor
from anomaly_platform.settings import Settings
from anomaly_platform.storage.postgres.announcements import Announcements

FIRST_DELAY: Final = dt.timedelta(seconds=2)
LONGEST_DELAY: Final = dt.timedelta(minutes=5)
_LONGEST_ASKED_DELAY: Final = dt.timedelta(hours=1)
_LONGEST_PAUSE_S: Final = 30.0
_POLL_S: Final = 5.0
_LONGEST_ERROR: Final = 500

_CONNECTION: Final[dict[str, Any]] = {
    "options": "-c timezone=UTC",
    "application_name": "anomaly_dispatch",
    "connect_timeout": 10,
}

Clock = Callable[[], dt.datetime]
_utc_now: Final = functools.partial(dt.datetime.now, dt.UTC)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Batch:
    """What became of a few deliveries of one channel.

    Attributes
    ----------
    down : bool
        Whether nothing could be sent, and for no fault of the messages.
    """

    delivered: int = 0
    failed: int = 0
    refused: int = 0

    @property
    def tried(self) -> int:
        """Deliveries that were tried."""
        return self.delivered + self.failed + self.refused

    @property
    def down(self) -> bool:
        """Whether the receiver seems to be out of reach."""
        return self.failed > 0 and self.delivered + self.refused == 0


def delay_after(attempts: int, asked: float | None = None) -> dt.timedelta:
    """Return the time to the next try: doubled each time up to a bound, and spread.

    Parameters
    ----------
    attempts : int
        Tries so far, from 1 on.
    asked : float or None
        Seconds that the receiver asked to wait.
    """
    doubled: dt.timedelta = FIRST_DELAY * (1 << min(attempts - 1, 20))
    spread = min(doubled, LONGEST_DELAY) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    if asked is None:
        return spread
    return max(spread, min(dt.timedelta(seconds=asked), _LONGEST_ASKED_DELAY))


@dataclass(slots=True)
class Dispatcher:
    """Moves messages from the outbox to receivers.

    Parameters
    ----------
    pool : AsyncConnectionPool
        Of the platform's database.
    url : str
        Of the same database.
    channels : sequence of Channel
    routes : Routes
    redactor : Redactor
        Takes secrets out of errors before anybody sees them.
    clock : callable
        Now, with time zone.
    grace_s : float
        Seconds that messages under way have to arrive when it is told to stop.
    """

    pool: AsyncConnectionPool[Any]
    url: str = field(repr=False)
    channels: Sequence[Channel]
    routes: Routes
    redactor: Redactor
    clock: Clock = _utc_now
    grace_s: float = 10.0
    _wake: dict[str, asyncio.Event] = field(default_factory=dict, init=False)

    async def route(self) -> int:
        """Write the deliveries of new messages; return how many messages there were.

        Without any channel messages wait for one, though not longer than a day.
        """
        now = self.clock()
        async with self.pool.connection() as connection:
            await deliveries.release_held_back(connection, now)
            if not self.channels:
                await deliveries.drop_stale(connection, now)
                return 0

        def channels_for(notification: Notification) -> list[str]:
            return self.routes.channels_for(notification, list(self.channels))

        async with self.pool.connection() as connection:
            return await deliveries.route(connection, channels_for, now)

    async def tidy(self) -> None:
        """Give up what waits for channels that are gone, and forget what is long over."""
        now = self.clock()
        async with self.pool.connection() as connection:
            await deliveries.prune(connection, now)
            if self.channels:
                names = [channel.name for channel in self.channels]
                await deliveries.give_up_orphans(connection, names, now)

    async def deliver(self, channel: Channel, most: int | None = None) -> Batch:
        """Try due deliveries of one channel side by side, and record what became of them."""
        async with self.pool.connection() as connection:
            claimed = await deliveries.claim(
                connection, channel.name, most or channel.at_once, self.clock()
            )
            if not claimed:
                return Batch()
            errors = await self._send_all(channel, claimed)
            return await self._settle(connection, channel, claimed, errors)

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until told to stop; what is under way then may still arrive."""
        self._wake = {channel.name: asyncio.Event() for channel in self.channels}
        wake_router = asyncio.Event()

        async def committed(_payload: str | None) -> None:
            wake_router.set()

        # The router looks by itself, too, while nothing is announced.
        announcements = Announcements(self.url)
        announcements.on(NOTIFICATIONS_CHANNEL, committed)
        announcements.start()
        async with asyncio.TaskGroup() as tasks:
            routing = tasks.create_task(self._route_for_ever(wake_router))
            sending = [tasks.create_task(self._deliver_until(stop, one)) for one in self.channels]
            await stop.wait()
            await announcements.stop()
            routing.cancel()
            for event in self._wake.values():
                event.set()
            if sending:
                _, late = await asyncio.wait(sending, timeout=self.grace_s)
                for task in late:
                    task.cancel()

    async def _send_all(
        self, channel: Channel, claimed: Sequence[Notification]
    ) -> list[Exception | None]:
        """Return the error of each message, None where it has arrived."""
        try:
            async with _session(channel) as send:
                return list(await asyncio.gather(*(_try(channel, send, one) for one in claimed)))
        except TimeoutError:
            late = DeliveryError(f"no connection within {channel.timeout_s:g} s")
            return [late] * len(claimed)
        except Exception as error:
            return [error] * len(claimed)

    async def _settle(
        self,
        connection: deliveries.AsyncConnection,
        channel: Channel,
        claimed: Sequence[Notification],
        errors: Sequence[Exception | None],
    ) -> Batch:
        batch = Batch()
        now = self.clock()
        arrived = [one.id for one, error in zip(claimed, errors, strict=True) if error is None]
        if arrived:
            await deliveries.settle_delivered(connection, channel.name, arrived, now)
            batch.delivered = len(arrived)
        for one, error in zip(claimed, errors, strict=True):
            if error is None:
                continue
            refused = isinstance(error, DeliveryRefused)
            asked = error.retry_after_s if isinstance(error, DeliveryError) else None
            given_up = await deliveries.settle_failed(
                connection,
                channel.name,
                one,
                error=self._explain(error),
                refused=refused,
                delay=functools.partial(delay_after, asked=asked),
                now=now,
            )
            batch.refused += refused
            batch.failed += not refused
            log.warning(
                "delivery given up" if given_up else "delivery failed",
                channel=channel.name,
                notification=str(one.id),
                error=self._explain(error),
            )
        return batch

    def _explain(self, error: Exception) -> str:
        text = (
            str(error) if isinstance(error, DeliveryError) else f"{type(error).__name__}: {error}"
        )
        return self.redactor.clean(text).replace("\x00", "")[:_LONGEST_ERROR]

    async def _deliver_until(self, stop: asyncio.Event, channel: Channel) -> None:
        wake = self._wake[channel.name]
        failures = 0
        while not stop.is_set():
            wake.clear()
            try:
                # One message finds out whether a receiver that was down is back.
                batch = await self.deliver(channel, 1 if failures else None)
            except (psycopg.Error, PoolTimeout) as error:
                log.warning("the database does not answer", error=self._explain(error))
                await _wait(stop, _POLL_S)
                continue
            if batch.down:
                failures += 1
                pause = min(_LONGEST_PAUSE_S, 0.25 * 2.0 ** min(failures, 10))
                await _wait(stop, pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            elif batch.tried:
                failures = 0
            elif not stop.is_set():
                await _wait(wake, await self._until_next(channel))

    async def _until_next(self, channel: Channel) -> float:
        """Return the seconds until the channel has something to do, as far as is known."""
        try:
            async with self.pool.connection() as connection:
                due = await deliveries.next_due(connection, channel.name)
        except (psycopg.Error, PoolTimeout):
            return _POLL_S
        if due is None:
            return _POLL_S
        # What is due and was not claimed is locked by another dispatcher, or waits its turn.
        return min(_POLL_S, max(0.2, (due - self.clock()).total_seconds()))

    async def _route_for_ever(self, wake: asyncio.Event) -> None:
        tidied_at = self.clock() - dt.timedelta(days=1)
        while True:
            wake.clear()
            try:
                routed = await self.route()
                if self.clock() - tidied_at > dt.timedelta(hours=1):
                    tidied_at = self.clock()
                    await self.tidy()
            except (psycopg.Error, PoolTimeout) as error:
                log.warning("the database does not answer", error=self._explain(error))
                await asyncio.sleep(_POLL_S)
                continue
            if routed:
                for event in self._wake.values():
                    event.set()
                continue
            await _wait(wake, _POLL_S)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, or so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


@contextlib.asynccontextmanager
async def _session(channel: Channel) -> AsyncIterator[Send]:
    """Open a channel's session within its time; its end may take no longer either."""
    session = channel.session()
    async with asyncio.timeout(channel.timeout_s):
        send = await session.__aenter__()
    try:
        yield send
    finally:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(channel.timeout_s):
                await session.__aexit__(None, None, None)


async def _try(channel: Channel, send: Send, notification: Notification) -> Exception | None:
    try:
        async with asyncio.timeout(channel.timeout_s):
            await send(notification)
    except TimeoutError:
        return DeliveryError(f"no answer within {channel.timeout_s:g} s")
    except Exception as error:
        return error
    return None


@contextlib.asynccontextmanager
async def open_dispatcher(settings: Settings, url: str) -> AsyncIterator[Dispatcher]:
    """Open a dispatcher over the platform's database with the channels of the settings.

    Parameters
    ----------
    settings : Settings
    url : str
        Of the platform's database.

    Raises
    ------
    SettingsError
        When ``ANOMALY_ALERT_ROUTES`` cannot be understood.
    """
    for chatty in ("httpx", "httpcore", "apprise", "aiosmtpd"):
        # They log addresses, and with them tokens.
        logging.getLogger(chatty).setLevel(logging.CRITICAL + 1)
    routes = Routes(settings.alert_routes)
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        url,
        kwargs=_CONNECTION,
        min_size=0,
        max_size=24,
        check=AsyncConnectionPool.check_connection,
        timeout=30.0,
        open=False,
    )
    async with pool:
        channels = build_channels(settings, pool)
        yield Dispatcher(pool, url, channels, routes, Redactor.of(settings))

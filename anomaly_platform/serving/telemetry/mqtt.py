"""The subscriber of an MQTT broker, whose readings take the same way in as those of HTTP.

Belongs here: the subscription. A message is acknowledged when its readings are committed and not
before; the session is persistent, so that the broker keeps what comes while nobody listens and
delivers again what was not acknowledged. A message that no delivery can make good is put into
quarantine and acknowledged: it must not come back for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import unquote, urlsplit
from uuid import UUID

import polars as pl
import psycopg

from anomaly_platform.platform import Platform
from anomaly_platform.serving.problems import ApiProblem
from anomaly_platform.serving.telemetry.ingest import Ingestion
from anomaly_platform.serving.telemetry.mqtt_messages import (
    Message,
    PoisonError,
    delivery_ids,
    readings_of,
)
from anomaly_platform.storage.postgres.database import DatabaseError, redact
from anomaly_platform.storage.tables.online import by_given_id
from anomaly_platform.storage.tables.quarantine import insert_online_rejects
from anomaly_platform.streams import metric_streams
from anomaly_platform.streams.bindings import MQTT_TELEMETRY

if TYPE_CHECKING:
    from anomaly_platform.ingest.online.readings import Reading

MOST_TOGETHER: Final = 500
"""Messages that are stored together."""
MOST_WAITING_BYTES: Final = 64 << 20
"""Of messages in memory; beyond that, those of quality 0 are dropped. The broker holds the rest."""

_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0
_KEEPALIVE_S: Final = 30

_log = logging.getLogger(__name__)


class Refused(NamedTuple):
    """What of a message cannot be used: the member at fault, why, and its place in a list."""

    message: Message
    field: str
    reason: str
    place: int = 0


class Subscriber:
    """Takes messages from a broker into the tables.

    Parameters
    ----------
    platform : Platform
        With ``ANOMALY_MQTT_URL`` and ``ANOMALY_MQTT_PREFIX``.
    ingestion : Ingestion
        The way in.
    """

    def __init__(self, platform: Platform, ingestion: Ingestion) -> None:
        settings = platform.settings
        if settings.mqtt_url is None:
            raise ValueError("no broker is set: ANOMALY_MQTT_URL=mqtt://host:1883")
        self._platform = platform
        self._ingestion = ingestion
        self._stream = metric_streams(platform.streams)[MQTT_TELEMETRY]
        self._rules = platform.reading_rules(self._stream)
        self._url = urlsplit(settings.mqtt_url.get_secret_value())
        self._prefix = settings.mqtt_prefix
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._waiting_bytes = 0
        self.stored = 0
        self.dropped = 0
        self.quarantined = 0

    @property
    def where(self) -> str:
        """The broker, without user and password."""
        return f"{self._url.hostname}:{self._port}"

    @property
    def _port(self) -> int:
        return self._url.port or (8883 if self._url.scheme == "mqtts" else 1883)

    @property
    def client_id(self) -> str:
        """Names the session, the same at every start: two platforms at one broker differ."""
        whose = f"{redact(self._platform.urls.application)}|{self._prefix}"
        return f"anomaly-{hashlib.sha256(whose.encode()).hexdigest()[:15]}"

    async def run(self, stop: asyncio.Event) -> None:
        """Take messages until told to stop; what was not stored by then stays at the broker."""
        async with self._connected() as client:
            stopping = asyncio.create_task(stop.wait())
            try:
                while not stop.is_set():
                    getting = asyncio.create_task(self._messages.get())
                    await asyncio.wait((getting, stopping), return_when="FIRST_COMPLETED")
                    if not getting.done():
                        getting.cancel()
                        return
                    together = [getting.result()]
                    while len(together) < MOST_TOGETHER and not self._messages.empty():
                        together.append(self._messages.get_nowait())
                    self._waiting_bytes -= sum(map(_size, together))
                    if not await self._take_for_sure(together, stop):
                        return
                    for message in together:
                        if message.mid:
                            client.ack(message.mid, 1)
            finally:
                stopping.cancel()

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        from paho.mqtt.client import Client, MQTTv311
        from paho.mqtt.enums import CallbackAPIVersion

        loop = asyncio.get_running_loop()
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            clean_session=False,
            protocol=MQTTv311,
            manual_ack=True,
        )
        if self._url.username:
            password = unquote(self._url.password) if self._url.password else None
            client.username_pw_set(unquote(self._url.username), password)
        if self._url.scheme == "mqtts":
            client.tls_set_context(ssl.create_default_context())
        client.reconnect_delay_set(1, int(_LONGEST_WAIT_S))

        def connected(_client: Any, _data: Any, _flags: Any, reason: Any, _more: Any) -> None:
            if reason.is_failure:
                _log.warning("the broker %s refused: %s", self.where, reason)
                return
            _log.info("connected to %s", self.where)
            client.subscribe(f"{self._prefix}/telemetry/+/+", qos=1)

        def disconnected(_client: Any, _data: Any, _flags: Any, reason: Any, _more: Any) -> None:
            _log.warning("the broker %s is gone: %s", self.where, reason)

        def arrived(_client: Any, _data: Any, message: Any) -> None:
            try:
                topic = message.topic
            except UnicodeDecodeError:
                topic = "\ufffd"
            one = Message(
                topic,
                bytes(message.payload),
                # Nobody waits for the acknowledgement of quality 0.
                message.mid if message.qos else 0,
                bool(message.dup),
                bool(message.retain),
                dt.datetime.now(dt.UTC),
            )
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._arrived, one)

        client.on_connect = connected
        client.on_disconnect = disconnected
        client.on_message = arrived
        client.connect_async(self._url.hostname or "", self._port, _KEEPALIVE_S)
        client.loop_start()
        try:
            yield client
        finally:
            client.disconnect()
            await asyncio.to_thread(client.loop_stop)

    def _arrived(self, one: Message) -> None:
        """Keep a message until it is taken, unless it is one that fills memory without asking.

        Of those that are acknowledged the broker has only a few under way.
        """
        if one.mid == 0 and self._waiting_bytes + _size(one) > MOST_WAITING_BYTES:
            if self.dropped == 0:
                _log.warning(
                    "messages of quality 0 come faster than they are stored; some are lost"
                )
            self.dropped += 1
            return
        self._waiting_bytes += _size(one)
        self._messages.put_nowait(one)

    async def _take_for_sure(self, together: Sequence[Message], stop: asyncio.Event) -> bool:
        """Store messages, trying until it succeeds; return False when told to stop before.

        What nobody has foreseen in one message must not keep the others out, nor come again at
        every start: it is looked for, and refused.
        """
        wait = _FIRST_WAIT_S
        refused: Exception | None = None
        while True:
            try:
                if refused is None:
                    await self.take(together)
                else:
                    reason = f"it cannot be taken in: {type(refused).__name__}"
                    await asyncio.to_thread(self._quarantine, [Refused(together[0], "", reason)])
                    self.quarantined += 1
            except (psycopg.OperationalError, DatabaseError, ApiProblem, OSError) as error:
                _log.warning("messages wait: %s", type(error).__name__)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), wait)
                if stop.is_set():
                    return False
                wait = min(2 * wait, _LONGEST_WAIT_S)
            except Exception as error:
                if refused is not None:
                    raise
                _log.exception("messages cannot be taken in")
                if len(together) > 1:
                    return all([await self._take_for_sure([one], stop) for one in together])
                refused = error
            else:
                return True

    async def take(self, together: Sequence[Message]) -> None:
        """Store the readings of messages, and what cannot be used in quarantine."""
        from anomaly_platform.ingest.online.readings import Refusal

        good: list[tuple[Message, Reading]] = []
        bad: list[Refused] = []
        for message in together:
            try:
                raw = readings_of(message, self._prefix)
            except PoisonError as error:
                bad.append(Refused(message, error.field, str(error)))
                continue
            checked = iter(
                self._rules.check(
                    [said for said in raw if not isinstance(said, Refusal)], message.received
                )
            )
            for place, said in enumerate(raw):
                one = said if isinstance(said, Refusal) else next(checked)
                if isinstance(said, Refusal) or isinstance(one, Refusal):
                    refusal = cast("Refusal", one)
                    bad.append(Refused(message, refusal.field, refusal.reason, place))
                elif said.event_time is None and said.event_id is None:
                    # What a broker retains is no news: nobody knows of when it is.
                    if not message.retained:
                        good.append((message, await self._identified(message, one, place)))
                else:
                    good.append((message, one))
        answers = await self._ingestion.ingest(
            self._stream, [reading for _, reading in good], source="mqtt"
        )
        for (message, _), answer in zip(good, answers, strict=True):
            if answer.outcome == "conflict":
                bad.append(Refused(message, "", answer.reason))
        if bad:
            await asyncio.to_thread(self._quarantine, bad)
        self.stored += sum(answer.outcome == "stored" for answer in answers)
        self.quarantined += len(bad)

    async def _identified(self, message: Message, one: Reading, place: int) -> Reading:
        """Give a reading that has neither time nor id the id that it had when it came before."""
        ids = list(delivery_ids(message, place))
        known = await asyncio.to_thread(self._known, ids) if len(ids) > 1 else None
        return replace(one, event_id=known or ids[0])

    def _known(self, ids: Sequence[UUID]) -> UUID | None:
        with self._platform.warehouse.transactions.begin() as connection:
            return next(iter(by_given_id(connection, self._stream.name, ids)), None)

    def _quarantine(self, bad: Sequence[Refused]) -> None:
        """Keep what could not be used; the same message again changes nothing."""
        from anomaly_platform.ingest.rejects import raw_json

        rows: dict[str, dict[str, Any]] = {}
        for message, field, reason, place in bad:
            _log.warning("a message on %s was refused: %s", message.topic[:200], reason)
            content = message.topic.encode("utf-8", "replace") + b"\x00" + message.payload
            if place:
                content += f"\x00{place}".encode()
            digest = hashlib.sha256(content).hexdigest()
            shown = f"{message.topic} {message.payload[:4096].decode('utf-8', 'replace')}"
            rows[digest] = {
                "digest": digest,
                "column": f"{place}" if place else "",
                "field": field,
                "reason": reason,
                "raw": raw_json(shown),
            }
        with self._platform.warehouse.transactions.begin() as connection:
            insert_online_rejects(
                connection, pl.DataFrame(list(rows.values())), self._stream.name, source="mqtt"
            )


def _size(message: Message) -> int:
    return len(message.payload) + len(message.topic)

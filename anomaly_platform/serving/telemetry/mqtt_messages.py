"""Parses MQTT messages into readings, or says why a message holds none.

Belongs here: topics and payloads. Does not belong here: the broker (``mqtt``).
"""

import datetime as dt
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote
from uuid import UUID

from anomaly_platform.ingest.online.readings import RawReading, Refusal

MOST_BYTES: Final = 1 << 20
MOST_READINGS: Final = 1_000
_MEMBERS: Final = frozenset({"value", "timestamp", "event_id", "metadata"})
#: A redelivered message is looked for among those of this many hours.
REDELIVERED_WITHIN_H: Final = 72
_HOUR_US: Final = 3_600_000_000


class PoisonError(ValueError):
    """A message that says no reading, however often it is delivered.

    Parameters
    ----------
    reason : str
        For people.
    field : str
        The member at fault.
    """

    def __init__(self, reason: str, field: str = "payload") -> None:
        super().__init__(reason)
        self.field = field


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the broker delivered it."""

    topic: str
    payload: bytes
    mid: int
    redelivered: bool
    retained: bool
    received: dt.datetime


def readings_of(message: Message, prefix: str) -> list[RawReading | Refusal]:
    """Return the readings of a message, and why elements of a list are none.

    The topic is ``<prefix>/telemetry/<device>/<metric>``, names percent-encoded where they hold
    ``/``, ``+`` or ``#``. The payload is a number, an object with ``value`` and perhaps
    ``timestamp``, ``event_id`` and ``metadata``, or a list of such objects.

    Raises
    ------
    PoisonError
        When topic or payload are something else; the text says what. An element of a list that
        is no reading stops no other one.
    """
    parts = message.topic.removeprefix(f"{prefix}/telemetry/").split("/")
    if not message.topic.startswith(f"{prefix}/telemetry/") or len(parts) != 2:
        raise PoisonError(f"the topic is not {prefix}/telemetry/<device>/<metric>")
    try:
        device, metric = (unquote(part, errors="strict") for part in parts)
    except UnicodeDecodeError:
        raise PoisonError("the topic: what is percent-encoded in it is no UTF-8") from None
    if len(message.payload) > MOST_BYTES:
        raise PoisonError(f"the payload is longer than {MOST_BYTES:,} bytes")
    try:
        said = json.loads(message.payload.decode("utf-8"), object_pairs_hook=_members)
    except PoisonError:
        raise
    except (ValueError, RecursionError):
        raise PoisonError("the payload is no JSON") from None
    if not isinstance(said, list):
        return [_reading(device, metric, said)]
    if not 0 < len(said) <= MOST_READINGS:
        raise PoisonError(f"the payload has {len(said)} readings, not 1 to {MOST_READINGS:,}")
    return [_reading_or_refusal(device, metric, one) for one in said]


def _reading_or_refusal(device: str, metric: str, said: Any) -> RawReading | Refusal:
    try:
        return _reading(device, metric, said)
    except PoisonError as error:
        return Refusal(error.field, str(error))


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise PoisonError("the payload has a member twice")
    return members


def _reading(device: str, metric: str, said: Any) -> RawReading:
    if not isinstance(said, dict):
        said = {"value": said}
    unknown = sorted(set(said) - _MEMBERS)
    if unknown:
        # JSON can spell half a character, which can be written nowhere.
        named = ", ".join(unknown)[:200].encode("utf-8", "backslashreplace").decode()
        raise PoisonError(f"the payload has unknown members: {named}")
    value = said.get("value")
    if value is None and "value" in said:
        raise PoisonError("value: the reading is missing: the payload has no number but null")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise PoisonError("value: the payload has no number")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    texts = {}
    for name in ("timestamp", "event_id"):
        text = said.get(name)
        if isinstance(text, (int, float)) and not isinstance(text, bool) and name == "timestamp":
            text = repr(text)
        if text is not None and not isinstance(text, str):
            raise PoisonError(f"{name}: it is no text")
        texts[name] = text
    metadata = said.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise PoisonError("metadata: it is no object")
    return RawReading(device, metric, value, texts["timestamp"], texts["event_id"], metadata)


def delivery_ids(message: Message, place: int) -> Iterator[UUID]:
    """Yield the ids that a reading without time and id of its own may have, the likeliest first.

    Such a reading is of the moment of its arrival, which is another one when it is delivered
    again. What stays the same is the packet's number, which the broker uses again for other
    messages only later; so the id follows from it and the hour of arrival.
    """
    hour = int(message.received.timestamp() * 1e6) // _HOUR_US
    same = hashlib.sha256(
        b"\x1f".join(
            (message.topic.encode("utf-8", "replace"), message.payload, f"{message.mid}".encode())
        )
    ).digest()
    for back in range(REDELIVERED_WITHIN_H if message.redelivered else 1):
        digest = hashlib.sha256(same + f"{hour - back}/{place}".encode()).digest()
        octets = bytearray(digest[:16])
        # Version 8 of RFC 9562: content of our own.
        octets[6] = (octets[6] & 0x0F) | 0x80
        octets[8] = (octets[8] & 0x3F) | 0x80
        yield UUID(bytes=bytes(octets))

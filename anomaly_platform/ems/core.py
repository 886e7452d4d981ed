"""HTTP client of EMS Core.

Belongs here: its routes, retries with back-off, and turning answers into records. Paths follow the
base URL, so that ``ANOMALY_EMS_CORE_URL`` may hold a prefix such as ``/api/v1``.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Unpack
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from anomaly_platform.ems.records import (
    AlertRecord,
    Asked,
    Asset,
    EmsError,
    EmsGarbage,
    EmsRecord,
    EmsRefused,
    Event,
    Metric,
    NewAlert,
    NewEvent,
    NewMetric,
    Record,
    record_of,
)

PAGE: Final = 5_000
"""Rows that are asked for at once."""

_MOST_PAGES: Final = 400
_TRIES: Final = 4
_FIRST_DELAY_S: Final = 0.25
_LONGEST_DELAY_S: Final = 4.0
_TIMEOUT: Final = httpx.Timeout(10.0, connect=3.0)
_TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_LARGEST_ANSWER: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class EmsCore:
    """A client of EMS Core.

    Requests are tried four times when the connection fails, nothing answers in time, or the
    answer is 408, 425, 429 or 5xx; those that create something carry an idempotency key, so that
    a repeat creates nothing twice where EMS Core honours it.

    Parameters
    ----------
    client : httpx.AsyncClient
        With the base URL and the token.
    sleep : callable
        Waits between tries.
    """

    client: httpx.AsyncClient
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, base_url: str, token: str | None = None) -> AsyncIterator[EmsCore]:
        """Open a client, with a bearer token where EMS Core asks for one."""
        headers = {"user-agent": "anomaly-platform", "accept": "application/json"}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        async with httpx.AsyncClient(
            base_url=base_url, headers=headers, timeout=_TIMEOUT
        ) as client:
            yield cls(client)

    async def health(self) -> str:
        """Return what EMS Core says about itself; asked once, without retries."""
        answer = await self._ask("GET", "health", tries=1)
        if not isinstance(answer, Mapping) or not isinstance(answer.get("status"), str):
            raise EmsGarbage("EMS Core, GET health: the answer has no field status")
        return str(answer["status"])

    async def assets(self) -> list[Asset]:
        """Return every asset."""
        return _records(Asset, "GET assets", await self._pages("assets", {}))

    async def asset(self, asset_id: str) -> Asset | None:
        """Return one asset, None where there is none of this id."""
        path = f"assets/{quote(asset_id, safe='')}"
        try:
            answer = await self._ask("GET", path)
        except _NotFoundError:
            return None
        return record_of(Asset, f"EMS Core, GET {path}: ", _unwrapped(answer))

    async def metrics(self, **asked: Unpack[Asked]) -> list[Metric]:
        """Return the readings from `since` on and before `until`."""
        return _records(Metric, "GET metrics", await self._pages("metrics", _query(asked)))

    async def raw_metrics(self, **asked: Unpack[Asked]) -> list[dict[str, Any]]:
        """Return the readings of a span as they came, for those who judge each by itself."""
        rows = await self._pages("metrics", _query(asked))
        for place, row in enumerate(rows):
            if not isinstance(row, dict):
                raise EmsGarbage(f"EMS Core, GET metrics: [{place}] is no object")
        return rows

    async def create_metric(self, metric: NewMetric, *, key: str) -> Metric:
        """Store one reading."""
        return await self._create("metrics", metric, Metric, key)

    async def create_metrics(self, metrics: Sequence[NewMetric], *, key: str) -> int:
        """Store many readings; return how many."""
        body = {"metrics": [_json(metric) for metric in metrics]}
        await self._ask("POST", "metrics/batch", body=body, key=key)
        return len(metrics)

    async def events(self, *, since: dt.datetime, until: dt.datetime) -> list[Event]:
        """Return the events from `since` on and before `until`."""
        return _records(Event, "GET events", await self._pages("events", _span(since, until)))

    async def create_event(self, event: NewEvent, *, key: str) -> Event:
        """Store an event."""
        return await self._create("events", event, Event, key)

    async def create_alert(self, alert: NewAlert, *, key: str) -> AlertRecord:
        """Store an alert."""
        return await self._create("alerts", alert, AlertRecord, key)

    async def _create(self, path: str, new: EmsRecord, kind: type[Record], key: str) -> Record:
        answer = await self._ask("POST", path, body=_json(new), key=key)
        return _created(kind, new, _unwrapped(answer))

    async def _pages(self, path: str, query: Mapping[str, str | None]) -> list[Any]:
        """Return the rows of every page; a server that knows no pages gives all at once."""
        rows: list[Any] = []
        for _ in range(_MOST_PAGES):
            page = {"limit": str(PAGE), "offset": str(len(rows))}
            answer = await self._ask(
                "GET", path, query={k: v for k, v in {**query, **page}.items() if v is not None}
            )
            more = _unwrapped(answer)
            if not isinstance(more, list):
                raise EmsGarbage(f"EMS Core, GET {path}: the answer is no list")
            if rows and more and more[0] == rows[0]:
                # It has no offset: this is the first page again.
                return rows
            rows.extend(more)
            if len(more) < PAGE:
                return rows
        raise EmsError(f"EMS Core, GET {path}: more than {_MOST_PAGES * PAGE:,} rows")

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        key: str | None = None,
        tries: int = _TRIES,
    ) -> Any:
        what = f"EMS Core, {method} {path}"
        headers = {} if key is None else {"idempotency-key": key}
        for attempt in range(1, tries + 1):
            wait: float | None = None
            try:
                async with self.client.stream(
                    method, path, params=query, json=body, headers=headers
                ) as response:
                    content = await _content(what, response)
            except httpx.HTTPError as error:
                said = f"{what}: {type(error).__name__} at {self.client.base_url.host}"
            else:
                if response.is_success:
                    return _decoded(what, content, created=key is not None)
                said = f"{what}: HTTP {response.status_code}"
                if response.status_code not in _TRY_AGAIN:
                    excerpt = content[:300].decode("utf-8", "replace").strip()
                    kind = _NotFoundError if response.status_code == 404 else EmsRefused
                    raise kind(f"{said}: {excerpt}" if excerpt else said)
                wait = _seconds(response.headers.get("retry-after"))
            if attempt < tries:
                await self.sleep(_delay(attempt) if wait is None else wait)
        raise EmsError(f"{said} (tried {tries} times)")


class _NotFoundError(EmsRefused):
    """There is nothing at this address."""


def _delay(attempt: int) -> float:
    longest: float = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2 ** (attempt - 1))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing


def _seconds(asked: str | None) -> float | None:
    """Return the wait that an answer asks for, as far as anybody here has the patience."""
    try:
        return None if asked is None else min(_LONGEST_DELAY_S, max(0.0, float(asked)))
    except ValueError:
        return None


async def _content(what: str, response: httpx.Response) -> bytes:
    parts = bytearray()
    async for part in response.aiter_bytes():
        parts += part
        if len(parts) > _LARGEST_ANSWER:
            raise EmsGarbage(f"{what}: the answer is larger than {_LARGEST_ANSWER >> 20} MB")
    return bytes(parts)


def _decoded(what: str, content: bytes, *, created: bool) -> Any:
    """Return what an answer says; to a creation any will do, since it was created."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        if created or not content.strip():
            return None
        raise EmsGarbage(f"{what}: the answer is no JSON") from None


def _unwrapped(answer: Any) -> Any:
    """Return what an envelope holds: some answer with the data, others put it into one."""
    if isinstance(answer, Mapping):
        for name in ("data", "items"):
            if name in answer and "id" not in answer:
                return answer[name]
    return answer


def _created(kind: type[Record], new: EmsRecord, answer: Any) -> Record:
    """Return what was created, with the id that the answer gives it, if it gives one."""
    values = new.model_dump()
    try:
        return kind.model_validate({**values, "id": answer["id"]})
    except (LookupError, TypeError, ValidationError):
        return kind.model_validate(values)


def _records(kind: type[Record], what: str, rows: list[Any]) -> list[Record]:
    return [record_of(kind, f"EMS Core, {what}: [{place}].", row) for place, row in enumerate(rows)]


def _json(record: EmsRecord) -> dict[str, Any]:
    return record.model_dump(mode="json", by_alias=True, exclude_none=True)


def _query(asked: Asked) -> dict[str, str | None]:
    names = {"assetId": asked.get("asset_id"), "metricName": asked.get("metric_name")}
    return _span(asked["since"], asked["until"]) | names


def _span(since: dt.datetime, until: dt.datetime) -> dict[str, str | None]:
    return {"from": _iso(since), "to": _iso(until)}


def _iso(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")

"""Keeps a GitHub issue per alert: a comment for each further message, closed at its end."""

import contextlib
import functools
import hashlib
from collections.abc import AsyncIterator
from typing import Any, Final

import httpx
from psycopg_pool import AsyncConnectionPool

from anomaly_platform.notifications.channels.base import (
    Channel,
    DeliveryError,
    DeliveryRefused,
    Notification,
    Send,
    name_of,
)
from anomaly_platform.notifications.channels.guarded_http import ssl_context
from anomaly_platform.notifications.channels.http_answers import raise_for_answer, transport_errors
from anomaly_platform.notifications.channels.wording import description, headline

LABEL: Final = "anomaly-platform"
_GONE: Final = (404, 410)
_MOST_ISSUES: Final = 100


class GithubChannel(Channel):
    """Keeps an issue per fingerprint through GitHub's REST API.

    Parameters
    ----------
    base_url : str
        ``https://api.github.com``, or that of a server of one's own.
    repository : str
        ``owner/name``.
    token : str
        That may write issues.
    pool : AsyncConnectionPool
        Of the platform's database, which remembers the issues of alerts.
    """

    kind = "github"
    timeout_s = 30.0
    # GitHub asks for writes one after the other.
    at_once = 1

    def __init__(
        self, base_url: str, repository: str, token: str, pool: AsyncConnectionPool[Any]
    ) -> None:
        self.name = name_of(self.kind, repository, f"{base_url}/{repository}")
        self._base_url = base_url
        self._repository = repository
        self._token = token
        self._pool = pool

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Send]:
        """Open a connection that the messages share."""
        async with httpx.AsyncClient(
            base_url=f"{self._base_url}/repos/{self._repository}",
            timeout=self.timeout_s / 2,
            verify=ssl_context(),
            headers={
                "authorization": f"Bearer {self._token}",
                "accept": "application/vnd.github+json",
                "x-github-api-version": "2022-11-28",
                "user-agent": "anomaly-platform",
            },
        ) as client:
            yield functools.partial(self._tell, client)

    async def _tell(self, client: httpx.AsyncClient, notification: Notification) -> None:
        fingerprint = notification.fingerprint
        number = await self._find(fingerprint)
        if number is None:
            # A dispatcher may have died after opening the issue and before remembering it.
            number, says_this = await _opened_before(client, notification)
            if number is not None:
                await self._remember(fingerprint, number)
            if says_this:
                return
        if number is not None and await _update(client, number, notification):
            return
        if notification.state == "resolved":
            # There is no issue to close.
            return
        created = await _ask(
            client,
            "POST",
            "/issues",
            {
                "title": headline(notification),
                "body": _body(notification),
                "labels": [LABEL, notification.kind],
            },
        )
        await self._remember(fingerprint, _number(created))

    async def _find(self, fingerprint: str) -> int | None:
        """Return the number of an alert's issue, if one was opened."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT number FROM github_issues WHERE repository = %s AND fingerprint = %s",
                (self._repository, fingerprint),
            )
            row = await cursor.fetchone()
        return None if row is None else int(row[0])

    async def _remember(self, fingerprint: str, number: int) -> None:
        """Keep the number of an alert's issue."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "INSERT INTO github_issues (repository, fingerprint, number) VALUES (%s, %s, %s) "
                "ON CONFLICT (repository, fingerprint) DO UPDATE SET number = excluded.number",
                (self._repository, fingerprint, number),
            )


async def _opened_before(
    client: httpx.AsyncClient, notification: Notification
) -> tuple[int | None, bool]:
    """Return the issue that an earlier try opened, and whether it was for this very message."""
    listed = await _ask(
        client, "GET", f"/issues?labels={LABEL}&state=all&per_page={_MOST_ISSUES}", None
    )
    if not isinstance(listed, list):
        raise DeliveryError("GitHub answered the list of issues with something else")
    for issue in listed:
        body = str(issue.get("body") or "") if isinstance(issue, dict) else ""
        if _alert_mark(notification) in body:
            return _number(issue), _message_mark(notification) in body
    return None, False


async def _update(client: httpx.AsyncClient, number: int, notification: Notification) -> bool:
    """Open or close the issue and comment on it; return False where it is gone."""
    ended = notification.state == "resolved"
    # The state first: if the comment fails, its repeat does not close twice.
    try:
        await _ask(client, "PATCH", f"/issues/{number}", {"state": "closed" if ended else "open"})
    except _GoneError:
        return False
    await _ask(client, "POST", f"/issues/{number}/comments", {"body": _body(notification)})
    return True


class _GoneError(DeliveryRefused):
    """The issue was deleted."""


async def _ask(client: httpx.AsyncClient, method: str, path: str, body: Any) -> Any:
    async with transport_errors():
        response = await client.request(method, path.lstrip("/"), json=body)
    if response.status_code in _GONE and method == "PATCH":
        raise _GoneError(f"HTTP {response.status_code}")
    raise_for_answer(response.status_code, response.headers, response.content)
    try:
        return response.json()
    except ValueError:
        raise DeliveryError("GitHub answered with something that is no JSON") from None


def _number(issue: Any) -> int:
    number = issue.get("number") if isinstance(issue, dict) else None
    if not isinstance(number, int):
        raise DeliveryError("GitHub's answer has no field number")
    return number


def _body(notification: Notification) -> str:
    # Indented text is shown as it is: no mention, link or picture comes of a device's name.
    shown = "\n".join(f"    {line}" for line in description(notification).splitlines())
    marks = f"<!-- {_alert_mark(notification)} {_message_mark(notification)} -->"
    return f"{headline(notification)}\n\n{shown}\n\n{marks}"


def _alert_mark(notification: Notification) -> str:
    digest = hashlib.sha256(notification.fingerprint.encode()).hexdigest()
    return f"anomaly-platform alert {digest[:16]}"


def _message_mark(notification: Notification) -> str:
    return f"message {notification.id}"

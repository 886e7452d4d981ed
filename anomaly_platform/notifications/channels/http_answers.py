"""Turns the answers of HTTP receivers into delivery errors."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from anomaly_platform.notifications.channels.base import DeliveryError, DeliveryRefused

_TRY_AGAIN = frozenset({408, 409, 423, 425, 429})
_LONGEST_EXCERPT = 300


@contextlib.asynccontextmanager
async def transport_errors() -> AsyncIterator[None]:
    """Turn what goes wrong on the way into a :class:`DeliveryError`."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise DeliveryError(f"no answer in time ({type(error).__name__})") from None
    except httpx.InvalidURL as error:
        raise DeliveryRefused(f"the address cannot be used: {error}") from None
    except httpx.HTTPError as error:
        raise DeliveryError(f"{type(error).__name__}: {error}") from None


def raise_for_answer(status: int, headers: httpx.Headers, excerpt: bytes) -> None:
    """Raise unless the answer says that the message has arrived.

    Raises
    ------
    DeliveryError
        On 408, 409, 423, 425, 429, a used-up rate limit, and 5xx: it may work later.
    DeliveryRefused
        On any other answer but 2xx, redirections included: they are not followed.
    """
    if 200 <= status < 300:
        return
    text = excerpt[:_LONGEST_EXCERPT].decode("utf-8", "replace").strip()
    said = f"HTTP {status}" + (f": {text}" if text else "")
    limited = status == 403 and (
        headers.get("x-ratelimit-remaining") == "0" or "retry-after" in headers
    )
    if status >= 500 or status in _TRY_AGAIN or limited:
        raise DeliveryError(said, _retry_after(headers))
    raise DeliveryRefused(said)


def _retry_after(headers: httpx.Headers) -> float | None:
    """Return the seconds that the receiver asked to wait, in whichever form."""
    asked = headers.get("retry-after")
    if asked is not None:
        with contextlib.suppress(ValueError):
            return max(0.0, float(asked))
        with contextlib.suppress(ValueError, TypeError):
            until = parsedate_to_datetime(asked)
            return max(0.0, (until - datetime.now(UTC)).total_seconds())
        return None
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():
        return max(0.0, int(reset) - datetime.now(UTC).timestamp())
    return None

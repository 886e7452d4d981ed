"""Pages of sorted lists, and the opaque cursors that say where the next page begins.

A cursor holds the sort key of the last row that was shown (keyset), so that a page costs the same
wherever it lies and rows that arrive shift nothing.
"""

import base64
import binascii
import datetime as dt
import json
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from anomaly_platform.serving.problems import ApiProblem

Row = TypeVar("Row")
KeyPart = str | int | dt.datetime | uuid.UUID


class Pages:
    """Cuts a list into pages.

    Parameters
    ----------
    kind
        Names the list; a cursor of one list is refused by another.
    *types
        Of each value of the sort key: ``str``, ``int``, ``datetime`` or ``UUID``.
    """

    def __init__(self, kind: str, *types: type) -> None:
        self._kind = kind
        self._types = types

    def after(self, cursor: str | None) -> Any | None:
        """Return the sort key behind which a page begins, None for the first page."""
        return self.read(cursor) if cursor else None

    def read(self, cursor: str) -> tuple[Any, ...]:
        """Return the sort key that a cursor holds; see :func:`read_cursor`."""
        return read_cursor(self._kind, cursor, self._types)

    def cut(
        self, found: list[Row], limit: int, key: Callable[[Row], tuple[KeyPart, ...]]
    ) -> tuple[list[Row], str | None]:
        """Return a page, and the cursor of the next one; None where it is the last.

        Parameters
        ----------
        found
            The rows of the page, and one more where there are more.
        limit
            Rows of a page.
        key
            Returns the sort key of a row.
        """
        page = found[:limit]
        more = len(found) > limit
        return page, write_cursor(self._kind, *key(page[-1])) if more else None


def write_cursor(kind: str, *key: KeyPart) -> str:
    """Return a cursor behind the row with this sort key.

    Parameters
    ----------
    kind
        Of the list; a cursor of one list is refused by another.
    *key
        Values that sort the list.
    """
    text = json.dumps([kind, *key], separators=(",", ":"), default=_plain)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(kind: str, cursor: str, types: tuple[type, ...]) -> tuple[Any, ...]:
    """Return the sort key that a cursor holds.

    Parameters
    ----------
    types
        Of each value: ``str``, ``int``, ``datetime`` or ``UUID``.

    Raises
    ------
    ApiProblem
        422, when it is no cursor of this list.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found = json.loads(base64.b64decode(padded.encode(), altchars=b"-_", validate=True))
        named, *key = found
        parts = zip((str, *types), (named, *key), strict=True)
        typed = tuple(_typed(part, wanted) for wanted, part in parts)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, binascii.Error):
        raise ApiProblem(
            422, "cursor: take it as it is from next_cursor of this list's page before"
        ) from None
    if typed[0] != kind:
        raise ApiProblem(422, "cursor: it belongs to another list")
    return typed[1:]


def _plain(part: Any) -> str:
    return part.isoformat() if isinstance(part, dt.datetime) else str(part)


def _typed(part: Any, kind: type) -> Any:
    if kind is dt.datetime:
        time = dt.datetime.fromisoformat(part)
        if time.tzinfo is None:
            raise ValueError(part)
        return time.astimezone(dt.UTC)
    if kind is uuid.UUID:
        return uuid.UUID(part)
    if kind is int and (isinstance(part, bool) or not -(2**63) <= part < 2**63):
        raise ValueError(part)
    if not isinstance(part, kind):
        raise TypeError(part)
    # JSON can spell half a character, which no text in the database has.
    if isinstance(part, str) and b"\x00" in part.encode("utf-8"):
        raise ValueError(part)
    return part

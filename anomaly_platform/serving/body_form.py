"""What a body must not be, whatever its schema: compressed, or JSON that says a thing twice.

Belongs here: refusing both with a reason. Parsers take the last of two members of one name without
a word, so that a reading could be stored that nobody meant; and compressed bytes are no JSON, which
alone would be a riddle.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from anomaly_platform.serving.problems import ApiProblem

_GZIP: Final = b"\x1f\x8b"
_LONGEST_SHOWN: Final = 64


def compressed(headers: Iterable[tuple[bytes, bytes]]) -> ApiProblem | None:
    """Return the problem (415) of a body that its headers call compressed."""
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            return _not_plain()
    return None


def problem_of(body: bytes) -> ApiProblem | None:
    """Return what is wrong with the form of a body; None of what a schema may judge.

    Examples
    --------
    >>> problem_of(b'{"value": 1, "value": 2}').detail
    'body: the member "value" occurs twice in one object; send it once'
    >>> problem_of(b'[{"value": 1}, {"value": 2}]') is None
    True
    """
    if body.startswith(_GZIP):
        return _not_plain()
    try:
        _DECODER.decode(body.decode())
    except _TwiceError as error:
        name = error.args[0][:_LONGEST_SHOWN]
        message = f'the member "{name}" occurs twice in one object; send it once'
        return ApiProblem(
            400, f"body: {message}", errors=[{"location": "body", "message": message}]
        )
    except (ValueError, RecursionError):
        # No JSON: the schema of the route says where it ends to be any.
        return None
    return None


class _TwiceError(Exception):
    """A name that occurs twice in one object."""


def _distinct(members: Sequence[tuple[str, Any]]) -> None:
    names = {name for name, _ in members}
    if len(names) == len(members):
        return
    seen: set[str] = set()
    for name, _ in members:
        if name in seen:
            raise _TwiceError(name)
        seen.add(name)


#: Made once: making one takes longer than reading a single reading.
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_distinct)


def _not_plain() -> ApiProblem:
    return ApiProblem(
        415,
        "the body is compressed; send it as it is, without Content-Encoding",
        headers={"Accept-Encoding": "identity"},
    )

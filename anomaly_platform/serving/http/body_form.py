"""Checks of a body's form, whatever its schema: not compressed, JSON, and no member twice.

Belongs here: refusing each with a reason. Parsers take the last of two members of one name without
a word, so that a reading could be stored that nobody meant; and compressed bytes are no JSON, which
alone would be a riddle.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from anomaly_platform.serving.problems import ApiProblem

_GZIP: Final = b"\x1f\x8b"
_LONGEST_SHOWN: Final = 64
_JSON: Final = b"application/json"
_UTF8: Final = (b"utf-8", b"utf8")
_CHARSET: Final = re.compile(rb';\s*charset\s*=\s*"?([^";\s]*)', re.IGNORECASE)


def compressed(headers: Iterable[tuple[bytes, bytes]]) -> ApiProblem | None:
    """Return the problem (415) of a body that its headers call compressed."""
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            return _not_plain()
    return None


def json_headers(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]] | None:
    """Return the headers of a request with a body, its type written in one way; None if no JSON.

    A body without any type counts as JSON.

    Examples
    --------
    >>> json_headers([(b"content-type", b'APPLICATION/JSON ; charset="UTF-8"')])
    [(b'content-type', b'application/json')]
    >>> json_headers([(b"content-type", b"text/plain")]) is None
    True
    """
    said = [value for name, value in headers if name == b"content-type"]
    if said == [_JSON]:
        return headers
    if not all(_is_json(value) for value in said):
        return None
    others = [header for header in headers if header[0] != b"content-type"]
    return [*others, (b"content-type", _JSON)]


def _is_json(media_type: bytes) -> bool:
    kind, _, parameters = media_type.partition(b";")
    if kind.strip().lower() != _JSON:
        return False
    charsets = _CHARSET.findall(b";" + parameters)
    return all(charset.lower() in _UTF8 for charset in charsets)


def not_json() -> ApiProblem:
    """Return the problem (415) of a body that its headers call something else than JSON."""
    return ApiProblem(
        415,
        "the body is not called JSON; send JSON in UTF-8, with Content-Type: application/json",
        headers={"Accept": "application/json"},
    )


def problem_of(body: bytes) -> ApiProblem | None:
    """Return what is wrong with the form of a body; None where its schema may judge it.

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

"""Checks of a body's form, whatever its schema: not compressed, and JSON.

Belongs here: refusing each with a reason. Compressed bytes are no JSON, which alone would be a
riddle.
"""

import re
from collections.abc import Iterable
from typing import Final

from anomaly_platform.serving.http.bodies.json_scan import problem_of_json
from anomaly_platform.serving.problems import ApiProblem

_GZIP: Final = b"\x1f\x8b"
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
    """Return what is wrong with the form of a body; None where its schema may judge it."""
    return _not_plain() if body.startswith(_GZIP) else problem_of_json(body)


def _not_plain() -> ApiProblem:
    return ApiProblem(
        415,
        "the body is compressed; send it as it is, without Content-Encoding",
        headers={"Accept-Encoding": "identity"},
    )

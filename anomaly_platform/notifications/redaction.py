"""Removes secrets from what people and other systems read.

Belongs here: taking out of a text every secret that the settings hold, and whatever looks like a
credential. Used on each error, title and detail before it is stored, logged or sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

from anomaly_platform.settings import Settings

MASK: Final = "***"
_SHORTEST_SECRET: Final = 4
#: A path's part as long as this may be a token, as in the addresses of chat services.
_TOKEN_LENGTH: Final = 12
_HOSTS_ARE_PLAIN: Final = ("http", "https", "smtp", "smtps", "mqtt", "mqtts")

_CREDENTIALS: Final = (
    # user:password@ in any URL; of bounded length, since the time for a long text would grow with
    # its square otherwise.
    (
        re.compile(r"(?P<keep>[a-z][a-z0-9+.-]{0,30}://)[^/\s@\"'<>]+@", re.IGNORECASE),
        rf"\g<keep>{MASK}@",
    ),
    (
        re.compile(
            r"(?P<keep>\b(?:bearer|basic|token)\s+)[A-Za-z0-9._~+/=-]{8,}",
            re.IGNORECASE,
        ),
        rf"\g<keep>{MASK}",
    ),
    (
        re.compile(
            r"(?P<keep>(?:token|secret|passw(?:or)?d|api[_-]?key|access[_-]?key|authorization|"
            r"signature)[\"']?\s*[=:]\s*[\"']?)(?!\*\*\*)[^\s\"'&,;]+",
            re.IGNORECASE,
        ),
        rf"\g<keep>{MASK}",
    ),
    (re.compile(r"\b(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{10,}"), MASK),
)


class Redactor:
    """Takes secrets out of texts.

    Parameters
    ----------
    secrets : iterable of str
        Values that must not be seen. Of a URL, also its user's password, the values of its query
        and the long parts of its path.

    Examples
    --------
    >>> redactor = Redactor(["https://chat.example/hooks/T0123456789AB"])
    >>> redactor.clean("POST https://chat.example/hooks/T0123456789AB failed")
    'POST *** failed'
    >>> redactor.clean("cannot reach amqp://me:hunter2@broker")
    'cannot reach amqp://***@broker'
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        # The longest first: a whole URL before the password inside it.
        self._known = sorted((f for f in forms if len(f) >= _SHORTEST_SECRET), key=len)[::-1]

    @classmethod
    def of(cls, settings: Settings) -> Redactor:
        """Return a redactor that knows every secret of the settings."""
        values = (getattr(settings, name) for name in type(settings).model_fields)
        return cls(v.get_secret_value() for v in values if isinstance(v, SecretStr))

    def clean(self, text: str) -> str:
        """Return the text without any secret."""
        for secret in self._known:
            text = text.replace(secret, MASK)
        for pattern, replacement in _CREDENTIALS:
            text = pattern.sub(replacement, text)
        return text

    def clean_all(self, value: Any) -> Any:
        """Return nested mappings and sequences with every text in them cleaned."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, Mapping):
            return {str(key): self.clean_all(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.clean_all(one) for one in value]
        return value


def _forms(secret: str) -> Iterable[str]:
    """Yield a secret, the entries of a list of them, and the secret parts of URLs."""
    yield secret
    for entry in re.split(r"[\s,]+", secret):
        yield entry
        try:
            parts = urlsplit(entry)
            password = parts.password
        except ValueError:
            continue
        if not parts.scheme:
            continue
        if password:
            yield from (password, unquote(password))
        if parts.scheme.startswith("postgres"):
            continue
        yield from (value for _, value in parse_qsl(parts.query) if len(value) >= _TOKEN_LENGTH)
        yield from (part for part in parts.path.split("/") if len(part) >= _TOKEN_LENGTH)
        if parts.scheme not in _HOSTS_ARE_PLAIN:
            # Addresses of chat services keep tokens where others have user and host.
            yield from (part for part in re.split("[:@]", parts.netloc) if part)

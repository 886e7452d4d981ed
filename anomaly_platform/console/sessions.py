"""Sessions of people: a signed cookie that names an API key, and tokens against forged requests.

A cookie holds no secret of the key. It is signed with a secret that only this platform has, and
with the key's digest: a revoked key ends its sessions at once, and a copy of the database, which
holds digests, makes nobody a session.
"""

import base64
import contextlib
import hmac
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from anomaly_platform.settings import Settings
from anomaly_platform.storage.tables.api_keys import ApiKey

COOKIE: Final = "anomaly_console"
LIFETIME_S: Final = 12 * 3600
_VERSION: Final = "1"
_SECRET_BYTES: Final = 32
_MOST_DIGITS: Final = 20


@dataclass(frozen=True, slots=True)
class Session:
    """What a cookie says, before its signature has been checked.

    Attributes
    ----------
    prefix : str
        Of the API key.
    expires : int
        Unix seconds.
    text, signature : str
        What was signed, and how.
    """

    prefix: str
    expires: int
    text: str
    signature: str


class Sessions:
    """Makes and checks cookies and tokens.

    Parameters
    ----------
    secret : bytes
        Of this platform, the same in all of its workers.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def open(self, key: ApiKey) -> str:
        """Return the cookie of a new session of whoever has this key."""
        expires = int(time.time()) + LIFETIME_S
        text = ".".join((_VERSION, key.prefix, str(expires), secrets.token_urlsafe(12)))
        return f"{text}.{self._sign(text, key)}"

    def read(self, cookie: str | None) -> Session | None:
        """Return what a cookie says, None where it says nothing or is over."""
        text, _, signature = (cookie or "").rpartition(".")
        parts = text.split(".")
        if len(parts) != 4 or parts[0] != _VERSION or not signature.isascii():
            return None
        if not parts[2].isdecimal() or len(parts[2]) > _MOST_DIGITS:
            return None
        found = Session(parts[1], int(parts[2]), text, signature)
        return found if found.expires > time.time() else None

    def is_of(self, session: Session, key: ApiKey) -> bool:
        """Return whether this platform has opened the session for the key."""
        return hmac.compare_digest(self._sign(session.text, key), session.signature)

    def token(self, session: Session) -> str:
        """Return what a form of this session has to carry."""
        return self._mac(f"form {session.text} {session.signature}")

    def _sign(self, text: str, key: ApiKey) -> str:
        return self._mac(f"session {text} {key.digest.hex()}")

    def _mac(self, text: str) -> str:
        made = hmac.digest(self._secret, text.encode(), "sha256")
        return base64.urlsafe_b64encode(made).decode().rstrip("=")


def secret_of(settings: Settings) -> bytes:
    """Return the secret that signs sessions: the setting's, or else the home's, made once."""
    if settings.console_secret is not None:
        return settings.console_secret.get_secret_value().encode()
    path = settings.home / "console-secret"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return _make(path)


def _make(path: Path) -> bytes:
    """Write a new secret, whole before it has its name; of several workers the first one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES))
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    return path.read_bytes()

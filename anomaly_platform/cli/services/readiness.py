"""Telling the person who watches which service answers, as soon as it does."""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

_ASK_EVERY_S: Final = 0.3
_PATIENCE_PER_QUESTION_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Awaited:
    """A service that will answer.

    Attributes
    ----------
    name : str
        For people, and of its log.
    shown : str
        The address that a person opens.
    probe : str
        An URL that answers without an error once the service is ready.
    log : str
        Where it says why it is not.
    """

    name: str
    shown: str
    probe: str
    log: str

    def told(self, state: str) -> str:
        """Return the line that says how it stands."""
        return f"{self.name:<12} {self.shown}  ({state})"


def tell_as_they_answer(
    awaited: Sequence[Awaited],
    say: Callable[[str], None],
    *,
    patience_s: float,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Awaited]:
    """Say of each service that it is ready when it is, the fastest first; return who is not.

    Parameters
    ----------
    awaited : sequence of Awaited
    say : callable
        Takes a line.
    patience_s : float
        Seconds after which those that do not answer are named.
    stopping : callable
        Whether nobody wants to know any more.
    """
    left = list(awaited)
    deadline = time.monotonic() + patience_s
    while left and not stopping() and time.monotonic() < deadline:
        for one in tuple(left):
            if _answers(one.probe):
                say(one.told("ready"))
                left.remove(one)
        if left:
            time.sleep(_ASK_EVERY_S)
    if not stopping():
        for one in left:
            say(one.told(f"does not answer yet; its log is {one.log}"))
    return left


def base_url(host: str, port: int) -> str:
    """Return the URL of what listens on an address, as people open it."""
    # The colons of an IPv6 address would be read as the port's.
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def probed_url(host: str, port: int) -> str:
    """Return the URL under which this machine reaches what listens on an address."""
    every = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing listens
    return base_url(every.get(host, host), port)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE_PER_QUESTION_S):  # noqa: S310 - our own address
            return True
    except (urllib.error.URLError, OSError, http.client.HTTPException):
        return False

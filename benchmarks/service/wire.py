"""Requests over plain sockets: the load generator must not take what it measures.

Belongs here: one connection that asks and waits, and requests at a fixed pace over several.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections import deque
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


def request(path: str, key: str, body: bytes) -> bytes:
    """Return a POST of JSON as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection:
    """A connection that is kept open and has one request on its way at most.

    Parameters
    ----------
    base_url
        Such as ``http://127.0.0.1:8000``.
    """

    def __init__(self, base_url: str) -> None:
        where = urlsplit(base_url)
        self.socket = socket.create_connection((where.hostname, where.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""

    def send(self, whole: bytes) -> None:
        """Send a request."""
        self._read = b""
        self.socket.sendall(whole)

    def received(self) -> bool:
        """Read what is there; return whether the answer is whole.

        Raises
        ------
        RuntimeError
            When the answer is none, or no success.
        """
        part = self.socket.recv(1 << 18)
        if not part:
            raise RuntimeError("the service closed the connection")
        self._read += part
        end = self._read.find(b"\r\n\r\n")
        if end < 0:
            return False
        length = _LENGTH.search(self._read, 0, end + 4)
        if length is None or not self._read.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(self._read[:500].decode(errors="replace"))
        return len(self._read) >= end + 4 + int(length[1])

    def ask(self, whole: bytes) -> float:
        """Send a request and wait for the answer; return the seconds it took."""
        began = time.perf_counter()
        self.send(whole)
        while not self.received():
            pass
        return time.perf_counter() - began

    def close(self) -> None:
        """Close it."""
        self.socket.close()


@dataclass(frozen=True)
class Paced:
    """What a fixed pace met: requests a second as answered, and latencies."""

    answered: float
    p50_ms: float
    p99_ms: float


def paced(
    base_url: str, whole: bytes, *, per_second: float, seconds: float, connections: int
) -> Paced:
    """Send requests at a fixed pace, whether or not the ones before have been answered.

    A latency counts from the moment at which its request was due, so that a request that had to
    wait for a free connection, or for this program, is not made to look fast.
    """
    free = deque(Connection(base_url) for _ in range(connections))
    everyone = list(free)
    for one in everyone:
        one.ask(whole)
    busy: dict[socket.socket, tuple[Connection, float]] = {}
    waiting: deque[float] = deque()
    took: list[float] = []
    count = int(per_second * seconds)
    began = time.perf_counter()
    sent = 0
    while len(took) < count:
        now = time.perf_counter() - began
        while sent < count and sent / per_second <= now:
            waiting.append(sent / per_second)
            sent += 1
        while waiting and free:
            one, due = free.popleft(), waiting.popleft()
            one.send(whole)
            busy[one.socket] = (one, due)
        pause = 1.0 if sent == count else max(0.0, sent / per_second - now)
        ready, _, _ = select.select(list(busy), [], [], pause)
        for each in ready:
            one, due = busy[each]
            if one.received():
                took.append(time.perf_counter() - began - due)
                del busy[each]
                free.append(one)
    spent = time.perf_counter() - began
    for one in everyone:
        one.close()
    p50, p99 = np.percentile(took, [50, 99]) * 1e3
    return Paced(count / spent, float(p50), float(p99))

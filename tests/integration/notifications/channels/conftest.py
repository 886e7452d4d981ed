"""A dispatcher over a database of the test's own, with a clock that the test moves."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from anomaly_platform.notifications.dispatcher import Dispatcher, open_dispatcher
from anomaly_platform.notifications.outbox import Alert, Outbox
from anomaly_platform.settings import Settings
from anomaly_platform.warehouse import Warehouse
from tests.builders.servers import Broker

Story = Callable[[Dispatcher], Awaitable[Any]]


class MovableClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = dt.datetime.now(dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.now

    def advance(self, **span: float) -> None:
        self.now += dt.timedelta(**span)


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
def play(database_url: str, clock: MovableClock) -> Callable[[Settings, Story], Any]:
    """Run a story with a dispatcher of these settings."""

    @asynccontextmanager
    async def opened(settings: Settings) -> AsyncIterator[Dispatcher]:
        async with open_dispatcher(settings, database_url) as dispatcher:
            dispatcher.clock = clock
            yield dispatcher

    def run(settings: Settings, story: Story) -> Any:
        async def main() -> Any:
            async with opened(settings) as dispatcher:
                return await story(dispatcher)

        return asyncio.run(main())

    return run


@pytest.fixture
def say(warehouse: Warehouse, clock: MovableClock) -> Callable[..., None]:
    """Raise alerts, or resolve one."""

    def tell(*alerts: Alert, resolve: str | None = None) -> None:
        outbox = Outbox()
        with warehouse.transactions.begin() as connection:
            for alert in alerts:
                outbox.raise_alert(connection, alert, now=clock())
            if resolve is not None:
                outbox.resolve_alert(connection, resolve, {"by": "a test"}, now=clock())

    return tell


@pytest.fixture
def deliveries(warehouse: Warehouse) -> Callable[[], list[dict[str, Any]]]:
    """Return the deliveries as they stand, in order."""

    def read() -> list[dict[str, Any]]:
        names = ("channel", "status", "attempts", "refusals", "last_error", "next_try_at")
        with warehouse.transactions.begin() as connection:
            rows = connection.execute(
                f"SELECT {', '.join(names)} FROM deliveries ORDER BY seq, channel".encode()
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    return read


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A real MQTT broker that asks for a password; its URL."""
    passwords = tmp_path / "passwords"
    server = Broker(
        tmp_path,
        *("allow_anonymous false", f"password_file {passwords}", "persistence false"),
    )
    passwords.touch(0o600)
    subprocess.run(
        ["mosquitto_passwd", "-b", str(passwords), "platform", "p@ss"],
        check=True,
        capture_output=True,
    )
    server.start()
    yield f"mqtt://platform:p%40ss@127.0.0.1:{server.port}"
    server.end()


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context for localhost and 127.0.0.1 that clients of this test trust."""
    if shutil.which("openssl") is None:
        pytest.skip("needs a certificate: install the Debian package openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )  # fmt: skip
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context

"""Sends messages as e-mail over SMTP."""

import asyncio
import contextlib
import hashlib
import ipaddress
import smtplib
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

import structlog

from anomaly_platform.notifications.channels.base import (
    Channel,
    DeliveryError,
    DeliveryRefused,
    Notification,
    Send,
    name_of,
)
from anomaly_platform.notifications.channels.wording import description, headline

log = structlog.get_logger(__name__)


class EmailChannel(Channel):
    """Sends each message to all recipients as one e-mail.

    Parameters
    ----------
    url : str
        ``smtp://`` (encrypted by STARTTLS where the server offers it) or ``smtps://``. A password
        never goes over a connection that is not encrypted, except to this machine.
    sender : str
    recipients : sequence of str
    """

    kind = "email"
    timeout_s = 20.0
    at_once = 4

    def __init__(self, url: str, *, sender: str, recipients: Sequence[str]) -> None:
        self._parts = urlsplit(url)
        self._sender = sender
        self._recipients = list(recipients)
        host = self._parts.hostname or ""
        self.name = name_of(self.kind, host, " ".join([host, *self._recipients]))
        # Threads of its own: a server that hangs must not hold up anything else.
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="smtp")

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Send]:
        """Open one connection for all messages of the session."""
        loop = asyncio.get_running_loop()
        server = await loop.run_in_executor(self._threads, self._connect)

        async def send(notification: Notification) -> None:
            await loop.run_in_executor(self._threads, self._send, server, notification)

        try:
            yield send
        finally:
            self._threads.submit(server.close)

    def _connect(self) -> smtplib.SMTP:
        secure = self._parts.scheme == "smtps"
        host = self._parts.hostname or ""
        context = ssl.create_default_context()
        patience = self.timeout_s / 2
        with _smtp_errors():
            server: smtplib.SMTP
            if secure:
                server = smtplib.SMTP_SSL(
                    host, self._parts.port or 465, timeout=patience, context=context
                )
            else:
                server = smtplib.SMTP(host, self._parts.port or 587, timeout=patience)
            server.ehlo()
            if not secure and server.has_extn("starttls"):
                server.starttls(context=context)
                server.ehlo()
                secure = True
            if self._parts.username and self._parts.password:
                if not secure and not _is_this_machine(host):
                    raise DeliveryRefused(
                        "the mail server offers no encryption, and the password is not sent "
                        "without; use smtps:// or a server with STARTTLS"
                    )
                server.login(unquote(self._parts.username), unquote(self._parts.password))
        return server

    def _send(self, server: smtplib.SMTP, notification: Notification) -> None:
        with _smtp_errors():
            refused = server.send_message(self._message(notification))
        if refused:
            log.warning("recipients refused", channel=self.name, refused=len(refused))

    def _message(self, notification: Notification) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = headline(notification)
        message["From"] = self._sender
        message["To"] = ", ".join(self._recipients)
        message["Date"] = notification.created_at
        # The same at every try, so that mail programs show a repeat once.
        message["Message-ID"] = f"<{notification.id}@anomaly-platform>"
        thread = hashlib.sha256(notification.fingerprint.encode()).hexdigest()[:32]
        message["References"] = f"<{thread}@anomaly-platform>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(description(notification))
        return message


def _is_this_machine(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


@contextlib.contextmanager
def _smtp_errors() -> Iterator[None]:
    """Turn SMTP's errors into deliveries that failed, for now (4xx) or for good (5xx)."""
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        codes = {code for code, _ in error.recipients.values()}
        said = f"every recipient was refused ({', '.join(map(str, sorted(codes)))})"
        raise (DeliveryRefused if min(codes) >= 500 else DeliveryError)(said) from None
    except smtplib.SMTPResponseException as error:
        text = error.smtp_error
        said = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        kind = DeliveryRefused if error.smtp_code >= 500 else DeliveryError
        raise kind(f"SMTP {error.smtp_code}: {said}") from None
    except (smtplib.SMTPException, ssl.SSLError, OSError) as error:
        raise DeliveryError(f"{type(error).__name__}: {error}") from None

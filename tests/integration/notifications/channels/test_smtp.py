"""E-mail through a real SMTP server."""

from __future__ import annotations

import email
import email.policy
import ssl
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from anomaly_platform.notifications.outbox import Alert
from anomaly_platform.settings import get_settings
from tests.builders.alerts import deliver_due
from tests.builders.waiting import free_port

pytestmark = pytest.mark.integration


class Mailbox:
    """Keeps what arrives; says something else than yes on demand."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.says: list[str] = []
        self.recipient_says: str | None = None

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, to: str, _: Any) -> str:  # noqa: N802
        if self.recipient_says:
            return self.recipient_says
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.says:
            return self.says.pop(0)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"

    def authenticate(self, server: Any, session: Any, envelope: Any, kind: str, data: Any) -> Any:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"p@ss", handled=False)


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


def start(mailbox: Mailbox, kind: type[Controller] = Controller, **options: Any) -> Controller:
    controller = kind(
        mailbox, hostname="127.0.0.1", port=free_port(), authenticator=mailbox.authenticate,
        **options,
    )  # fmt: skip
    controller.start()
    return controller


@pytest.fixture
def server(mailbox: Mailbox) -> Iterator[str]:
    controller = start(mailbox, auth_require_tls=False)
    yield f"127.0.0.1:{controller.port}"
    controller.stop()


def settings(server: str, login: str = "me:p%40ss@") -> Any:
    return get_settings(
        smtp_url=f"smtp://{login}{server}", email_from="platform@example.org",
        email_to="one@example.org two@example.org",
    )  # fmt: skip


def alert(title: str = "The disk is full", **details: Any) -> Alert:
    return Alert("storage", "storage/lake", "lake", "critical", title, None, details)


def test_a_mail_says_what_is_wrong_and_the_next_that_it_is_over(
    play: Any, say: Any, server: str, mailbox: Mailbox
) -> None:
    say(alert(free="2 MB", name="Gerät 1"))
    say(resolve="storage/lake")
    play(settings(server), deliver_due)
    first, last = mailbox.mails
    assert mailbox.logins[0] == (b"me", b"p@ss")
    assert first["subject"] == "[CRITICAL] The disk is full"
    assert first["to"] == "one@example.org, two@example.org"
    assert "free: 2 MB" in first.get_content()
    assert "name: Gerät 1" in first.get_content()
    assert last["subject"] == "[RESOLVED] The disk is full"
    assert first["references"] == last["references"], "mail programs show them together"
    assert first["message-id"] != last["message-id"]


def test_a_title_cannot_add_headers(play: Any, say: Any, server: str, mailbox: Mailbox) -> None:
    say(alert("bad\r\nBcc: everybody@example.org\r\n\r\nbody"))
    play(settings(server), deliver_due)
    (mail,) = mailbox.mails
    assert mail["bcc"] is None
    assert mail["subject"].startswith("[CRITICAL] bad Bcc:")


def test_for_now_and_for_good_are_told_apart(
    play: Any, say: Any, server: str, mailbox: Mailbox, deliveries: Any, clock: Any
) -> None:
    mailbox.says = ["451 later", "554 never"]
    say(alert())
    play(settings(server), deliver_due)
    assert deliveries()[0]["refusals"] == 0
    clock.advance(minutes=1)
    play(settings(server), deliver_due)
    assert deliveries()[0]["refusals"] == 1
    assert deliveries()[0]["last_error"] == "SMTP 554: never"
    mailbox.recipient_says = "550 no such user"
    clock.advance(minutes=1)
    play(settings(server), deliver_due)
    assert deliveries()[0]["last_error"] == "every recipient was refused (550)"


def test_a_wrong_password_is_refused_and_not_shown(
    play: Any, say: Any, server: str, deliveries: Any
) -> None:
    say(alert())
    play(settings(server, "me:hunter2@"), deliver_due)
    (delivery,) = deliveries()
    assert delivery["refusals"] == 1
    assert "hunter2" not in delivery["last_error"]


def test_a_server_that_is_not_there_is_tried_again(play: Any, say: Any, deliveries: Any) -> None:
    say(alert())
    play(settings("127.0.0.1:1"), deliver_due)
    assert (deliveries()[0]["status"], deliveries()[0]["refusals"]) == ("waiting", 0)


def test_a_password_does_not_travel_in_the_open(
    play: Any, say: Any, server: str, mailbox: Mailbox, deliveries: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Not even to a server that would take it; this machine is the exception."""
    monkeypatch.setattr(
        "anomaly_platform.notifications.channels.smtp._is_this_machine", lambda host: False
    )
    say(alert())
    play(settings(server), deliver_due)
    assert mailbox.logins == []
    assert "no encryption" in deliveries()[0]["last_error"]


class ImplicitTls(Controller):
    """Speaks TLS from the first byte on; aiosmtpd asks for a login only after STARTTLS."""

    def factory(self) -> Any:
        made = super().factory()
        made._auth_require_tls = False
        return made


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_both_ways_of_encryption_work_and_carry_the_password(
    play: Any, say: Any, mailbox: Mailbox, trusted: ssl.SSLContext, scheme: str,
    monkeypatch: pytest.MonkeyPatch, deliveries: Any,
) -> None:  # fmt: skip
    monkeypatch.setattr(
        "anomaly_platform.notifications.channels.smtp._is_this_machine", lambda host: False
    )
    if scheme == "smtp":
        controller = start(mailbox, tls_context=trusted, require_starttls=True)
    else:
        controller = start(mailbox, ImplicitTls, ssl_context=trusted)
    try:
        say(alert())
        url = f"{scheme}://me:p%40ss@127.0.0.1:{controller.port}"
        play(get_settings(smtp_url=url, email_to="one@example.org"), deliver_due)
    finally:
        controller.stop()
    assert deliveries()[0]["last_error"] is None
    assert mailbox.logins == [(b"me", b"p@ss")]
    assert len(mailbox.mails) == 1


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(
    play: Any, say: Any, mailbox: Mailbox, trusted: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch, deliveries: Any,
) -> None:  # fmt: skip
    monkeypatch.delenv("SSL_CERT_FILE")
    controller = start(mailbox, tls_context=trusted, require_starttls=True)
    try:
        say(alert())
        play(settings(f"127.0.0.1:{controller.port}"), deliver_due)
    finally:
        controller.stop()
    assert mailbox.logins == []
    assert "certificate" in deliveries()[0]["last_error"].lower()

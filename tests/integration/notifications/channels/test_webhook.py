"""Webhooks are signed, follow nobody, and do not reach into private networks unless allowed."""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
from typing import Any

import pytest

from anomaly_platform.notifications.channels import guarded_http
from anomaly_platform.notifications.outbox import Alert
from anomaly_platform.settings import get_settings
from tests.builders.alerts import deliver_due

pytestmark = pytest.mark.integration

ALERT = Alert("drift", "drift/ems", "ems", "warning", "Something drifts", "ems", {"psi": 0.4})


def test_a_receiver_can_check_who_wrote(play: Any, say: Any, receiver: Any) -> None:
    say(ALERT)
    settings = get_settings(
        webhook_urls=f"{receiver.url}/hook?a=1", webhook_secret="s3cret", webhook_allow_private=True
    )
    play(settings, deliver_due)
    (request,) = receiver.requests
    assert (request.method, request.path, request.query) == ("POST", "/hook", {"a": "1"})
    assert request.headers["content-type"] == "application/json"
    stamp = request.headers["x-anomaly-timestamp"]
    expected = hmac.new(b"s3cret", f"{stamp}.".encode() + request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-anomaly-signature"] == f"sha256={expected}"
    message = request.json()
    assert message["kind"] == "drift"
    assert message["details"] == {"psi": 0.4}
    assert set(message) == {
        "id", "fingerprint", "kind", "stream", "subject", "severity", "state", "title",
        "occurrences", "since", "details", "created_at",
    }  # fmt: skip


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "rebound.example"])
def test_private_addresses_are_refused_as_they_are_connected_to(
    play: Any, say: Any, receiver: Any, deliveries: Any, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """A name says one thing when it is looked at and another when it is connected to."""
    real = socket.getaddrinfo

    def rebound(name: Any, port: Any, *rest: Any, **more: Any) -> Any:
        there = "127.0.0.1" if name in ("rebound.example", b"rebound.example") else name
        return real(there, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    say(ALERT)
    play(get_settings(webhook_urls=f"http://{host}:{receiver.port}/"), deliver_due)
    (delivery,) = deliveries()
    assert "ANOMALY_WEBHOOK_ALLOW_PRIVATE" in delivery["last_error"]
    assert delivery["refusals"] == 1
    assert receiver.requests == []


def test_a_redirection_is_not_followed(
    play: Any, say: Any, new_receiver: Any, deliveries: Any, answer: Any
) -> None:
    first, inside = new_receiver(), new_receiver()
    first.behave = lambda _: answer(307, headers={"location": inside.url})
    say(ALERT)
    play(get_settings(webhook_urls=first.url, webhook_allow_private=True), deliver_due)
    assert inside.requests == []
    assert deliveries()[0]["last_error"] == "HTTP 307"


def test_an_endless_answer_is_not_read_to_its_end(
    play: Any, say: Any, receiver: Any, deliveries: Any, answer: Any
) -> None:
    receiver.behave = lambda _: answer(500, b"x" * 20_000_000)
    say(ALERT)
    play(get_settings(webhook_urls=receiver.url, webhook_allow_private=True), deliver_due)
    assert len(deliveries()[0]["last_error"]) < 400


@pytest.mark.parametrize("fault", [{"cut": True}, {"status": 503}], ids=str)
def test_faults_on_the_way_are_tried_again(
    play: Any, say: Any, receiver: Any, clock: Any, deliveries: Any, answer: Any, fault: Any
) -> None:
    faults = [answer(**fault)]
    receiver.behave = lambda _: faults.pop() if faults else answer(200)
    say(ALERT)
    settings = get_settings(webhook_urls=receiver.url, webhook_allow_private=True)
    play(settings, deliver_due)
    assert deliveries()[0]["status"] == "waiting"
    clock.advance(seconds=3)
    play(settings, deliver_due)
    assert deliveries()[0]["status"] == "delivered"
    assert len({request.headers["idempotency-key"] for request in receiver.requests}) == 1


@pytest.mark.parametrize(("host", "arrives"), [("localhost", True), ("other.example", False)])
def test_a_certificate_has_to_be_for_the_name_although_the_address_was_looked_up_before(
    play: Any, say: Any, receiver: Any, deliveries: Any, trusted: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch, host: str, arrives: bool,
) -> None:  # fmt: skip
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda name, *rest, **more: real("127.0.0.1", *rest, **more)
    )
    monkeypatch.setattr(guarded_http, "is_public", lambda address: True)
    guarded_http.ssl_context.cache_clear()
    receiver.wrap(trusted)
    say(ALERT)
    play(get_settings(webhook_urls=f"https://{host}:{receiver.port}/"), deliver_due)
    guarded_http.ssl_context.cache_clear()
    assert bool(receiver.requests) == arrives
    assert (deliveries()[0]["status"] == "delivered") == arrives

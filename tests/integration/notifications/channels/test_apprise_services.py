"""What Apprise knows, against a real HTTP server behind its json:// URL."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from anomaly_platform.notifications.outbox import Alert
from anomaly_platform.settings import get_settings
from tests.builders.alerts import deliver_due

pytestmark = pytest.mark.integration

ALERT = Alert("drift", "drift/ems", "ems", "warning", "Something drifts", "ems", {"psi": 0.4})
TOKEN = "TOKEN0123456789"


def test_a_message_arrives_in_words(play: Any, say: Any, receiver: Any) -> None:
    say(ALERT)
    play(get_settings(apprise_urls=f"json://127.0.0.1:{receiver.port}/hook"), deliver_due)
    (request,) = receiver.requests
    said = request.json()
    assert said["title"] == "[WARNING] Something drifts"
    assert "psi: 0.4" in said["message"]
    assert said["type"] == "warning"


def test_a_failure_is_tried_again_and_shows_no_token(
    play: Any, say: Any, receiver: Any, deliveries: Any, answer: Any,
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    receiver.behave = lambda _: answer(500)
    say(ALERT)
    urls = f"json://user:{TOKEN}@127.0.0.1:{receiver.port}/{TOKEN} nonsense://{TOKEN}"
    with capture_logs() as logged:
        play(get_settings(apprise_urls=urls), deliver_due)
    first, second = deliveries()
    errors = {first["last_error"], second["last_error"]}
    assert errors == {
        "the service behind json:// took no message",
        "Apprise cannot use the URL nonsense://***",
    }
    out, err = capfd.readouterr()
    assert TOKEN not in "".join([out, err, str(logged), caplog.text, str(deliveries())])

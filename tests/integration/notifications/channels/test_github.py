"""One issue per alert, against a real HTTP server that keeps issues as GitHub does."""

from __future__ import annotations

from typing import Any

import pytest

from anomaly_platform.notifications.outbox import Alert
from anomaly_platform.settings import Settings, get_settings
from tests.builders.alerts import deliver_due

pytestmark = pytest.mark.integration


class Repository:
    """Issues and comments of one repository."""

    def __init__(self, receiver: Any, answer: Any) -> None:
        self.issues: list[dict[str, Any]] = []
        self.comments: list[tuple[int, str]] = []
        self.faults: list[Any] = []
        self._answer = answer
        receiver.behave = self.behave

    def behave(self, request: Any) -> Any:
        if request.headers["authorization"] != "Bearer right-token":
            return self._answer(401, {"message": "Bad credentials"})
        if self.faults and request.method != "GET":
            fault = self.faults.pop(0)
            if fault is not None:
                return fault
        assert request.parts[:3] == ["repos", "acme", "plant"]
        return self._issues(request, request.parts[4:])

    def _issues(self, request: Any, rest: list[str]) -> Any:
        if request.method == "GET":
            return self._answer(200, list(reversed(self.issues)))
        body = request.json()
        if not rest:
            number = len(self.issues) + 1
            self.issues.append({"number": number, "state": "open", **body})
            return self._answer(201, self.issues[-1])
        number = int(rest[0])
        if self.issues[number - 1]["state"] == "deleted":
            return self._answer(410, {"message": "gone"})
        if len(rest) == 1:
            self.issues[number - 1].update(body)
            return self._answer(200, self.issues[number - 1])
        self.comments.append((number, body["body"]))
        return self._answer(201, {"id": len(self.comments)})


@pytest.fixture
def repository(receiver: Any, answer: Any) -> Repository:
    return Repository(receiver, answer)


@pytest.fixture
def settings(receiver: Any) -> Settings:
    return get_settings(
        github_url=receiver.url, github_repository="acme/plant", github_token="right-token"
    )


DISABLED = Alert(
    "model_disabled", "model_disabled/iiot", "iiot", "critical", "A model was disabled", "iiot",
    {"device": "@everyone <img src=x>"},
)  # fmt: skip


def test_an_issue_is_opened_commented_closed_and_opened_again(
    play: Any, say: Any, clock: Any, repository: Repository, settings: Settings
) -> None:
    def deliver() -> None:
        play(settings, deliver_due)

    say(DISABLED)
    deliver()
    (issue,) = repository.issues
    assert issue["title"] == "[CRITICAL] A model was disabled"
    assert issue["labels"] == ["anomaly-platform", "model_disabled"]
    assert "\n    device: @everyone <img src=x>\n" in issue["body"], "shown as it is"
    clock.advance(hours=2)
    say(DISABLED)
    deliver()
    say(resolve=DISABLED.fingerprint)
    deliver()
    assert issue["state"] == "closed"
    clock.advance(hours=2)
    say(DISABLED)
    deliver()
    assert len(repository.issues) == 1
    assert issue["state"] == "open"
    assert [number for number, _ in repository.comments] == [1, 1, 1]
    assert "[RESOLVED]" in repository.comments[1][1]


def test_dying_after_the_issue_was_opened_opens_no_second_one(
    play: Any, say: Any, clock: Any, repository: Repository, settings: Settings, answer: Any,
    deliveries: Any,
) -> None:  # fmt: skip
    """The answer is lost: the issue is there, and its number is not known."""
    say(DISABLED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repository, "_issues", _losing(repository._issues, answer))
        play(settings, deliver_due)
    assert len(repository.issues) == 1
    assert deliveries()[0]["status"] == "waiting"
    clock.advance(minutes=1)
    play(settings, deliver_due)
    assert deliveries()[0]["status"] == "delivered"
    assert len(repository.issues) == 1
    assert repository.comments == []


def _losing(real: Any, answer: Any) -> Any:
    def lose(request: Any, rest: list[str]) -> Any:
        said = real(request, rest)
        return answer(cut=True) if request.method == "POST" else said

    return lose


def test_a_deleted_issue_is_opened_anew(
    play: Any, say: Any, clock: Any, repository: Repository, settings: Settings
) -> None:
    say(DISABLED)
    play(settings, deliver_due)
    repository.issues[0]["state"] = "deleted"
    clock.advance(hours=2)
    say(DISABLED)
    play(settings, deliver_due)
    assert [issue["state"] for issue in repository.issues] == ["deleted", "open"]


def test_a_used_up_limit_waits_and_a_bad_token_is_refused(
    play: Any, say: Any, clock: Any, repository: Repository, settings: Settings, answer: Any,
    deliveries: Any, receiver: Any,
) -> None:  # fmt: skip
    repository.faults = [answer(403, {}, {"x-ratelimit-remaining": "0", "retry-after": "600"})]
    say(DISABLED)
    play(settings, deliver_due)
    (delivery,) = deliveries()
    assert delivery["refusals"] == 0
    assert (delivery["next_try_at"] - clock()).total_seconds() == pytest.approx(600, abs=1)
    clock.advance(minutes=11)
    wrong = get_settings(
        github_url=receiver.url, github_repository="acme/plant", github_token="wrong-token-value"
    )
    play(wrong, deliver_due)
    (delivery,) = deliveries()
    assert delivery["refusals"] == 1
    assert "wrong-token-value" not in delivery["last_error"]


def test_anomalies_open_no_issues_unless_somebody_wants_it(
    play: Any, say: Any, repository: Repository, settings: Settings
) -> None:
    say(Alert("anomaly", "anomaly/iiot/p", "p", "critical", "unusual", "iiot"))
    play(settings, deliver_due)
    assert repository.issues == []

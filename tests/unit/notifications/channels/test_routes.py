"""Who gets what, by default and when somebody says otherwise."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

import pytest

from anomaly_platform.notifications.channels.base import Notification
from anomaly_platform.notifications.channels.routes import DEFAULT_ROUTES, Routes
from anomaly_platform.settings import SettingsError


def notification(kind: str, severity: str, stream: str | None = "iiot") -> Notification:
    values: dict[str, Any] = {
        "id": UUID(int=1), "fingerprint": "f", "subject": "s", "state": "firing", "title": "t",
        "occurrences": 1, "since": None, "details": {},
        "created_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    }  # fmt: skip
    return Notification(kind=kind, severity=severity, stream=stream, **values)


def takers(routes: Routes, *about: Any) -> set[str]:
    return {kind for kind in DEFAULT_ROUTES if routes.of(kind).takes(notification(*about))}


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        (("anomaly", "warning"), {"webhook", "email", "apprise", "mqtt"}),
        (("anomaly", "critical", "ems"), {"webhook", "email", "apprise", "mqtt", "ems"}),
        (("model_retrained", "info"), {"webhook", "mqtt"}),
        (("run_failed", "warning"), {"webhook", "email", "apprise", "github"}),
        (("model_disabled", "critical", None), {"webhook", "email", "apprise", "github"}),
        (("latency", "warning"), {"webhook", "email", "apprise"}),
    ],
)
def test_defaults(about: tuple[Any, ...], expected: set[str]) -> None:
    assert takers(Routes(), *about) == expected


def test_a_route_replaces_its_channel_and_no_other() -> None:
    routes = Routes(" email = critical ; github=info:anomaly, drift;")
    assert takers(routes, "anomaly", "warning") == {"webhook", "apprise", "mqtt", "github"}
    assert takers(routes, "run_failed", "critical") == {"webhook", "email", "apprise"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pager=critical", "no channel 'pager'.*apprise, email"),
        ("email=loud", "no severity 'loud'.*critical, info, warning"),
        ("email=info:fire", "no kind 'fire'.*anomaly"),
        ("email", "no severity ''"),
    ],
)
def test_a_mistake_is_named_with_what_is_possible(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"ANOMALY_ALERT_ROUTES: there is {said}"):
        Routes(text)

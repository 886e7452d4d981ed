"""Commands against a platform of the test's own."""

from __future__ import annotations

import pytest

from anomaly_platform.settings import Settings
from tests.builders.commands import point_commands_at


@pytest.fixture
def own_platform(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands find the home and the database of the test's settings."""
    point_commands_at(settings, monkeypatch)

"""What takes readings, on the platform of a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from anomaly_platform.platform import Platform
from anomaly_platform.realtime.ingest import OnlineIngest


@pytest.fixture
def ingest(platform: Platform) -> Iterator[OnlineIngest]:
    opened = platform.online_ingest()
    yield opened
    opened.close()

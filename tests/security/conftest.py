"""The API as it is started in production, for those who attack it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders.services import Service, running_service


@pytest.fixture(scope="module")
def service(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """``anomaly api`` with two workers over an empty database."""
    with running_service(tmp_path_factory.mktemp("service"), module_database_url) as found:
        yield found

"""What `anomaly up` tells its services, and who started it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from anomaly_platform.cli.services.ports import free_port
from anomaly_platform.cli.services.up import _awaited, _first_words, _services
from anomaly_platform.platform import Platform
from anomaly_platform.settings import get_settings


def test_the_console_is_told_that_mlflow_has_no_pages_and_where_those_of_dagster_are(
    tmp_path: Path,
) -> None:
    platform = Platform(get_settings(home=tmp_path))
    services = _services(platform, tmp_path, "0.0.0.0", 3001, mlflow=False)
    by_name = {one.name: one for one in services}
    assert "mlflow" not in by_name
    assert by_name["api"].environment == {
        "ANOMALY_MLFLOW_PAGES": "false",
        "ANOMALY_DAGSTER_UI_URL": "http://127.0.0.1:3001",
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_is_taken_while_something_listens_on_it(host: str) -> None:
    try:
        server = socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError:
        pytest.skip("this machine has no such address")
    with server:
        port = server.getsockname()[1]
        assert not free_port(host, port)
    assert free_port(host, port)


def test_the_first_address_that_is_printed_is_the_consoles(tmp_path: Path) -> None:
    settings = get_settings(home=tmp_path, api_port=8123)
    awaited = _awaited(settings, tmp_path, "127.0.0.1", 3001, mlflow=True)
    first = next(line for line in _first_words(tmp_path, awaited) if "http" in line)
    assert first.split() == ["Console", "http://127.0.0.1:8123/console", "(starting)"]

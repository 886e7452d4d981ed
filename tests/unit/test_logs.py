"""Lines look the same wherever they come from, and no line holds a secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from anomaly_platform.logs import configure_logging, without_secrets
from anomaly_platform.resources.api_keys import new_key


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    logger = logging.getLogger("anomaly_platform")
    logger.handlers = []
    logger.setLevel(logging.NOTSET)


def test_secrets_are_taken_out() -> None:
    prefix, key = new_key()
    line = f"{key} postgresql://me:hunter2@host/db Authorization: Bearer {key} Basic bWU6c2VjcmV0"
    clean = without_secrets(line)
    assert prefix in clean
    for secret in (key.partition(".")[2], "hunter2", "bWU6c2VjcmV0"):
        assert secret not in clean
    assert without_secrets("12:30:00 http://host:8000/a@b") == "12:30:00 http://host:8000/a@b"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_both_kinds_of_loggers_write_alike(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO", log_format)
    _, key = new_key()
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        structlog.get_logger().info("one", key=key)
        logging.getLogger("anomaly_platform.some").warning("two %s", key)
        try:
            hidden = "a local that nobody may read"
            raise ValueError(f"three {key}, {len(hidden)}")
        except ValueError:
            structlog.get_logger().exception("failed")
            logging.getLogger("anomaly_platform.some").exception("failed")
    logging.getLogger("anomaly_platform.some").debug("four")
    said = capsys.readouterr().err
    assert key.partition(".")[2] not in said
    assert "nobody may read" not in said.replace('hidden = "a local that nobody may read"', "")
    assert "four" not in said
    assert said.count("r-1") == 4
    if log_format == "json":
        lines = [json.loads(line) for line in said.splitlines()]
        assert [line["level"] for line in lines] == ["info", "warning", "error", "error"]
        assert all(line["request_id"] == "r-1" and line["timestamp"] for line in lines)
        assert lines[2]["exception"][0]["exc_type"] == "ValueError"

"""Lines look the same wherever they come from, and no line holds a secret."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator

import psycopg
import pytest
import structlog

from anomaly_platform.logs import configure_logging, without_secrets
from anomaly_platform.storage.tables.api_keys import new_key


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    logger = logging.getLogger("anomaly_platform")
    logger.handlers = []
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def _whole_process() -> Iterator[None]:
    """Give the process back what a service takes over."""
    root, server = logging.getLogger(), logging.getLogger("uvicorn")
    before = root.handlers, root.level, server.handlers, server.level, server.propagate
    hooks = sys.excepthook, threading.excepthook
    yield
    root.handlers, root.level, server.handlers, server.level, server.propagate = before
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(False)


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


@pytest.mark.usefixtures("_whole_process")
def test_a_service_writes_each_line_of_everybody_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "json", whole_process=True)
    pool, server = logging.getLogger("psycopg.pool"), logging.getLogger("uvicorn.error")
    pool.info("of no interest")
    pool.warning("error connecting in %r: %s", "pool-2", "it failed\n\tIs the server running?")
    server.info("started")
    logging.getLogger("anomaly_platform.some").info("own")
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    said = [(line["level"], line["event"]) for line in lines]
    assert said[0] == (
        "warning",
        "error connecting in 'pool-2': it failed\n\tIs the server running?",
    )
    assert said[1:3] == [("info", "started"), ("info", "own")]
    assert said[3] == ("critical", "not caught")
    assert lines[3]["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert len(lines) == 4


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@[::1/db",
        "postgresql://me:hun/ter2@[::1/db",
        "postgresql://me:x@hunter2@127.0.0.1:1/db",
        "postgresql://me:hunter2%zz@127.0.0.1/db",
        "postgresql://me:hunter2 x@127.0.0.1/db",
        "postgresql://me@127.0.0.1:1/db?password=hunter2",
    ],
)
@pytest.mark.usefixtures("_whole_process")
def test_what_the_database_client_says_of_a_url_holds_no_password(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO", "json", whole_process=True)
    with pytest.raises(psycopg.Error) as caught:
        psycopg.connect(url, connect_timeout=5)
    pool = logging.getLogger("psycopg.pool")
    pool.warning("error connecting in %r: %s", "pool-2", caught.value)
    pool.warning("the URL is %s", url.replace(" ", ""))
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert "ter2" not in said
    assert [json.loads(line)["level"] for line in said.splitlines()] == ["warning"] * 2

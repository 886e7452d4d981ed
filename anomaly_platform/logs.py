"""Logs: one shape for every process, on standard error, at the level that the settings name.

Belongs here: how a line looks, and that no line holds a secret. What this package logs through
:mod:`logging` and through structlog comes out the same way.
"""

import logging
import re
import sys
import threading
from types import TracebackType
from typing import Any, Final

import structlog
import structlog.tracebacks
from structlog.typing import EventDict, Processor

_OWN: Final = "anomaly_platform"
#: What a server says of its work is wanted like our own; of libraries only what is wrong.
_OF_A_SERVICE: Final = (_OWN, "uvicorn")

_SECRETS: Final = (
    # What follows the prefix of an API key, and what follows the user in a URL.
    (re.compile(r"(anomaly_[0-9a-f]{12})\.[A-Za-z0-9_-]+"), r"\1.***"),
    (re.compile(r"([a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/@]+@", re.IGNORECASE), r"\1:***@"),
    # Of these, a password may also hold what it should not, as it was typed.
    (re.compile(r"((?:postgres\w*|rediss?|mqtts?)[+\w]*://[^\s/:@]*):[^\s\"']+@"), r"\1:***@"),
    # PostgreSQL's client quotes what it cannot read of a URL, which may be the password.
    (
        re.compile(r"((?:percent-encoded token:|unexpected spaces found in) \\?\")[^\"\\]*"),
        r"\1***",
    ),
    (re.compile(r"(resolve host \\?['\"])[^\s'\"]*@"), r"\1***@"),
    (re.compile(r"(password=)[^\s&\"'\\]+"), r"\1***"),
    (re.compile(r"((?:Bearer|Basic) )[A-Za-z0-9._~+/=-]{8,}"), r"\1***"),
)


def without_secrets(line: str) -> str:
    """Return a line without API keys, passwords in URLs and authorization headers."""
    for pattern, replacement in _SECRETS:
        line = pattern.sub(replacement, line)
    return line


def configure_logging(
    level: str, log_format: str = "console", *, whole_process: bool = False
) -> None:
    """Send events of `level` and above to standard error, one line each.

    Parameters
    ----------
    level : str
        ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``.
    log_format : str
        ``console``, for people, or ``json``, an object a line.
    whole_process : bool
        Whether other packages' records, from WARNING on, are written the same way, and what ends
        a thread; otherwise those packages keep their own ways.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, *_ending(log_format)],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_ending(log_format),
            ],
        )
    )
    if whole_process:
        _take_over(handler, level)
        return
    logger = logging.getLogger(_OWN)
    logger.handlers = [handler]
    logger.setLevel(level)


def _take_over(handler: logging.Handler, level: str) -> None:
    """Send every record of a process through one handler, each of them once."""
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    for name in _OF_A_SERVICE:
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(level)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda ended: _log_uncaught(
        ended.exc_type, ended.exc_value, ended.exc_traceback
    )


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    if error is None or issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(_OWN).critical("not caught", exc_info=(kind, error, trace))


def _ending(log_format: str) -> list[Processor]:
    """Return the processors that make a line of an event."""
    if log_format == "json":
        return [
            structlog.processors.ExceptionRenderer(
                # Without local variables, which may be anybody's passwords.
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(ensure_ascii=True, default=str),
            _clean,
        ]
    return [
        structlog.processors.format_exc_info,
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        _clean,
    ]


def _clean(_logger: Any, _method: str, line: str | bytes | EventDict) -> str:
    return without_secrets(str(line))

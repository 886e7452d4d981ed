"""Logs: one shape for every process, on standard error, at the level that the settings name.

Belongs here: how a line looks, and that no line holds a secret. What this package logs through
:mod:`logging` and through structlog comes out the same way.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from typing import Any, Final

import structlog
import structlog.tracebacks
from structlog.typing import EventDict, Processor

#: Whose logs are ours to write; other packages keep their own ways.
OWN_LOGGERS: Final = ("anomaly_platform",)

_SECRETS: Final = (
    # What follows the prefix of an API key, and what follows the user in a URL.
    (re.compile(r"(anomaly_[0-9a-f]{12})\.[A-Za-z0-9_-]+"), r"\1.***"),
    (re.compile(r"([a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/@]+@", re.IGNORECASE), r"\1:***@"),
    (re.compile(r"((?:Bearer|Basic) )[A-Za-z0-9._~+/=-]{8,}"), r"\1***"),
)


def without_secrets(line: str) -> str:
    """Return a line without API keys, passwords in URLs and authorization headers."""
    for pattern, replacement in _SECRETS:
        line = pattern.sub(replacement, line)
    return line


def configure_logging(
    level: str, log_format: str = "console", *, loggers: Sequence[str] = OWN_LOGGERS
) -> None:
    """Send events of `level` and above to standard error, one line each.

    Parameters
    ----------
    level : str
        ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``.
    log_format : str
        ``console``, for people, or ``json``, an object a line.
    loggers : sequence of str
        Of :mod:`logging`, whose records are written the same way.
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
    for name in loggers:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)


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

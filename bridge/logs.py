"""Logs: one structured line a step, to stderr; never a secret, never a body."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

HIDDEN = "***"


class Redactor:
    """Replace every configured secret by ***, wherever it appears."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Longest first: one secret may begin with another.
        self._secrets = sorted({each for each in secrets if len(each) > 3}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return a text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    def processor(self, _: WrappedLogger, __: str, line: EventDict) -> EventDict:
        """Redact a log line: all of it but plain numbers is written out first."""
        return {key: each if _is_plain(each) else self(str(each)) for key, each in line.items()}


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float))


def configure(redact: Redactor, *, quiet: bool = False) -> None:
    """Set logging up for this process: readable on a terminal, logfmt otherwise."""
    pretty = sys.stderr.isatty()
    render: Any = (
        # Not its pretty tracebacks: they show local variables, and so bodies and secrets.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if pretty
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact.processor,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.ERROR if quiet else logging.INFO
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def get() -> Any:
    """Return the logger."""
    return structlog.get_logger()

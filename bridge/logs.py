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
        """Redact a log line."""
        return {key: self(each) if isinstance(each, str) else each for key, each in line.items()}


def configure(redact: Redactor, *, quiet: bool = False) -> None:
    """Set logging up for this process: readable on a terminal, logfmt otherwise."""
    pretty = sys.stderr.isatty()
    render: Any = (
        structlog.dev.ConsoleRenderer()
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

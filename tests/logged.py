"""What this process logs, for tests to read."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import structlog

from bridge import logs
from bridge.logs import Redactor


@contextmanager
def logged(secrets: Iterable[str] = ()) -> Iterator[io.StringIO]:
    """Log into a text while the block runs, with these secrets kept out; then as before."""
    before, redact = structlog.get_config(), logs.InUse.redact
    with patch("sys.stderr", io.StringIO()) as output:
        logs.configure(Redactor(secrets))
        try:
            yield output
        finally:
            structlog.configure(**before)
            logs.hide(redact)

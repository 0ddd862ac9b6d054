"""Fresh times: fixtures moved so that the newest of what they tell happens now.

What lay between two times stays as it is, and every time is written as it was: in seconds, in ISO
8601 with its own offset, or as Paddle Classic does, without a zone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bridge.cli.documents import Document, mapped

FIELD = re.compile(r"(created|date|start|end|.*_(at|on|by|date|time|start|end|anchor))")
WRITTEN = re.compile(
    r"\d{4}-\d\d-\d\d(?:([T ])\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?)?", re.IGNORECASE
)
HEADER = re.compile(r".*-triggered-at")
# Where an event says when it happened, the providers' own names of it.
HAPPENED = (
    "created",  # Stripe
    "occurred_at",  # Paddle
    "event_time",  # Paddle Classic
    *("updated_at", "processed_at", "created_at", "finalized_on", "initiated_at"),  # Shopify
)
# No amount of seconds since 1970 that a provider writes today is below this one.
EARLIEST = 10**9


def moved(documents: Sequence[Document], now: datetime) -> list[Document]:
    """Return documents moved in time, all by as much."""
    newest = max((at for each in documents for at in _happened(each)), default=now)
    shift = now - newest
    return [
        replace(
            each,
            value=mapped(each.value, lambda name, value: _moved(name, value, shift)),
            headers={
                name: _moved_text(text, shift) if HEADER.fullmatch(name) else text
                for name, text in each.headers.items()
            },
        )
        for each in documents
    ]


def _happened(document: Document) -> Iterator[datetime]:
    fields = document.value if isinstance(document.value, dict) else {}
    given = [fields.get(name) for name in HAPPENED]
    given += [text for name, text in document.headers.items() if HEADER.fullmatch(name)]
    for each in given:
        if type(each) is int:
            yield datetime.fromtimestamp(each, UTC)
        elif isinstance(each, str) and (moment := _moment(each)):
            yield moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _moved(name: str, value: Any, shift: timedelta) -> Any:
    if not FIELD.fullmatch(name):
        return value
    if type(value) is int and value > EARLIEST:
        return value + int(shift.total_seconds())
    return _moved_text(value, shift) if isinstance(value, str) else value


def _moved_text(text: str, shift: timedelta) -> str:
    moment, form = _moment(text), WRITTEN.fullmatch(text)
    if moment is None or form is None:
        return text
    between, fraction, _ = form.groups()
    if not between:
        return (moment + shift).date().isoformat()
    precision = "microseconds" if len(fraction or "") > 4 else "milliseconds"
    written = (moment + shift).isoformat(between, precision if fraction else "seconds")
    return written.replace("+00:00", "Z") if text.upper().endswith("Z") else written


def _moment(text: str) -> datetime | None:
    """Read a time as providers write it, with its own offset or none."""
    try:
        return datetime.fromisoformat(text) if WRITTEN.fullmatch(text) else None
    except ValueError:
        return None

"""The inbox: a verified event is put on disk, the workers are woken; only then is it answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from bridge import logs
from bridge.model import Event
from bridge.providers.base import text
from bridge.store import Store


def receive(store: Store, event: Event, now: datetime) -> bool:
    """Store a verified event and wake the workers; return False for one that is here already."""
    return receive_all(store, [(event, now)])[0]


def receive_all(store: Store, arrived: Sequence[tuple[Event, datetime]]) -> list[bool]:
    """Store verified events that came at these times, and wake the workers.

    Returns of each whether it is new. Beside the body, which stays as it came, nothing is kept that
    a database cannot take, nor a secret of this process.
    """
    return store.events.add_all([(_clean(event), at) for event, at in arrived])


def _clean(event: Event) -> Event:
    whole = "\n".join((event.id, event.type, event.account, event.waits_for, event.ignored))
    if _kept(whole) == whole:  # nearly always, and it is looked at once
        return event
    return replace(
        event,
        id=_kept(event.id),
        type=_kept(event.type),
        account=_kept(event.account),
        waits_for=_kept(event.waits_for),
        ignored=_kept(event.ignored),
    )


def _kept(words: str) -> str:
    return logs.InUse.keep_out(text(words))

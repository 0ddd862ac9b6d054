"""Own events: those that we make ourselves of what was captured, sign-ups and visits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from bridge import leads
from bridge.capture import Capture
from bridge.identity import ANONYMOUS, kind_of
from bridge.model import Event
from bridge.store import Store
from bridge.store.events import key_of
from bridge.store.rows import Said
from bridge.vendors.base import AnyVendor


def made_of(
    capture: Capture,
    vendors: Mapping[str, AnyVendor],
    store: Store,
    said: Said,
    secret: bytes,
    *,
    lead: bool,
) -> Iterator[Event]:
    """Yield the events to be made of what was captured; the names in them are keyed with a secret.

    A visit that only a browser tells of is that browser's, whoever it claims to be.
    """
    if lead:
        yield _lead(capture, store, secret)
    seen = {
        name: capture.clicks[name]
        for name, vendor in vendors.items()
        if vendor.wants_pageviews and capture.url and name in capture.clicks
    }
    if seen:
        browser = [key for key in capture.keys if kind_of(key) == ANONYMOUS]
        keys = browser if said.claimed else capture.keys
        yield leads.pageview_event(keys, seen, capture.captured_at, secret)


def _lead(capture: Capture, store: Store, secret: bytes) -> Event:
    """Return the event of a sign-up; another one where its customer was removed since."""
    at, exact = capture.captured_at, capture.exact
    for again in itertools.count():
        event = leads.lead_event(capture.keys, at, exact=exact, secret=secret, again=again)
        row = store.events.get(key_of(event))
        if row is None or not row.redacted:
            return event
    raise AssertionError  # counting never ends

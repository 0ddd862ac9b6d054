"""The whole street, for fuzzing: the web as providers call it, the worker, vendors, commands.

What comes in may be anything; what must hold of it afterwards is said here once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unicodedata import category
from urllib.parse import parse_qsl, urlencode

import pytest
from cases import CASES, Case
from flask.testing import FlaskClient
from kit import CLICKS, Bench, bench
from pages import KEY, ORIGIN, PAGE, SERVER
from typing_in import bridge
from werkzeug.test import TestResponse

from bridge.cli.fixture_changes import change
from bridge.cli.fixture_files import FixtureFile
from bridge.errors import BridgeError
from bridge.http import Sender
from bridge.model import WebhookRequest
from bridge.store import Store
from bridge.store.rows import DeliveryState, EventState
from bridge.web import create_app
from bridge.worker import Worker

BROWSERS = {"BRIDGE_PUBLISHABLE_KEY": KEY, "BRIDGE_ALLOWED_ORIGINS": ORIGIN}
# One that must not be told twice, one that can be told again: both have their own words for no.
VENDORS = ("taapit", "trackdesk")
ENDED = {EventState.PROCESSED, EventState.IGNORED, EventState.WAITING, EventState.FAILED}
# Where each provider says which event it is; Shopify says it in a header.
IDS = {"stripe": "id", "paddle": "event_id", "paddle_classic": "alert_id"}
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
MOST_SHOWN, TOGETHER = 5, 25
SHOPIFY_ID = "x-shopify-webhook-id"


@dataclass
class Street:
    """Hold the web over a store, and a worker that delivers to sandbox vendors."""

    made: Bench
    web: FlaskClient
    worker: Worker
    sent: int = 0
    answers: dict[str, int] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return self.made.store

    # ── coming in ──

    def values(self, case: Case) -> tuple[Any, dict[str, str]]:
        """Return a fixture's values and headers, as an event that never came before.

        So many events in a row may be of one order; those after them are of another.
        """
        self.sent += 1
        (path,) = case.folder.glob("body.*")
        file = FixtureFile(path, case.provider, case.body, dict(case.request.headers))
        (file,) = change([file], [], fresh=f"{self.sent // TOGETHER:08x}")
        headers = dict(file.headers)
        values = dict(parse_qsl(file.body, keep_blank_values=True)) if file.is_form else None
        values = values or json.loads(file.body)
        if case.provider in IDS:
            values[IDS[case.provider]] = str(self.sent)
        else:
            headers[SHOPIFY_ID] = f"fuzzed-{self.sent}"
        return values, headers

    def post(
        self, provider: str, body: bytes, headers: Mapping[str, str], *, signed: bool = True
    ) -> TestResponse:
        """Send a body to a provider's address, signed if it can be."""
        known = self.made.config.providers[provider]
        request = WebhookRequest(dict(headers), body)
        if signed:
            with suppress(BridgeError):
                request = known.sign(request, datetime.now(UTC))
        return self.send(f"/webhooks/{known.route}", request.body, request.headers)

    def good(self, case: Case) -> TestResponse:
        """Send a fixture as it is, but for its id."""
        values, headers = self.values(case)
        return self.post(case.provider, written(case, values), headers)

    def click(self, body: object, path: str = "/clicks", *, page: bool = False) -> TestResponse:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send(path, raw, PAGE if page else SERVER)

    def send(self, path: str, body: bytes, headers: Mapping[str, str]) -> TestResponse:
        """Send a request; whatever it is, it is not our fault."""
        answer = self.web.post(path, data=body, headers=dict(headers))
        text = answer.get_data(as_text=True)
        assert answer.status_code < 500, text
        assert answer.status_code in {200, 201} or answer.get_json().keys() == {"error"}
        assert answer.status_code in {200, 201} or len(text) < 10_000
        return answer

    # ── afterwards ──

    def settle(self, *, most: int = 20) -> None:
        """Process and deliver; whatever came, that ends and leaves nothing half done.

        Of what there is at most so many are looked at, the newest.
        """
        self.worker.drain()
        assert set(self.store.events.count()) <= set(map(str, ENDED))
        for states in self.store.deliveries.count().values():
            assert str(DeliveryState.SENDING) not in states
        for row in self.store.events.newest(limit=most):
            assert row.reason or row.state is EventState.PROCESSED
        for each in self.store.deliveries.newest(limit=most):
            assert each.reason or each.state in {DeliveryState.SETTLED, DeliveryState.DUE}
            assert not each.lease

    def show(self) -> None:
        """Look at all there is as a person does; nothing of it may be too odd to be shown."""
        for name in ("events", "conversions", "deliveries"):
            said = bridge(name, "--json", "--limit", "100000")
            assert (said.exit_code, said.stderr) == (0, "")
            assert isinstance(json.loads(said.stdout), list)
            assert bridge(name, "--limit", "100000").exit_code == 0
        rows = self.store.events.newest(limit=100_000)
        for row in rows[:: len(rows) // MOST_SHOWN + 1]:
            for options in ((), ("--json",)):
                said = bridge("show", *options, "--", row.key)
                assert (said.exit_code, said.stderr) == (0, ""), row.key[:200]
                assert harmless(said.stdout)
        assert bridge("doctor").exit_code == 0


def harmless(text: str) -> bool:
    """Tell whether a terminal only shows a text: no control, no turning around, no half letter."""
    rest = text.replace("\n", "").replace("\t", "")
    return not any(category(each) in {"Cc", "Cs", "Zl", "Zp"} or each in TURNING for each in rest)


def written(case: Case, values: Any) -> bytes:
    """Return values as the body of a fixture's kind."""
    if not case.body.startswith("{"):
        return urlencode(values, errors="replace").encode()
    return json.dumps(values).encode()


def click_of(customer: Mapping[str, object]) -> dict[str, object]:
    clicks = {name: click for name, click in CLICKS.items() if name in VENDORS}
    return {"customer": dict(customer), "clicks": clicks}


@contextmanager
def streets(folder: Path) -> Iterator[Street]:
    """Open a street, with settings of its own."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        many = {"BRIDGE_CLICKS_PER_MINUTE": "1000000", **BROWSERS}
        made = stack.enter_context(bench(folder / "street.db", patch, VENDORS, **many))
        web = create_app(made.config, made.store).test_client()
        worker = Worker(made.store, made.config, sender=Sender(read_seconds=0.5))
        stack.callback(worker.close)
        yield Street(made, web, worker)


JSON_CASES = [each for each in CASES if each.body.startswith("{")]

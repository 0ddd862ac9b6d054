"""Anything at all, sent the whole way: web, worker, vendors, commands. Nothing of it is our fault.

`test_fuzz.py` does the same with the providers alone, `test_wrong_bodies.py` with the click API.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cases import CASES, Case, case_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from mutations import ODD, TOKENS, WHOLE, mutate, places, spliced
from pages import PAGE, SERVER
from street import JSON_CASES, Street, click_of, streets, written
from typing_in import bridge

from bridge.model import WebhookRequest
from bridge.providers import discover
from bridge.store.rows import EventState

ANY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
GOOD = {
    "stripe": "stripe/invoice.paid",
    "paddle": "paddle/transaction.completed",
    "paddle_classic": "paddle_classic/payment_succeeded",
    "shopify": "shopify/orders/paid",
}


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    with streets(tmp_path) as opened:
        yield opened
        opened.settle(most=100_000)


def goes_on(street: Street) -> None:
    """Check that all has ended, that it can be shown, and that good events still go through."""
    for name in GOOD.values():
        street.good(case_of(name))
    street.settle()
    newest = street.store.events.newest(limit=len(GOOD))
    assert {row.state for row in newest} == {EventState.PROCESSED}
    assert {row.event.provider for row in newest} == set(GOOD)
    street.show()


def test_a_good_event_of_every_provider_goes_through(street: Street) -> None:
    assert set(GOOD) == set(discover())
    goes_on(street)


# ── signed by the provider ───────────────────────────────────────────────────────────────────────


@ANY
@given(data=st.data())
def test_mutated_events_end_one_way_or_another(street: Street, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        case = data.draw(st.sampled_from(CASES))
        values, headers = street.values(case)
        mutate(values, data, ODD, most=4)
        street.post(case.provider, written(case, values), headers)
    street.settle()


@ANY
@given(data=st.data())
def test_texts_that_no_value_is_written_as_end_likewise(
    street: Street, data: st.DataObject
) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        case = data.draw(st.sampled_from(JSON_CASES))
        values, headers = street.values(case)
        where, key = data.draw(st.sampled_from(list(places(values))))
        token = data.draw(st.sampled_from(sorted(TOKENS)))
        street.post(case.provider, spliced(values, where, key, TOKENS[token]).encode(), headers)
    street.settle()


def test_every_place_of_an_event_may_hold_an_odd_text(street: Street) -> None:
    tokens = cycle(TOKENS.values())  # each comes to many places, and to others at each provider
    for name in GOOD.values():
        case = case_of(name)
        count = len(list(places(street.values(case)[0])))
        for at in range(0, count, count // settings().max_examples or 1):
            values, headers = street.values(case)
            where, key = list(places(values))[at]
            if case in JSON_CASES:
                body = spliced(values, where, key, next(tokens)).encode()
            else:
                where[key] = next(tokens)
                body = written(case, values)
            street.post(case.provider, body, headers)
    goes_on(street)


def test_every_provider_may_send_any_bytes(street: Street) -> None:
    for case in CASES:
        if case.name == GOOD[case.provider].partition("/")[2]:
            for change in WHOLE.values():
                values, headers = street.values(case)
                street.post(case.provider, change(written(case, values)), headers)
    goes_on(street)


# ── signed by nobody ─────────────────────────────────────────────────────────────────────────────

SIGNED_WITH = {
    "stripe": "stripe-signature",
    "paddle": "paddle-signature",
    "shopify": "x-shopify-hmac-sha256",
}
LONG = "9" * 5_000
STAMPS = [
    "",
    "-1",
    "0",
    LONG,
    "1e3",
    "now",
    "١٢٣",
    "0x10",
    " 1",
    "1.5",
    "99999999999",
    "253402300800",
]
SIGNATURES: list[str] = [
    *(
        "",
        " ",
        "=",
        ",",
        ";",
        "é",
        "\xff",
        "x" * 50_000,
        "t",
        "v1",
        "h1",
        "===",
        "ts=;h1=",
        "t=,v1=",
    ),
    *(f"t={stamp},v1=abc" for stamp in STAMPS),
    *(f"ts={stamp};h1=abc" for stamp in STAMPS),
    *(
        "t=1,t=2,v1=a,v1=b",
        "ts=1;ts=2;h1=a;h1=b",
        "t=1,v1=é",
        "ts=1;h1=é",
        "v1=a" + ",v1=b" * 9_000,
    ),
    *("h1=a" + ";h1=b" * 9_000, "bm90IGl0", "bm90IGl0=é", "<script>", "%s%n{0}", "null"),
]


def test_nothing_is_stored_that_is_not_signed(street: Street) -> None:
    for provider, header in SIGNED_WITH.items():
        case = case_of(GOOD[provider])
        for signature in SIGNATURES:
            values, headers = street.values(case)
            sent = {**headers, header: signature}
            answer = street.post(provider, written(case, values), sent, signed=False)
            assert answer.status_code in {400, 401}, signature
            assert len(answer.get_data()) < 1_000
    values, headers = street.values(case_of(GOOD["paddle_classic"]))
    for signature in SIGNATURES:
        body = written(case_of(GOOD["paddle_classic"]), {**values, "p_signature": signature})
        assert street.post("paddle_classic", body, headers, signed=False).status_code == 400
    assert street.store.events.newest() == []


@pytest.mark.parametrize("provider", SIGNED_WITH)
@ANY
@given(data=st.data())
def test_a_damaged_signature_is_none(street: Street, provider: str, data: st.DataObject) -> None:
    case = case_of(GOOD[provider])
    values, headers = street.values(case)
    body = written(case, values)
    known = street.made.config.providers[provider]
    signed = known.sign(WebhookRequest(headers, body), datetime.now(UTC))
    right = signed.headers[SIGNED_WITH[provider]]
    at = data.draw(st.integers(0, len(right) - 1))
    new = data.draw(st.characters(min_codepoint=32, max_codepoint=255))
    wrong = data.draw(
        st.sampled_from([right[:at] + new + right[at + 1 :], right[:at], right + new])
    )
    answer = street.send(
        f"/webhooks/{known.route}", body, {**signed.headers, SIGNED_WITH[provider]: wrong}
    )
    # A blank beside it, or a letter where the scheme is named, may not matter; another body does.
    if answer.status_code == 200:
        other = {**signed.headers, SIGNED_WITH[provider]: wrong}
        changed = street.send(f"/webhooks/{known.route}", body + b" ", other)
        assert changed.status_code in {400, 401}


OTHER_HEADERS: dict[str, list[str]] = {
    "content-type": ["", "x", "multipart/form-data", "application/json; charset=utf-7", "é" * 100],
    "x-shopify-topic": ["", "x", "orders/paid, orders/paid", "é", "ORDERS/PAID", "../..", LONG],
    "x-shopify-shop-domain": ["", "x", "evil.example", "acme.myshopify.com.evil.example", LONG],
    "x-shopify-webhook-id": ["", " ", "é", "x" * 100_000, "\xff", "a, b"],
    "x-shopify-triggered-at": ["", "x", "9999-12-31T23:59:59-23:59", LONG, "2026-11-20"],
    "x-forwarded-for": ["x", "1, 2, 3", "é", LONG],
    "content-encoding": ["gzip", "x"],
    "expect": ["100-continue", "x"],
    "origin": ["null", "é", "https://evil.example"],
    "authorization": ["", "Bearer", "Bearer é", "Basic " + LONG, "Bearer  x y"],
    "idempotency-key": ["", "é", LONG],
    "cookie": ["é", "a=" + LONG],
}


def test_whatever_the_other_headers_say_it_is_an_answer(street: Street) -> None:
    for name in GOOD.values():
        case = case_of(name)
        for header, found in OTHER_HEADERS.items():
            for value in found:
                values, headers = street.values(case)
                street.post(case.provider, written(case, values), {**headers, header: value})
        values, _ = street.values(case)
        street.post(case.provider, written(case, values), {})
    for header, found in OTHER_HEADERS.items():
        for value in found:
            for path, sent in (("/clicks", SERVER), ("/clicks", PAGE), ("/leads", SERVER)):
                street.send(path, b'{"customer": {"stripe": "cus_1"}}', {**sent, header: value})
    goes_on(street)


# ── a day of it ──────────────────────────────────────────────────────────────────────────────────

IDS = st.sampled_from(["user_1", "user_2", "cus_1", "0001", "a b", "é", "🧾"])
CUSTOMERS = st.dictionaries(st.sampled_from(["external_id", "stripe", "anonymous_id"]), IDS)


class Day(RuleBasedStateMachine):
    """Be a day at one bridge: good and odd events, clicks, leads, replays, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        folder = self._stack.enter_context(TemporaryDirectory())
        self.street = self._stack.enter_context(streets(Path(folder)))

    @rule(case=st.sampled_from(CASES))
    def is_paid(self, case: Case) -> None:
        assert self.street.good(case).status_code == 200

    @rule(case=st.sampled_from(CASES), data=st.data())
    def something_comes(self, case: Case, data: st.DataObject) -> None:
        values, headers = self.street.values(case)
        mutate(values, data, ODD, most=3)
        self.street.post(case.provider, written(case, values), headers)

    @rule(customer=CUSTOMERS, page=st.booleans(), lead=st.booleans(), data=st.data())
    def clicks(
        self, customer: dict[str, str], *, page: bool, lead: bool, data: st.DataObject
    ) -> None:
        body = click_of(customer)
        if data.draw(st.booleans()):
            mutate(body, data, ODD, most=2)
        path = "/leads" if lead and not page else "/clicks"
        self.street.click(body, path, page=page)

    @rule()
    def all_is_delivered(self) -> None:
        self.street.settle()

    @rule()
    def what_failed_is_replayed(self) -> None:
        said = bridge("replay", "--state", "failed")
        assert said.exit_code == 0

    def teardown(self) -> None:
        with self._stack:
            goes_on(self.street)


def test_a_day_at_a_bridge() -> None:
    examples = settings().max_examples // 25
    run_state_machine_as_test(Day, settings=settings(max_examples=examples, stateful_step_count=25))

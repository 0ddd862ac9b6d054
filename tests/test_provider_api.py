"""Asking Stripe what its webhooks left out, of a stand-in over HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cases import event_of
from conftest import REPOSITORY
from kit import body_of, thing_of
from stripe_stand_in import StandIn, stripe_stand_in

from bridge import provider_api
from bridge.errors import ProviderApiError
from bridge.provider_api import key_setting, open_api
from bridge.provider_api import stripe as stripe_api
from bridge.provider_api.stripe import PATHS, StripeApi
from bridge.providers.stripe import Stripe, StripeSettings

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = "sk_test_madeUpForTests0123456789"
LINK = thing_of("invoice_payment.paid@before-sale")
INTENT = LINK["payment"]["payment_intent"]
THIN = "v1.charge.refunded"


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with stripe_stand_in() as running:
        yield running


@pytest.fixture
def api(stand_in: StandIn) -> Iterator[StripeApi]:
    with_key = api_at(stand_in.url)
    yield with_key
    with_key.close()


def api_at(url: str) -> StripeApi:
    return StripeApi(settings(api_base=url), KEY)


def settings(**given: Any) -> StripeSettings:
    return StripeSettings(webhook_secret="whsec_made_up_for_tests", **given)


def thin(name: str, thing: dict[str, Any], **facts: object) -> str:
    """Return the thin event that tells of an object without holding it."""
    body = {
        "id": "evt_thin_1",
        "object": "v2.core.event",
        "type": f"v1.{name}",
        "created": "2026-11-05T10:00:05.318Z",
        "livemode": True,
        "related_object": {"id": thing["id"], "type": thing["object"], "url": "/v1/…"},
    }
    return json.dumps(body | facts)


# ── looking up ───────────────────────────────────────────────────────────────────────────────────


def test_a_look_up_asks_for_the_invoices_that_a_payment_intent_paid(
    stand_in: StandIn, api: StripeApi
) -> None:
    stand_in.payments = [LINK]

    (found,) = api.look_up(INTENT, "", NOW)

    (asked,) = stand_in.asked
    assert (asked.method, asked.path) == ("GET", "/v1/invoice_payments")
    assert asked.args.to_dict() == {
        "payment[type]": "payment_intent",
        "payment[payment_intent]": INTENT,
        "status": "paid",
        "limit": "100",
    }
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.headers["Stripe-Version"] >= "2025-05-28.basil"
    assert "Stripe-Account" not in asked.headers
    assert found.id == f"fetched_{LINK['id']}"
    assert (found.type, found.occurred_at) == ("invoice_payment.paid", NOW)
    assert (found.fetched, found.test, found.account) == (True, False, "")
    assert KEY not in found.body


def test_what_is_looked_up_means_what_its_webhook_would(stand_in: StandIn, api: StripeApi) -> None:
    stand_in.payments = [LINK]
    reader = Stripe(settings())
    sent = event_of(reader, body_of("invoice_payment.paid@before-sale"))

    (found,) = api.look_up(INTENT, "", sent.occurred_at)

    assert reader.normalise(found) == reader.normalise(sent)


def test_a_connected_account_is_asked_in_its_name(stand_in: StandIn, api: StripeApi) -> None:
    stand_in.payments = [LINK]

    (found,) = api.look_up(INTENT, "acct_1", NOW)

    assert stand_in.asked[0].headers["Stripe-Account"] == "acct_1"
    assert found.account == "acct_1"


def test_test_mode_stays_test_mode(stand_in: StandIn, api: StripeApi) -> None:
    stand_in.payments = [{**LINK, "livemode": False}]

    (found,) = api.look_up(INTENT, "", NOW)

    assert found.test


def test_every_page_is_read(stand_in: StandIn, api: StripeApi) -> None:
    stand_in.payments = [{**LINK, "id": f"inpay_{number}"} for number in range(5)]
    stand_in.page = 2

    found = api.look_up(INTENT, "acct_1", NOW)

    assert [each.id for each in found] == [f"fetched_inpay_{number}" for number in range(5)]
    assert [each.args.get("starting_after") for each in stand_in.asked] == [
        None,
        "inpay_1",
        "inpay_3",
    ]
    assert {each.headers["Stripe-Account"] for each in stand_in.asked} == {"acct_1"}


def test_nothing_is_known_of_a_stranger(stand_in: StandIn, api: StripeApi) -> None:
    stand_in.payments = [LINK]
    assert api.look_up("pi_stranger", "", NOW) == []


# ── no answer ────────────────────────────────────────────────────────────────────────────────────

WRONG_KEY = {"error": {"type": "invalid_request_error", "message": f"Invalid API Key: {KEY}"}}


@pytest.mark.parametrize(
    ("status", "body", "says", "retry"),
    [
        pytest.param(401, WRONG_KEY, "check STRIPE_API_KEY", True, id="wrong key"),
        pytest.param(403, WRONG_KEY, "check STRIPE_API_KEY", True, id="restricted key"),
        pytest.param(429, {"error": {"message": "slow down"}}, "slow down", True, id="too often"),
        pytest.param(500, {"error": {"message": "oh no"}}, "oh no", True, id="their fault"),
        pytest.param(503, {}, "did not answer", True, id="their fault, without words"),
        pytest.param(404, {"error": {"message": "no such"}}, "no such", False, id="unknown"),
        pytest.param(400, {"error": {"message": "unfit"}}, "unfit", False, id="our fault"),
        pytest.param(200, [], "cannot be read", True, id="a list"),
        pytest.param(200, {"data": 7}, "cannot be read", True, id="not a list"),
        pytest.param(200, {"object": "list", "data": [{}]}, "cannot be read", True, id="no ids"),
        pytest.param(200, "x", "cannot be read", True, id="a string"),
    ],
)
def test_no_answer_is_explained(
    stand_in: StandIn, api: StripeApi, status: int, body: object, says: str, retry: bool
) -> None:
    stand_in.fault = (status, json.dumps(body).encode())

    with pytest.raises(ProviderApiError, match=says) as raised:
        api.look_up(INTENT, "", NOW)

    assert raised.value.retry is retry
    assert KEY not in str(raised.value)


@pytest.mark.parametrize("body", [b"<html>" + b"x" * 10_000, b"", b"\xff\xfe"])
def test_garbage_is_no_answer(stand_in: StandIn, api: StripeApi, body: bytes) -> None:
    stand_in.fault = (200, body)

    with pytest.raises(ProviderApiError) as raised:
        api.look_up(INTENT, "", NOW)

    assert raised.value.retry
    assert len(str(raised.value)) < 400


def test_a_host_that_is_down_is_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    api = api_at(url)
    with pytest.raises(ProviderApiError, match="Stripe did not answer") as raised:
        api.look_up(INTENT, "", NOW)
    assert raised.value.retry
    api.close()


def test_a_host_that_hangs_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe_api, "TIMEOUT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = api_at(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ProviderApiError, match="Stripe did not answer") as raised:
            api.look_up(INTENT, "", NOW)
        assert raised.value.retry
        api.close()


# ── fetching ─────────────────────────────────────────────────────────────────────────────────────

SNAPSHOTS = {
    "charge": "charge.refunded",
    "checkout.session": "checkout.session.completed",
    "credit_note": "credit_note.created",
    "customer": "customer.created",
    "dispute": "charge.dispute.created",
    "invoice": "invoice.paid",
    "invoice_payment": "invoice_payment.paid",
    "payment_intent": "payment_intent.succeeded",
    "refund": "refund.created",
}


def test_every_kind_of_object_is_tested() -> None:
    assert SNAPSHOTS.keys() == PATHS.keys()


@pytest.mark.parametrize("kind", PATHS)
def test_a_fetched_object_means_what_its_snapshot_would(
    stand_in: StandIn, api: StripeApi, kind: str
) -> None:
    name = SNAPSHOTS[kind]
    thing = thing_of(name)
    stand_in.objects[f"/v1/{PATHS[kind]}/{thing['id']}"] = thing
    reader = Stripe(settings())
    event = event_of(reader, thin(name, thing))

    (fetched,) = api.fetch(event, NOW)

    assert event.waits_for == "STRIPE_API_KEY"
    assert not fetched.waits_for
    assert (fetched.id, fetched.type) == ("fetched_evt_thin_1", name)
    assert (fetched.fetched, fetched.occurred_at) == (True, NOW)
    sent = reader.normalise(replace(event_of(reader, body_of(name)), account=""))
    assert reader.normalise(fetched) == [replace(each, occurred_at=NOW) for each in sent]


@pytest.mark.parametrize("name", ["funds_withdrawn", "funds_reinstated"])
def test_that_funds_moved_is_told_by_the_event_when_it_happened(
    stand_in: StandIn, api: StripeApi, name: str
) -> None:
    thing = thing_of(f"charge.dispute.{name}")
    stand_in.objects[f"/v1/disputes/{thing['id']}"] = thing
    event = event_of(Stripe(settings()), thin(f"charge.dispute.{name}", thing))

    (fetched,) = api.fetch(event, NOW)

    assert fetched.occurred_at == datetime(2026, 11, 5, 10, 0, 5, tzinfo=UTC)


def test_a_thin_event_of_a_connected_account_is_fetched_in_its_name(
    stand_in: StandIn, api: StripeApi
) -> None:
    thing = thing_of("charge.refunded")
    stand_in.objects[f"/v1/charges/{thing['id']}"] = thing
    event = event_of(
        Stripe(settings()), thin("charge.refunded", thing, context="acct_1", livemode=False)
    )

    (fetched,) = api.fetch(event, NOW)

    assert stand_in.asked[0].headers["Stripe-Account"] == "acct_1"
    assert (fetched.account, fetched.test) == ("acct_1", True)


@pytest.mark.parametrize(
    "related", [None, {}, {"id": "ch_1"}, {"type": "charge"}, {"id": "x_1", "type": "mystery"}, 7]
)
def test_a_thin_event_that_names_nothing_we_know_is_not_fetched(
    api: StripeApi, related: object
) -> None:
    body = thin("charge.refunded", thing_of("charge.refunded"), related_object=related)
    with pytest.raises(ProviderApiError, match="names no object we know") as raised:
        api.fetch(event_of(Stripe(settings()), body), NOW)
    assert not raised.value.retry


@pytest.mark.parametrize("answer", [b"[]", b"{}", b'{"id": "ch_other"}', b"7", b"nonsense"])
def test_a_fetched_object_must_be_the_one_asked_for(
    stand_in: StandIn, api: StripeApi, answer: bytes
) -> None:
    stand_in.fault = (200, answer)
    event = event_of(Stripe(settings()), body_of(THIN))
    with pytest.raises(ProviderApiError) as raised:
        api.fetch(event, NOW)
    assert raised.value.retry


def test_an_object_that_is_gone_is_not_asked_for_again(stand_in: StandIn, api: StripeApi) -> None:
    with pytest.raises(ProviderApiError, match="No such object") as raised:
        api.fetch(event_of(Stripe(settings()), body_of(THIN)), NOW)
    assert not raised.value.retry
    assert [each.path for each in stand_in.asked] == ["/v1/charges/ch_3QNNzNZk4Tp9WvLq0Az3rZ7k"]


# ── who can be asked ─────────────────────────────────────────────────────────────────────────────


def test_only_a_provider_with_a_key_can_be_asked() -> None:
    assert open_api(Stripe(settings())) is None
    with_key = open_api(Stripe(settings(api_key=KEY)))
    assert isinstance(with_key, StripeApi)
    with_key.close()


def test_every_file_that_asks_is_of_a_provider() -> None:
    folder = Path(provider_api.__file__).parent
    names = {each.stem for each in folder.glob("*.py")} - {"__init__"}
    assert names <= {each.stem for each in (REPOSITORY / "bridge" / "providers").iterdir()}
    assert key_setting("stripe") == "STRIPE_API_KEY"

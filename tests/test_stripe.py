"""Stripe's plugin, where fixtures do not reach: signatures to the second, and its settings."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from cases import event_of, unsigned
from kit import body_of
from pydantic import ValidationError

from bridge.errors import PayloadError, SignatureError
from bridge.model import WebhookRequest
from bridge.providers.stripe import Stripe, StripeSettings
from bridge.providers.stripe.meanings import MEANINGS

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BODY = body_of("invoice.paid")
# Everything that says something about money, or about who paid it, in Stripe's list of events.
WANTED = {
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.overpaid",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "invoice_payment.paid",
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "payment_intent.succeeded",
    "charge.succeeded",
    "charge.refunded",
    "charge.refund.updated",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "credit_note.created",
    "credit_note.updated",
    "credit_note.voided",
    "customer.created",
    "customer.updated",
}


def stripe(secrets: str = "whsec_1") -> Stripe:
    return Stripe(StripeSettings.model_validate({"webhook_secret": secrets}))


def request(provider: Stripe, body: str = BODY, at: datetime = NOW) -> WebhookRequest:
    return provider.sign(unsigned(body), at)


@pytest.mark.parametrize("seconds", [-300, -299, 0, 299, 300])
def test_a_signature_is_good_for_300_seconds_either_way(seconds: int) -> None:
    signed = request(stripe(), at=NOW - timedelta(seconds=seconds))
    assert stripe().verify(signed, NOW).type == "invoice.paid"


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(301, "301 s old"), (86_400, "86400 s old"), (-301, "301 s in the future")],
)
def test_and_not_a_second_longer(seconds: int, says: str) -> None:
    signed = request(stripe(), at=NOW - timedelta(seconds=seconds))
    with pytest.raises(SignatureError, match=says):
        stripe().verify(signed, NOW)


def test_a_body_read_and_written_again_is_another_body() -> None:
    signed = request(stripe())
    changed = json.dumps(json.loads(BODY)).encode()
    with pytest.raises(SignatureError):
        stripe().verify(WebhookRequest(signed.headers, changed), NOW)


def test_the_first_of_several_secrets_signs() -> None:
    signed = request(stripe("whsec_new,whsec_old"))
    assert stripe("whsec_new").verify(signed, NOW)
    with pytest.raises(SignatureError):
        stripe("whsec_old").verify(signed, NOW)


@pytest.mark.parametrize("secret", ["", "  ", ",", " , "])
def test_a_secret_is_needed(secret: str) -> None:
    with pytest.raises(ValidationError, match="must hold a secret"):
        stripe(secret)


def test_every_event_about_money_has_a_meaning() -> None:
    assert MEANINGS.keys() == WANTED


@pytest.mark.parametrize("livemode", [None, True, "?"])
def test_only_what_says_so_is_test_traffic(livemode: object) -> None:
    event = {**json.loads(BODY), "livemode": livemode}
    assert not event_of(stripe(), json.dumps(event)).test
    assert event_of(stripe(), json.dumps(event | {"livemode": False})).test


@pytest.mark.parametrize("thing", [None, [], 7, "in_1", {}, {"id": None}, {"id": ""}])
def test_an_event_without_its_object_cannot_be_read(thing: object) -> None:
    event = {**json.loads(BODY), "data": {"object": thing}}
    with pytest.raises(PayloadError):
        stripe().normalise(event_of(stripe(), json.dumps(event)))


def test_an_emoji_cut_in_two_does_not_cost_a_sale() -> None:
    event = json.loads(BODY)
    event["data"]["object"]["metadata"] = {"note": "thanks \ud83d", "cut\udc00": "x"}
    (sale,) = stripe().normalise(event_of(stripe(), json.dumps(event)))
    assert sale.context is not None
    assert sale.context.metadata["note"] == "thanks ?"
    assert sale.context.metadata["cut?"] == "x"

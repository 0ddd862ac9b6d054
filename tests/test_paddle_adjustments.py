"""Paddle's adjustments: what each action leaves of an order in each status."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cases import event_of
from hypothesis import given
from hypothesis import strategies as st
from paddle_stories import Story, stories
from test_paddle import eur, meaning, paddle, sale

from bridge import ledger
from bridge.errors import PayloadError
from bridge.model import Conversion, PaymentState, Status

PAID = sale(subtotal="1000", discount="0", tax="190", total="1190")


def adjustment(
    action: str, status: str, net: int, tax: int, id: str = "adj_1", **fields: object
) -> dict[str, Any]:
    totals = {"subtotal": str(net), "tax": str(tax), "total": str(net + tax)}
    names = {"id": id, "transaction_id": "txn_1", "action": action, "status": status}
    return {**names, "currency_code": "EUR", "totals": totals, **fields}


def standing(*adjustments: dict[str, Any], basis: str = ledger.NET, **settings: Any) -> Conversion:
    """Return how an order of 10.00 EUR and 1.90 tax stands after adjustments."""
    payments = [meaning("transaction.completed", PAID)]
    payments += [meaning("adjustment.updated", each, **settings) for each in adjustments]
    (conversion,) = ledger.fold(payments, basis)
    return conversion


HALF = (500, 95)
COUNTED = {"count_chargeback_warnings": True}


@pytest.mark.parametrize(
    ("action", "status", "settings", "value"),
    [
        ("refund", "pending_approval", {}, 1000),
        ("refund", "approved", {}, 500),
        ("refund", "rejected", {}, 1000),
        ("refund", "reversed", {}, 1000),
        ("refund", "made_up", {}, 1000),
        ("credit", "approved", {}, 500),
        ("credit", "reversed", {}, 500),  # until its credit_reverse comes
        ("credit_reverse", "approved", {}, 1000),
        ("chargeback", "approved", {}, 500),
        ("chargeback", "reversed", {}, 500),  # until its chargeback_reverse comes
        ("chargeback_reverse", "approved", {}, 1000),
        ("chargeback_warning", "approved", {}, 1000),
        ("chargeback_warning", "approved", COUNTED, 500),
        ("chargeback_warning", "reversed", COUNTED, 500),
        ("chargeback_warning_reverse", "approved", COUNTED, 1000),
        ("made_up", "approved", {}, 1000),
        ("", "", {}, 1000),
    ],
)
def test_what_an_adjustment_leaves(
    action: str, status: str, settings: dict[str, Any], value: int
) -> None:
    left = standing(adjustment(action, status, *HALF), **settings)
    assert (left.value, left.status) == (eur(value), Status.APPROVED)


@pytest.mark.parametrize("action", ["chargeback", "credit", "chargeback_warning"])
def test_a_reversal_of_its_own_gives_back_exactly_once(action: str) -> None:
    taken = adjustment(action, "reversed", 1000, 190)
    returned = adjustment(f"{action}_reverse", "approved", 1000, 190, id="adj_2")
    settings: dict[str, Any] = {"count_chargeback_warnings": True}
    assert standing(taken, **settings).status is Status.DISAPPROVED
    left = standing(taken, returned, **settings)
    assert (left.value, left.taken_back, left.status) == (eur(1000), eur(0), Status.APPROVED)


def test_what_is_not_known_is_shown_with_its_reason() -> None:
    for action, status, says in (
        ("made_up", "approved", "unknown action 'made_up'"),
        ("refund", "made_up", "unknown status 'made_up'"),
        ("chargeback_warning", "approved", "PADDLE_COUNT_CHARGEBACK_WARNINGS=1"),
    ):
        payment = meaning("adjustment.created", adjustment(action, status, *HALF, reason="why"))
        assert payment.state is PaymentState.OPEN
        assert says in payment.reason


def test_a_rejected_refund_stays_rejected() -> None:
    body = {"event_id": "evt_2", "event_type": "adjustment.updated"}
    late = body | {"occurred_at": "2026-12-01T00:00:00Z"}
    approved = late | {"data": adjustment("refund", "approved", *HALF)}
    provider = paddle()
    payments = provider.normalise(event_of(provider, json.dumps(approved)))
    payments.append(meaning("adjustment.updated", adjustment("refund", "rejected", *HALF)))
    payments.append(meaning("transaction.completed", PAID))
    (conversion,) = ledger.fold(payments)
    assert conversion.value == eur(1000)


def test_tax_alone_changes_nothing_under_net_and_the_rest_takes_it_all() -> None:
    tax = adjustment("refund", "approved", 0, 190)
    part = adjustment("refund", "approved", 400, 0, id="adj_2")
    rest = adjustment("refund", "approved", 600, 0, id="adj_3")
    assert standing(tax).value == eur(1000)
    assert standing(tax, part).value == eur(600)
    assert standing(tax, basis=ledger.TOTAL).value == eur(1000)
    assert standing(tax, part, rest).status is Status.DISAPPROVED
    assert standing(part, tax, basis=ledger.TOTAL).value == eur(600)


@pytest.mark.parametrize(
    "lean",
    [{"totals": {"total": "190", "tax": "190"}}, {"items": [{"type": "tax", "amount": "190"}]}],
)
def test_tax_alone_told_in_few_words_changes_nothing_under_net(lean: dict[str, Any]) -> None:
    names = {"id": "adj_1", "transaction_id": "txn_1", "action": "refund", "status": "approved"}
    assert standing(names | {"currency_code": "EUR"} | lean).value == eur(1000)


@pytest.mark.parametrize(
    ("fields", "amount", "net"),
    [
        ({"totals": {"total": "595", "subtotal": "500"}}, 595, 500),
        ({"totals": {"total": "595"}}, 595, None),
        ({"totals": {"total": "595", "tax": "95"}}, 595, 500),
        ({"totals": {"total": "190", "tax": "190"}}, 190, 0),
        ({"totals": {"total": "190"}, "items": [{"type": "tax"}, {"type": "tax"}]}, 190, 0),
        ({"totals": {"total": "190"}, "items": [{"type": "tax"}, {"type": "full"}]}, 190, None),
        ({"totals": {"total": "190"}, "items": [{"type": "tax"}, {}]}, 190, None),
        ({"items": [{"type": "tax", "amount": "190"}]}, 190, 0),
        ({"items": [{"amount": "500"}, {"amount": "95"}]}, 595, None),
        ({"totals": {}, "items": [{"amount": "595"}]}, 595, None),
    ],
)
def test_a_lean_adjustment_is_its_total_or_the_sum_of_its_items(
    fields: dict[str, Any], amount: int, net: int | None
) -> None:
    names = {"id": "adj_1", "action": "refund", "status": "approved", "currency_code": "EUR"}
    payment = meaning("adjustment.created", names | fields)
    assert payment.amount == eur(amount)
    assert payment.net == (None if net is None else eur(net))
    assert payment.references == {"adj_1"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"totals": {"subtotal": "500"}},
        {"items": []},
        {"items": [{"amount": "500"}, {"amount": None}]},
        {"totals": {"total": "-5"}},
        {"items": [{"amount": "-5"}]},
    ],
)
def test_an_adjustment_without_its_money_is_refused_loudly(fields: dict[str, Any]) -> None:
    names = {"id": "adj_1", "action": "refund", "status": "approved", "currency_code": "EUR"}
    with pytest.raises(PayloadError, match="adj_1"):
        meaning("adjustment.created", names | fields)


@given(stories(), st.data())
def test_a_story_folds_to_what_is_due_in_any_order(story: Story, data: st.DataObject) -> None:
    provider = paddle()
    events = [event_of(provider, body) for body in story.events]
    shuffled = data.draw(st.permutations(events + events[::3]))
    payments = [each for event in shuffled for each in provider.normalise(event)]
    folded = ledger.fold(payments)
    assert {each.order: each.value.minor for each in folded} == story.due

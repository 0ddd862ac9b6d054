"""What each Stripe event means in payments: one function an object, and the table of events.

The facts behind each: https://docs.stripe.com/api/events/types
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bridge.errors import PayloadError
from bridge.model import Event, Payment, PaymentKind, PaymentState
from bridge.providers.base import Json, dig, objects, text
from bridge.providers.stripe.objects import (
    context_of,
    id_of,
    items_of,
    money_of,
    named,
    payment_of,
    payment_of_invoice,
    time_of,
    units_at,
    units_credited,
    units_net,
    units_of,
    units_paid,
)
from bridge.providers.stripe.settings import StripeSettings

REFUND_STATES = {
    "pending": PaymentState.COUNTS,
    "succeeded": PaymentState.COUNTS,
    "requires_action": PaymentState.OPEN,
    "failed": PaymentState.REVERSED,
    "canceled": PaymentState.REVERSED,
}
DISPUTE_STATES = {"lost": PaymentState.COUNTS, "won": PaymentState.REVERSED}
DISPUTE_FUNDS = {
    "charge.dispute.funds_withdrawn": PaymentState.COUNTS,
    "charge.dispute.funds_reinstated": PaymentState.REVERSED,
}
# Which description names the order where several tell of one sale.
INVOICE, SESSION, PAYMENT_INTENT = 0, 1, 2


def _invoice_paid(event: Event, invoice: Json, _: StripeSettings) -> list[Payment]:
    paid = invoice.get("status") == "paid" or invoice.get("paid") is True
    reason = text(invoice.get("billing_reason"))
    if not paid:
        return [payment_of_invoice(event, invoice, PaymentKind.LINK, reason="not paid in full")]
    amount = money_of(invoice, units_paid(invoice))
    total = units_of(invoice, "total")
    return [
        payment_of_invoice(
            event,
            invoice,
            PaymentKind.SALE,
            started_at=time_of(invoice.get("status_transitions"), "paid_at"),
            amount=amount,
            net=amount.scale(min(units_net(invoice), total), total) if total > 0 else amount,
            rank=INVOICE,
            reason=reason,
            items=items_of(invoice),
        )
    ]


def _invoice_link(event: Event, invoice: Json, _: StripeSettings) -> list[Payment]:
    return [payment_of_invoice(event, invoice, PaymentKind.LINK, reason="overpaid")]


def _invoice_cancelled(event: Event, invoice: Json, _: StripeSettings) -> list[Payment]:
    reason = event.type.removeprefix("invoice.").replace("_", " ")
    # Fetched later, the object may say that it was paid after all.
    void = text(invoice.get("status")) in {"void", "uncollectible"}
    kind = PaymentKind.CANCELLATION if void else PaymentKind.LINK
    return [payment_of_invoice(event, invoice, kind, reason=reason)]


def _invoice_payment(event: Event, thing: Json, _: StripeSettings) -> list[Payment]:
    kinds = ("payment_intent", "charge", "payment_record")
    sources = [dig(thing, "payment", kind) for kind in kinds]
    paid = thing.get("amount_paid")
    return [
        payment_of(
            event,
            thing,
            PaymentKind.LINK,
            [thing.get("invoice"), *sources],
            amount=None if paid is None else money_of(thing, paid),
            started_at=time_of(thing.get("status_transitions"), "paid_at"),
        )
    ]


def _charge_succeeded(event: Event, charge: Json, _: StripeSettings) -> list[Payment]:
    references = [charge.get("payment_intent"), charge.get("invoice")]
    email = dig(charge, "billing_details", "email") or charge.get("receipt_email")
    return [payment_of(event, charge, PaymentKind.LINK, references, email=email)]


def _payment_intent(event: Event, intent: Json, settings: StripeSettings) -> list[Payment]:
    charges = objects(dig(intent, "charges", "data"))
    invoice = intent.get("invoice")
    references = [intent.get("latest_charge"), invoice, *charges]
    email = intent.get("receipt_email")
    if invoice or not settings.count_payment_intents:
        return [payment_of(event, intent, PaymentKind.LINK, references, email=email)]
    amount = money_of(intent, units_of(intent, "amount_received"))
    started_at = time_of(intent, "created")
    return [
        payment_of(
            event,
            intent,
            PaymentKind.SALE,
            references,
            email=email,
            amount=amount,
            net=amount,
            rank=PAYMENT_INTENT,
            started_at=started_at,
        )
    ]


def _session(event: Event, session: Json, _: StripeSettings) -> list[Payment]:
    references = [session.get("payment_intent"), session.get("invoice")]
    facts: dict[str, Any] = {
        "email": dig(session, "customer_details", "email") or session.get("customer_email"),
        "reference": session.get("client_reference_id"),
        "subscription": id_of(session.get("subscription")),
    }
    if event.type.endswith("async_payment_failed"):
        facts["reason"] = "async payment failed"
    elif _is_sale(session):
        free = session.get("payment_status") == "no_payment_required"
        total = 0 if free else units_of(session, "amount_total")
        extras = ("amount_tax", "amount_shipping")
        net = total - sum(units_at(session, "total_details", each) for each in extras)
        facts |= {
            "amount": money_of(session, total),
            "net": money_of(session, max(net, 0), exact=False),
            "rank": SESSION,
            "started_at": time_of(session, "created"),
        }
    kind = PaymentKind.SALE if "amount" in facts else PaymentKind.LINK
    return [payment_of(event, session, kind, references, **facts)]


def _is_sale(session: Json) -> bool:
    settled = text(session.get("payment_status")) in {"paid", "no_payment_required"}
    return session.get("mode") == "payment" and not session.get("invoice") and settled


def _charge_refunded(event: Event, charge: Json, settings: StripeSettings) -> list[Payment]:
    references = [charge.get("payment_intent"), charge.get("invoice")]
    so_far = money_of(charge, units_of(charge, "amount_refunded"))
    refunds = objects(dig(charge, "refunds", "data"))
    return [
        payment_of(
            event, charge, PaymentKind.REFUNDED_SO_FAR, references, amount=so_far, context=False
        ),
        *(each for refund in refunds for each in _refund(event, refund, settings)),
    ]


def _refund(event: Event, refund: Json, _: StripeSettings) -> list[Payment]:
    failed = event.type == "refund.failed"
    status = "failed" if failed else text(refund.get("status") or "succeeded")
    state = REFUND_STATES.get(status)
    if state is None:
        raise PayloadError(f"refund {refund.get('id')} has an unknown status {status!r}")
    return [
        payment_of(
            event,
            refund,
            PaymentKind.REFUND,
            [refund.get("charge"), refund.get("payment_intent")],
            amount=money_of(refund, units_of(refund, "amount")),
            state=state,
            final=state is PaymentState.REVERSED,
            started_at=time_of(refund, "created"),
            reason=text(refund.get("failure_reason") or refund.get("reason")),
            context=False,
        )
    ]


def _dispute(event: Event, dispute: Json, _: StripeSettings) -> list[Payment]:
    by_status = DISPUTE_STATES.get(text(dispute.get("status")), PaymentState.OPEN)
    return [
        payment_of(
            event,
            dispute,
            PaymentKind.DISPUTE,
            [dispute.get("charge"), dispute.get("payment_intent")],
            amount=money_of(dispute, units_of(dispute, "amount")),
            state=DISPUTE_FUNDS.get(event.type, by_status),
            started_at=time_of(dispute, "created"),
            reason=text(dispute.get("reason")),
            context=False,
        )
    ]


def _credit_note(event: Event, note: Json, _: StripeSettings) -> list[Payment]:
    refunds = objects(note.get("refunds"))
    refund_ids = [id_of(each.get("refund")) for each in refunds] or [id_of(note.get("refund"))]
    void = note.get("status") == "void"
    units, contains = units_credited(note, refunds)
    return [
        payment_of(
            event,
            note,
            PaymentKind.CREDIT,
            [note.get("invoice"), *refund_ids],
            amount=money_of(note, units),
            contains=frozenset(contains),
            state=PaymentState.REVERSED if void else PaymentState.COUNTS,
            final=void,
            started_at=time_of(note, "created"),
            reason=text(note.get("reason")),
            context=False,
        )
    ]


def _customer(event: Event, customer: Json, _: StripeSettings) -> list[Payment]:
    return [
        Payment(
            id=named(event, customer),
            provider=event.provider,
            kind=PaymentKind.LEAD if event.type == "customer.created" else PaymentKind.LINK,
            occurred_at=event.occurred_at,
            references=frozenset(),
            test=event.test,
            account=event.account,
            customer=named(event, customer),
            context=context_of(customer, customer.get("email")),
        )
    ]


MEANINGS: dict[str, Callable[[Event, Json, StripeSettings], list[Payment]]] = {
    "invoice.paid": _invoice_paid,
    "invoice.payment_succeeded": _invoice_paid,
    "invoice.overpaid": _invoice_link,
    "invoice.voided": _invoice_cancelled,
    "invoice.marked_uncollectible": _invoice_cancelled,
    "invoice_payment.paid": _invoice_payment,
    "checkout.session.completed": _session,
    "checkout.session.async_payment_succeeded": _session,
    "checkout.session.async_payment_failed": _session,
    "payment_intent.succeeded": _payment_intent,
    "charge.succeeded": _charge_succeeded,
    "charge.refunded": _charge_refunded,
    "charge.refund.updated": _refund,
    "refund.created": _refund,
    "refund.updated": _refund,
    "refund.failed": _refund,
    "charge.dispute.created": _dispute,
    "charge.dispute.updated": _dispute,
    "charge.dispute.closed": _dispute,
    "charge.dispute.funds_withdrawn": _dispute,
    "charge.dispute.funds_reinstated": _dispute,
    "credit_note.created": _credit_note,
    "credit_note.updated": _credit_note,
    "credit_note.voided": _credit_note,
    "customer.created": _customer,
    "customer.updated": _customer,
}

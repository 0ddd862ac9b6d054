"""What each of Shopify's topics means in payments: one function a kind of body.

https://shopify.dev/docs/api/webhooks
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bridge.model import Context, Erasure, Event, Payment, PaymentKind, PaymentState
from bridge.providers.base import Json, dig, objects, text
from bridge.providers.shopify.objects import (
    MAX_QUOTED,
    context_of,
    id_of,
    in_currency,
    is_id,
    money,
    order_name,
    own_name,
    payment_of,
    refunds_of,
    time_of,
)
from bridge.providers.shopify.orders import items_of, net_of, paid_of

PAID = frozenset({"paid", "partially_refunded", "refunded"})
UNPAID = frozenset({"", "pending", "authorized", "expired", "unpaid", "voided"})
# Sources of orders that came without a visit to the shop, so without a click.
NO_VISIT = frozenset({"pos", "shopify_draft_order"})
# https://help.shopify.com/manual/payments/chargebacks: a chargeback takes the money when it is
# made, and returns it when it is won; an inquiry takes none.
DISPUTE_STATES = {
    "needs_response": PaymentState.COUNTS,
    "under_review": PaymentState.COUNTS,
    "accepted": PaymentState.COUNTS,
    "lost": PaymentState.COUNTS,
    "won": PaymentState.REVERSED,
    # The money went back by a refund, which counts itself.
    "charge_refunded": PaymentState.REVERSED,
    # Settled by a third party before it was a chargeback: Shopify does not say whose money it was.
    "prevented": PaymentState.OPEN,
}
ERASURES = frozenset({"customers/redact", "shop/redact"})
DECIDED = frozenset({"accepted", "lost", "won", "charge_refunded"})


def _order(event: Event, order: Json) -> list[Payment]:
    """Read an order as it stands, under whichever topic it came, and the refunds in it."""
    name = order_name(event, order.get("id"))
    currencies = [order.get("presentment_currency") or order.get("currency")]
    refunds = (
        each
        for refund in objects(order.get("refunds"))
        for each in refunds_of(
            event, order.get("id"), in_currency(refund.get("transactions"), currencies)
        )
    )
    return [_standing(event, name, order), *refunds]


def _standing(event: Event, name: str, order: Json) -> Payment:
    status = text(order.get("financial_status")).lower()
    facts: dict[str, Any] = {
        "customer": text(dig(order, "customer", "id")),
        "context": context_of(event.account, order),
        "started_at": time_of(order, "processed_at", "created_at"),
    }
    if status in PAID:
        amount, presentment = paid_of(order)
        facts |= {"amount": amount, "presentment": presentment, "net": net_of(order, amount)}
        source = text(order.get("source_name"))
        reason = source if source in NO_VISIT else ""
        return payment_of(
            event, name, PaymentKind.SALE, name, reason=reason, items=items_of(order), **facts
        )
    if order.get("cancelled_at") and status in UNPAID:
        reason = text(order.get("cancel_reason")) or status
        return payment_of(event, name, PaymentKind.CANCELLATION, name, reason=reason, **facts)
    return payment_of(event, name, PaymentKind.LINK, name, reason=status, **facts)


def _order_edit(event: Event, body: Json) -> list[Payment]:
    """Read an edit: it holds no amounts, those come with the order."""
    name = order_name(event, dig(body, "order_edit", "order_id"))
    return [payment_of(event, name, PaymentKind.LINK, name, reason="edited")]


def _refund(event: Event, refund: Json) -> list[Payment]:
    """Read a refund: only its transactions move money, whatever its lines say."""
    order_id = refund.get("order_id")
    transactions = in_currency(refund.get("transactions"), _currencies(refund))
    if refunds := refunds_of(event, order_id, transactions):
        return refunds
    return [
        payment_of(
            event,
            own_name(event, refund, "refund"),
            PaymentKind.LINK,
            order_name(event, order_id),
            reason="no money moved",
        )
    ]


def _currencies(refund: Json) -> list[object]:
    sides = ("shop_money", "presentment_money")
    return [dig(refund, "total_duties_set", side, "currency_code") for side in sides]


def _transaction(event: Event, transaction: Json) -> list[Payment]:
    """Read a transaction: a refund moves money, of anything else the order tells."""
    order_id = transaction.get("order_id")
    if refunds := refunds_of(event, order_id, [transaction]):
        return refunds
    kind, status = text(transaction.get("kind")), text(transaction.get("status"))
    return [
        payment_of(
            event,
            own_name(event, transaction, "transaction"),
            PaymentKind.LINK,
            order_name(event, order_id),
            reason=f"{kind} {status}".strip()[:MAX_QUOTED],
        )
    ]


def _dispute(event: Event, dispute: Json) -> list[Payment]:
    """Read a dispute; one of an order that Shopify does not name stands alone."""
    id = own_name(event, dispute, "dispute")
    order_id = dispute.get("order_id")
    status = text(dispute.get("status")).lower()
    state = DISPUTE_STATES.get(status)
    inquiry = dispute.get("type") != "chargeback"
    reason = text(dispute.get("reason"))
    unknown = f"unknown status {status[:MAX_QUOTED]!r}" if state is None else ""
    return [
        payment_of(
            event,
            id,
            PaymentKind.DISPUTE,
            id if order_id is None else order_name(event, order_id),
            amount=money(dispute.get("amount"), dispute.get("currency")),
            state=PaymentState.OPEN if inquiry or state is None else state,
            final=not inquiry and status in DECIDED,
            started_at=time_of(dispute, "initiated_at"),
            reason=unknown or (f"inquiry: {reason}" if inquiry else reason),
        )
    ]


def _customer(event: Event, customer: Json) -> list[Payment]:
    id = id_of(customer, "customer")
    return [_person(event, id, id, text(customer.get("email")))]


def _data_request(event: Event, body: Json) -> list[Payment]:
    """Tie a request to its person only: its orders are different ones, not to be joined."""
    request = f"data_request_{text(dig(body, 'data_request', 'id')) or event.id}"
    customer = text(dig(body, "customer", "id"))
    return [_person(event, request, customer, text(dig(body, "customer", "email")))]


def _person(event: Event, id: str, customer: str, email: str) -> Payment:
    context = Context(email=email) if email else None
    return payment_of(event, id, PaymentKind.LINK, customer=customer, context=context)


def _no_payments(event: Event, body: Json) -> list[Payment]:
    return []


def erasure_of(event: Event, body: Json) -> Erasure:
    """Return whose data an event of ERASURES asks to be removed."""
    if event.type == "shop/redact":
        return Erasure(provider=event.provider, account=event.account, everyone=True)
    orders = body.get("orders_to_redact")
    return Erasure(
        provider=event.provider,
        account=event.account,
        customer=text(dig(body, "customer", "id")),
        email=text(dig(body, "customer", "email")),
        references=frozenset(
            order_name(event, each)
            for each in (orders if isinstance(orders, list) else [])
            if is_id(each)
        ),
    )


MEANINGS: dict[str, Callable[[Event, Json], list[Payment]]] = {
    "orders/paid": _order,
    "orders/updated": _order,
    "orders/cancelled": _order,
    "orders/edited": _order_edit,
    "refunds/create": _refund,
    "order_transactions/create": _transaction,
    "disputes/create": _dispute,
    "disputes/update": _dispute,
    "customers/create": _customer,
    "customers/data_request": _data_request,
    "customers/redact": _no_payments,
    "shop/redact": _no_payments,
}

"""Shopify's topics: which body each has, told by its shape, and when it came about.

https://shopify.dev/docs/api/webhooks
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bridge.errors import PayloadError
from bridge.providers.base import Json, dig, moment, objects


@dataclass(frozen=True, slots=True)
class Shape:
    """Hold which fields a kind of body has, and which it never has."""

    has: frozenset[str]
    never: frozenset[str] = frozenset()

    def fits(self, body: Json) -> bool:
        """Tell whether a body has this shape."""
        return self.has <= body.keys() and not self.never & body.keys()


def _shape(has: str, never: str = "") -> Shape:
    return Shape(frozenset(has.split()), frozenset(never.split()))


ORDER = _shape("id financial_status total_price", "order_id kind")
REFUND = _shape("id order_id transactions", "kind financial_status initiated_at")
TRANSACTION = _shape("id order_id kind status amount", "transactions financial_status initiated_at")
DISPUTE = _shape("id type status amount initiated_at", "kind transactions financial_status")
EDIT = _shape("order_edit", "id")
CUSTOMER = _shape("id verified_email", "order_id financial_status myshopify_domain shop_domain")
SHOP = _shape("id myshopify_domain", "order_id financial_status verified_email shop_domain")
DATA_REQUEST = _shape("shop_domain data_request", "orders_to_redact")
CUSTOMER_REDACTION = _shape("shop_domain orders_to_redact", "data_request orders_requested")
# Strict: the body of any other request, taken for this one, would remove everybody.
SHOP_REDACTION = _shape(
    "shop_domain shop_id", "id customer data_request orders_requested orders_to_redact"
)

SHAPES = {
    "orders/paid": ORDER,
    "orders/updated": ORDER,
    "orders/cancelled": ORDER,
    "orders/edited": EDIT,
    "refunds/create": REFUND,
    "order_transactions/create": TRANSACTION,
    "disputes/create": DISPUTE,
    "disputes/update": DISPUTE,
    "customers/create": CUSTOMER,
    "app/uninstalled": SHOP,
    "customers/data_request": DATA_REQUEST,
    "customers/redact": CUSTOMER_REDACTION,
    "shop/redact": SHOP_REDACTION,
}
# Their bodies name the shop, so it is signed.
WITH_SHOP = frozenset({"customers/data_request", "customers/redact", "shop/redact"})
IGNORED = {"app/uninstalled": "the app was uninstalled from this shop: no more webhooks will come"}
MAX_QUOTED = 60

# The fields that tell when the state in a body came about, the best ones first.
TIMES = ("updated_at", "processed_at", "created_at")
EDIT_TIMES = ("committed_at", "created_at")


def check_shape(topic: str, body: Json) -> None:
    """Refuse a body that is not one of its topic; raise PayloadError."""
    shape = SHAPES.get(topic)
    if shape is None or shape.fits(body):
        return
    raise PayloadError(
        f"X-Shopify-Topic says {topic[:MAX_QUOTED]}, but the body is none of that topic",
        code="topic_mismatch",
    )


def occurred_at(topic: str, body: Json, triggered_at: str) -> datetime:
    """Return when the state in a body came about: by the signed body, else by the header."""
    if SHAPES.get(topic) is DISPUTE:
        return dispute_time(body)
    fields = EDIT_TIMES if SHAPES.get(topic) is EDIT else TIMES
    source = body.get("order_edit") if SHAPES.get(topic) is EDIT else body
    given = next(filter(None, (dig(source, each) for each in fields)), triggered_at)
    if not given:
        raise PayloadError(
            f"{topic[:MAX_QUOTED]} tells no time, in the body or X-Shopify-Triggered-At"
        )
    return moment(given)


def dispute_time(dispute: Json) -> datetime:
    """Return when a dispute was decided, which Shopify tells as a day only, else when it began."""
    began = moment(dispute.get("initiated_at"))
    decided = dispute.get("finalized_on")
    return max(began, _day_or_moment(decided)) if decided else began


def _day_or_moment(value: Any) -> datetime:
    try:
        return moment(value)
    except PayloadError:
        return moment(f"{value}T00:00:00+00:00").astimezone(UTC)


def is_test(body: Json) -> bool:
    """Tell whether a body is of an order or a payment made to test: it says so itself."""
    parts = [body, *objects(body.get("transactions"))]
    return any(each.get("test") is True for each in parts)

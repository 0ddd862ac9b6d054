"""A Shopify order: how GraphQL is asked for it, and how a webhook would tell of it.

https://shopify.dev/docs/api/admin-graphql/latest/objects/Order
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.providers.base import Json, dig, objects, text

# An object costs a point, and a question may cost 1,000 of them: pages of 50 come to about 800.
ORDER = """
query Order($id: ID!, $after: String) {
  order(id: $id) {
    id test createdAt processedAt updatedAt cancelledAt cancelReason
    displayFinancialStatus currencyCode presentmentCurrencyCode taxesIncluded
    sourceName
    totalPriceSet { ...both }
    currentTotalPriceSet { ...both }
    subtotalPriceSet { ...both }
    currentSubtotalPriceSet { ...both }
    totalTaxSet { ...both }
    currentTotalTaxSet { ...both }
    totalShippingPriceSet { ...both }
    totalOutstandingSet { ...both }
    totalReceivedSet { ...both }
    totalTipReceivedSet { ...both }
    email
    clientIp
    customer { id }
    customAttributes { key value }
    customerJourneySummary { lastVisit { landingPage referrerUrl } }
    returnStatus
    refunds(first: 50) { id createdAt }
    transactions(first: 50) {
      id kind status test createdAt processedAt
      amountSet { presentmentMoney { amount currencyCode } }
    }
    shippingLines(first: 10) {
      nodes { id taxLines { priceSet { ...shop } } }
    }
    lineItems(first: 50, after: $after) {
      nodes {
        id name title quantity currentQuantity isGiftCard
        customAttributes { key value }
        originalUnitPriceSet { ...shop }
        discountAllocations { allocatedAmountSet { ...shop } }
        taxLines { priceSet { ...shop } }
      }
      pageInfo { hasNextPage endCursor }
    }
  }
}
fragment shop on MoneyBag { shopMoney { amount currencyCode } }
fragment both on MoneyBag {
  shopMoney { amount currencyCode }
  presentmentMoney { amount currencyCode }
}
"""
# What a shop may keep from an app that is not approved for it; an order means as much without.
PERSONAL = frozenset(
    {"email", "clientIp", "customer", "customAttributes", "customerJourneySummary"}
)
# The financial statuses of an order that was paid, whatever came after.
PAID = frozenset({"PAID", "PARTIALLY_REFUNDED", "REFUNDED"})

MONEY = (
    "total_price",
    "current_total_price",
    "subtotal_price",
    "current_subtotal_price",
    "total_tax",
    "current_total_tax",
    "total_shipping_price",
    "total_outstanding",
    "total_received",
    "total_tip_received",
)
SAME = (
    "test",
    "created_at",
    "processed_at",
    "updated_at",
    "cancelled_at",
    "taxes_included",
    "source_name",
)


def as_webhook(order: Json, lines: Sequence[Json]) -> dict[str, Any]:
    """Return an order as a webhook would hold it, with all of its lines."""
    told = _snake(order)
    visit = dig(told, "customer_journey_summary", "last_visit")
    customer = number(dig(told, "customer", "id"))
    return {
        "id": number(told["id"]),
        "admin_graphql_api_id": told["id"],
        **{name: told.get(name) for name in SAME},
        "cancel_reason": text(told.get("cancel_reason")).lower() or None,
        "financial_status": text(told.get("display_financial_status")).lower(),
        "currency": told.get("currency_code"),
        "presentment_currency": told.get("presentment_currency_code"),
        **_amounts(told),
        "email": told.get("email"),
        "browser_ip": told.get("client_ip"),
        "customer": {"id": customer, "email": told.get("email")} if customer else None,
        "note_attributes": _attributes(told),
        "landing_site": dig(visit, "landing_page"),
        "referring_site": dig(visit, "referrer_url"),
        "shipping_lines": [
            _shipping_line(each) for each in objects(dig(told, "shipping_lines", "nodes"))
        ],
        "line_items": [_line(_snake(each)) for each in lines],
        "refunds": _refunds(told),
        "returns": _returns(told),
    }


def number(global_id: object) -> int | None:
    """Return the number at the end of gid://shopify/Order/5570123456789."""
    digits = text(global_id).rpartition("/")[2]
    return int(digits) if digits else None


def _snake(thing: Any) -> Any:
    """Rename totalPriceSet to total_price_set, and so on all the way down."""
    if isinstance(thing, Mapping):
        return {re.sub("([A-Z])", r"_\1", name).lower(): _snake(thing[name]) for name in thing}
    return [_snake(each) for each in thing] if isinstance(thing, list) else thing


def _amounts(told: Json) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in MONEY:
        found[name] = dig(told, f"{name}_set", "shop_money", "amount")
        found[f"{name}_set"] = told.get(f"{name}_set")
    return found


def _attributes(told: Json) -> list[dict[str, Any]]:
    return [
        {"name": each.get("key"), "value": each.get("value")}
        for each in objects(told.get("custom_attributes"))
    ]


def _line(told: Json) -> dict[str, Any]:
    return {
        "id": number(told.get("id")),
        "name": told.get("name"),
        "title": told.get("title"),
        "quantity": told.get("quantity"),
        "current_quantity": told.get("current_quantity"),
        "gift_card": told.get("is_gift_card"),
        "properties": _attributes(told),
        **_priced("price", told.get("original_unit_price_set")),
        "discount_allocations": [
            _priced("amount", each.get("allocated_amount_set"))
            for each in objects(told.get("discount_allocations"))
        ],
        "tax_lines": _taxes(told),
    }


def _shipping_line(told: Json) -> dict[str, Any]:
    return {"id": number(told.get("id")), "tax_lines": _taxes(told)}


def _taxes(told: Json) -> list[dict[str, Any]]:
    return [_priced("price", each.get("price_set")) for each in objects(told.get("tax_lines"))]


def _priced(name: str, both: object) -> dict[str, Any]:
    return {name: dig(both, "shop_money", "amount"), f"{name}_set": both}


def _refunds(told: Json) -> list[dict[str, Any]]:
    """Return the refunds, and after them all their transactions: GraphQL lists them apart."""
    order = number(told["id"])
    refunds = [
        {"id": number(each.get("id")), "order_id": order, "created_at": each.get("created_at")}
        for each in objects(told.get("refunds"))
    ]
    found = [each for each in objects(told.get("transactions")) if each.get("kind") == "REFUND"]
    moved = {"order_id": order, "transactions": [_transaction(each, told) for each in found]}
    return [*({**each, "transactions": []} for each in refunds), *([moved] if found else [])]


def _returns(told: Json) -> list[dict[str, Any]]:
    """Return a return where there is any: the returns themselves need a scope of their own."""
    status = text(told.get("return_status"))
    return [] if status in {"", "NO_RETURN"} else [{"status": status.lower()}]


def _transaction(each: Json, told: Json) -> dict[str, Any]:
    # As in webhooks, in the currency in which the buyer paid.
    paid = dig(each, "amount_set", "presentment_money")
    return {
        "id": number(each.get("id")),
        "order_id": number(told["id"]),
        "kind": "refund",
        "status": text(each.get("status")).lower(),
        "test": each.get("test"),
        "amount": dig(paid, "amount"),
        "currency": dig(paid, "currency_code"),
        "created_at": each.get("created_at"),
        "processed_at": each.get("processed_at"),
    }

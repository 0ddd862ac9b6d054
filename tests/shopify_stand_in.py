"""A stand-in for Shopify's GraphQL API: answers what is asked of an order, and no field more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from http_stand_in import HttpStandIn, as_json, served
from werkzeug.wrappers import Request, Response

from bridge.provider_api.shopify import ShopifyApi
from bridge.providers.shopify import ShopifySettings

SHOP = "acme.myshopify.com"
TOKEN = "shpat_madeUpForTests0123456789"
PATH = "/admin/api/2026-07/graphql.json"
TOKENS = re.compile(r"\.\.\.|[{}()]|[$\w]+|[:!]")
Selection = dict[str, "tuple[dict[str, str], Selection]"]  # field → its arguments, and what of it
CONNECTIONS = {"lineItems", "shippingLines"}


def settings(**given: Any) -> ShopifySettings:
    return ShopifySettings(**{"api_secret": "made-up", "shop": SHOP} | given)


def api_at(url: str, shop: str = SHOP) -> ShopifyApi:
    """Ask a stand-in as the shop is asked."""
    return ShopifyApi(settings(shop=shop, api_base=url), TOKEN)


class UndefinedFieldError(Exception):
    """Say that a question asks for a field that there is not."""


@dataclass
class ShopifyStandIn(HttpStandIn):
    """Know orders by their global id; `denied` are the fields that the token may not read."""

    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    denied: dict[str, str] = field(default_factory=dict)
    most_lines: int = 250
    shop: str = SHOP

    def know(self, *orders: dict[str, Any]) -> None:
        """Take in orders, as a webhook would hold them."""
        for each in orders:
            order = as_graphql(each, self.shop)
            self.orders[order["id"]] = order

    def reply(self, request: Request) -> Response:
        if request.path != PATH or request.method != "POST":
            return as_json({"errors": "Not Found"}, 404)
        question = json.loads(request.get_data())
        try:
            return as_json(self._answer(question["query"], question["variables"]))
        except UndefinedFieldError as error:
            return as_json(refusal(f"Field '{error}' doesn't exist", "undefinedField"))

    def _answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        asked = parse(query)["order"][1]
        order = self.orders.get(variables["id"])
        if order is None:
            return {"data": {"order": None}}
        found = self._project(order, asked, variables)
        errors = []
        for name in self.denied.keys() & found.keys():
            found[name] = None
            errors += refusal(self.denied[name], "ACCESS_DENIED", "order", name)["errors"]
        return {"data": {"order": found}} | ({"errors": errors} if errors else {})

    def _project(self, value: Any, asked: Selection, variables: dict[str, Any]) -> Any:
        if isinstance(value, list):
            return [self._project(each, asked, variables) for each in value]
        if not isinstance(value, Mapping):
            return value
        found = {}
        for name, (arguments, below) in asked.items():
            if name not in value:
                raise UndefinedFieldError(name)
            inner = value[name]
            if name in CONNECTIONS:
                inner = self._page(inner, arguments, variables)
            found[name] = self._project(inner, below, variables) if below else inner
        return found

    def _page(
        self, things: list[Any], arguments: dict[str, str], variables: dict[str, Any]
    ) -> dict[str, Any]:
        start = int(variables.get(arguments.get("after", "").removeprefix("$")) or 0)
        end = start + min(int(arguments["first"]), self.most_lines)
        page = {"hasNextPage": end < len(things), "endCursor": str(end)}
        return {"nodes": things[start:end], "pageInfo": page}


def refusal(message: str, code: str, *path: str) -> dict[str, Any]:
    """Return how Shopify explains that it does not answer."""
    return {"errors": [{"message": message, "path": [*path], "extensions": {"code": code}}]}


def shopify_stand_in() -> AbstractContextManager[ShopifyStandIn]:
    """Serve a stand-in on this machine."""
    return served(ShopifyStandIn())


# ── just enough of GraphQL ───────────────────────────────────────────────────────────────────────


def parse(document: str) -> Selection:
    """Return what a query selects, its fragments filled in."""
    parts = re.split(r"\bfragment (\w+) on \w+", document)
    fragments = {
        name: _selection(_tokens(body[body.index("{") + 1 :]), {})
        for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }
    return _selection(_tokens(parts[0][parts[0].index("{") + 1 :]), fragments)


def _tokens(text: str) -> Iterator[str]:
    return (each[0] for each in TOKENS.finditer(text))


def _selection(tokens: Iterator[str], fragments: Mapping[str, Selection]) -> Selection:
    found: Selection = {}
    name = ""
    for token in tokens:
        if token == "}":
            return found
        if token == "...":
            found |= fragments[next(tokens)]
        elif token == "(":
            found[name] = (_arguments(tokens), {})
        elif token == "{":
            found[name] = (found[name][0], _selection(tokens, fragments))
        else:
            name = token
            found[name] = ({}, {})
    raise AssertionError("a selection without an end")


def _arguments(tokens: Iterator[str]) -> dict[str, str]:
    words = []
    while (token := next(tokens)) != ")":
        if token != ":":
            words.append(token)
    return dict(zip(words[::2], words[1::2], strict=True))


# ── an order as GraphQL knows it ─────────────────────────────────────────────────────────────────


def as_graphql(order: dict[str, Any], store: str) -> dict[str, Any]:
    """Return the order of a webhook under the names, and with the values, of GraphQL's Order."""
    bags = ("total_price", "current_total_price", "subtotal_price", "current_subtotal_price")
    more = ("total_tax", "current_total_tax", "total_shipping_price")
    shop = order["currency"]
    return {
        "id": f"gid://shopify/Order/{order['id']}",
        "test": order["test"],
        "createdAt": order["created_at"],
        "processedAt": order["processed_at"],
        "updatedAt": order["updated_at"],
        "cancelledAt": order["cancelled_at"],
        "cancelReason": (order["cancel_reason"] or "").upper() or None,
        "displayFinancialStatus": order["financial_status"].upper(),
        "currencyCode": shop,
        "presentmentCurrencyCode": order["presentment_currency"],
        "taxesIncluded": order["taxes_included"],
        "sourceName": order["source_name"],
        **{f"{_camel(name)}Set": _bag(order[f"{name}_set"]) for name in (*bags, *more)},
        "totalOutstandingSet": _only(order["total_outstanding"], shop),
        # Webhooks do not tell it; without it, it is worked out as of a webhook.
        "totalReceivedSet": _bag(order.get("total_received_set")),
        "totalTipReceivedSet": _only(order["total_tip_received"], shop),
        "email": order["email"],
        "clientIp": order["browser_ip"],
        "customer": _customer(order["customer"]),
        "customAttributes": _attributes(order["note_attributes"]),
        "customerJourneySummary": _journey(order, store),
        "returnStatus": "RETURNED" if order.get("returns") else "NO_RETURN",
        "refunds": [
            {"id": f"gid://shopify/Refund/{each['id']}", "createdAt": each["created_at"]}
            for each in order["refunds"]
        ],
        "transactions": [_paid(order), *_refunded(order)],
        "shippingLines": [
            {"id": f"gid://shopify/ShippingLine/{each['id']}", "taxLines": _taxes(each)}
            for each in order["shipping_lines"]
        ],
        "lineItems": [_line(each) for each in order["line_items"]],
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(each.title() for each in rest)


def _amount(amount: object) -> str:
    """Write an amount as GraphQL does: without needless zeros, but with one decimal at least."""
    whole, _, part = f"{Decimal(str(amount)):f}".partition(".")
    return f"{whole}.{part.rstrip('0') or '0'}"


def _money(amount: object, currency: str) -> dict[str, str]:
    return {"amount": _amount(amount), "currencyCode": currency}


def _bag(both: dict[str, Any] | None) -> dict[str, Any] | None:
    if both is None:
        return None
    return {
        _camel(side): _money(each["amount"], each["currency_code"]) for side, each in both.items()
    }


def _only(amount: object, currency: str) -> dict[str, Any]:
    """Return a bag of money where the webhook holds the shop's side only."""
    return {side: _money(amount, currency) for side in ("shopMoney", "presentmentMoney")}


def _customer(customer: dict[str, Any] | None) -> dict[str, Any] | None:
    return {"id": f"gid://shopify/Customer/{customer['id']}"} if customer else None


def _attributes(named: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"key": each["name"], "value": each["value"]} for each in named]


def _journey(order: dict[str, Any], store: str) -> dict[str, Any] | None:
    landing = order["landing_site"]
    if landing is None:
        return None
    landing = f"https://{store}{landing}" if landing.startswith("/") else landing
    visit = {"landingPage": landing, "referrerUrl": order["referring_site"]}
    return {"lastVisit": visit, "firstVisit": visit}


def _line(line: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"gid://shopify/LineItem/{line['id']}",
        "name": line["name"],
        "title": line["title"],
        "quantity": line["quantity"],
        "currentQuantity": line["current_quantity"],
        "isGiftCard": line["gift_card"],
        "customAttributes": _attributes(line["properties"]),
        "originalUnitPriceSet": _bag(line["price_set"]),
        "discountAllocations": [
            {"allocatedAmountSet": _bag(each["amount_set"])}
            for each in line["discount_allocations"]
        ],
        "taxLines": _taxes(line),
    }


def _taxes(line: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"priceSet": _bag(each["price_set"])} for each in line["tax_lines"]]


def _paid(order: dict[str, Any]) -> dict[str, Any]:
    """Return the payment of an order, which is among its transactions, too."""
    return {
        "id": "gid://shopify/OrderTransaction/1",
        "kind": "SALE",
        "status": "SUCCESS",
        "test": order["test"],
        "createdAt": order["created_at"],
        "processedAt": order["processed_at"],
        "amountSet": _bag(order["total_price_set"]),
    }


def _refunded(order: dict[str, Any]) -> list[dict[str, Any]]:
    found = [each for refund in order["refunds"] for each in refund["transactions"]]
    return [
        {
            "id": f"gid://shopify/OrderTransaction/{each['id']}",
            "kind": each["kind"].upper(),
            "status": each["status"].upper(),
            "test": each["test"],
            "createdAt": each["created_at"],
            "processedAt": each["processed_at"],
            "amountSet": {
                "shopMoney": _money(each["amount"], each["currency"]),
                "presentmentMoney": _money(each["amount"], each["currency"]),
            },
        }
        for each in found
    ]

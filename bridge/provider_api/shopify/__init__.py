"""Asking Shopify, with its own package: the order behind a refund whose sale never arrived.

https://shopify.dev/docs/api/admin-graphql/latest/queries/order
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

import shopify  # type: ignore[import-untyped]

from bridge.codec import dumps
from bridge.errors import PayloadError
from bridge.model import Event, Response
from bridge.provider_api.base import HttpApi
from bridge.provider_api.shopify.orders import ORDER, PAID, PERSONAL, as_webhook
from bridge.providers.base import Json, dig, objects, text
from bridge.providers.shopify import Shopify, ShopifySettings

VERSION = "2026-07"
# No order has more lines than 500; more pages than this are no order.
MOST_PAGES = 20


class ShopifyApi(HttpApi):
    """Ask the shop of SHOPIFY_SHOP with SHOPIFY_ACCESS_TOKEN."""

    def __init__(self, settings: ShopifySettings, token: str) -> None:
        super().__init__(Shopify(settings), token)
        self._shop = settings.shop
        self._graphql = _GraphQL(_Session(settings, token), self._call)

    def look_up(self, reference: str, account: str, now: datetime) -> list[Event]:
        """Return an order that was paid, as its webhook would; one that was not is asked again."""
        shop, _, id = reference.rpartition("/")
        if shop != self._shop:
            said = f"SHOPIFY_SHOP is {self._shop}"
            self._complain(f"cannot be asked about {reference}", said, retry=False)
        with self._reading():
            order = self._order(f"gid://shopify/Order/{id}", None)
            if order is None or text(order.get("displayFinancialStatus")) not in PAID:
                return []
            return [self._event(id, as_webhook(order, self._lines(order)))]

    def _lines(self, order: Json) -> list[Json]:
        """Return the lines of an order, asking for those that did not fit into the answer."""
        lines = objects(dig(order, "lineItems", "nodes"))
        page: Json | None = order
        for _ in range(MOST_PAGES):
            if not dig(page, "lineItems", "pageInfo", "hasNextPage"):
                return lines
            cursor = text(dig(page, "lineItems", "pageInfo", "endCursor"))
            page = self._order(text(order["id"]), cursor)
            lines += objects(dig(page, "lineItems", "nodes"))
        raise PayloadError("lines without an end")

    def _order(self, id: str, after: str | None) -> Json | None:
        answer = self._graphql.execute(ORDER, {"id": id, "after": after})
        if answer.status != 200:
            self._refuse(answer)
        data = self._read(answer)
        order: Json | None = dig(data, "data", "order")
        self._check(data, order)
        if order is not None and order["id"] != id:
            raise PayloadError(f"asked for {id}, got another")
        return order

    def _check(self, data: Json, order: object) -> None:
        """Complain of errors that leave no whole order."""
        errors = objects(data.get("errors"))
        codes = {text(dig(each, "extensions", "code")) for each in errors}
        if codes == {"ACCESS_DENIED"} and order and all(map(_is_personal, errors)):
            return
        if "ACCESS_DENIED" in codes:
            what = (
                "refused the order (SHOPIFY_ACCESS_TOKEN needs the scope read_orders, and "
                "read_all_orders for orders older than 60 days)"
            )
            self._complain(what, self._words(data))
        if errors or "errors" in data:
            retry = not codes or not codes.isdisjoint({"THROTTLED", "INTERNAL_SERVER_ERROR"})
            what = "did not answer" if retry else "refused the question"
            self._complain(what, self._words(data), retry=retry)
        if "order" not in data["data"]:
            raise PayloadError("no order, and no reason")

    def _refuse(self, answer: Response) -> NoReturn:
        if answer.status in {401, 403}:
            self._refused(answer, "refused the token (check SHOPIFY_ACCESS_TOKEN)", retry=True)
        if answer.status == 404:
            self._refused(answer, "knows no such shop (check SHOPIFY_SHOP)", retry=True)
        self._refused(answer)

    def _words(self, data: object) -> str:
        errors = dig(data, "errors")
        said = [text(each.get("message")) for each in objects(errors)]
        return "; ".join(said) or text(errors)

    def _event(self, id: str, order: dict[str, Any]) -> Event:
        headers = {
            "x-shopify-topic": "orders/updated",
            "x-shopify-shop-domain": self._shop,
            # A later answer about the same order is another event.
            "x-shopify-webhook-id": f"fetched_{id}_{text(order['updated_at'])}",
            "x-shopify-api-version": VERSION,
        }
        return self._read_event(headers, order)


def _is_personal(error: Json) -> bool:
    """Tell whether an error keeps back one of those fields of the order that may be missing."""
    path = error.get("path")
    return isinstance(path, list) and len(path) > 1 and path[1] in PERSONAL


class _Session(shopify.Session):  # type: ignore[misc]
    """Be the package's session, at SHOPIFY_API_BASE where that is set."""

    def __init__(self, settings: ShopifySettings, token: str) -> None:
        super().__init__(settings.shop, VERSION, token)
        self._address = settings.address

    @property
    def site(self) -> str:
        """Return the address of this version of the API."""
        return str(self.api_version.api_path(self._address))


class _GraphQL(shopify.GraphQL):  # type: ignore[misc]
    """Execute as the package does, but through our own connection.

    The package waits for ever, takes the token along where it is redirected, and prints whatever
    it is refused with.
    """

    def __init__(self, session: _Session, call: Callable[..., Response]) -> None:
        shopify.ShopifyResource.activate_session(session)
        super().__init__()
        # The package keeps them for the next user of this thread, with the token.
        self.headers: dict[str, str] = dict(shopify.ShopifyResource.get_headers())
        shopify.ShopifyResource.clear_session()
        self._call = call

    def execute(
        self, query: str, variables: object = None, operation_name: str | None = None
    ) -> Response:
        """Put a question and return the answer, whatever its status."""
        question = {"query": query, "variables": variables, "operationName": operation_name}
        headers = {"Content-Type": "application/json", **self.headers}
        return self._call("POST", self.endpoint, headers, dumps(question))


def open_api(settings: ShopifySettings) -> ShopifyApi | None:
    """Return what asks Shopify, or None without SHOPIFY_ACCESS_TOKEN."""
    token = settings.access_token
    return ShopifyApi(settings, token.get_secret_value()) if token else None

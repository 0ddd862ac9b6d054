"""Shopify: https://shopify.dev/docs/apps/build/webhooks

Only the body is signed. The headers that name the topic and the shop are not, so a topic must fit
the shape of the body, and what an order's body means does not depend on the topic it came under.

`settings` are its settings, `topics` tells bodies apart by their shape, `meanings` says what each
means, `orders` reads the money of an order, `objects` the rest.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from bridge.errors import PayloadError, SignatureError
from bridge.model import Erasure, Event, Payment, WebhookRequest
from bridge.providers.base import Json, Provider, body_text, parse_json, secrets_in, text
from bridge.providers.shopify.meanings import ERASURES, MEANINGS, erasure_of
from bridge.providers.shopify.objects import ORDER
from bridge.providers.shopify.settings import SHOP, ShopifySettings
from bridge.providers.shopify.topics import (
    IGNORED,
    WITH_SHOP,
    check_shape,
    is_test,
    occurred_at,
)

__all__ = ["Shopify", "ShopifySettings"]

SIGNATURE = "x-shopify-hmac-sha256"
UNAUTHORIZED = 401  # what Shopify wants for a bad signature


class Shopify(Provider[ShopifySettings]):
    """Verify and normalise what Shopify sends."""

    name = "shopify"
    title = "Shopify"
    settings_type = ShopifySettings
    key_field = "access_token"
    key_needs = ("shop",)

    def verify(self, request: WebhookRequest, now: datetime) -> Event:
        """Check the signature against every secret; it has no age."""
        given = header(request, "hmac-sha256")
        if not given:
            raise SignatureError(
                "X-Shopify-Hmac-Sha256 is missing: every webhook must be signed with "
                "SHOPIFY_API_SECRET",
                code="missing_signature",
                status=UNAUTHORIZED,
            )
        secrets = secrets_in(self.settings.api_secret)
        matches = [
            hmac.compare_digest(digest(request.body, each), given.encode("utf-8", "replace"))
            for each in secrets
        ]
        if not any(matches):
            raise SignatureError(
                "X-Shopify-Hmac-Sha256 does not match (check SHOPIFY_API_SECRET; webhooks made "
                "under Settings > Notifications have a secret of their own)",
                status=UNAUTHORIZED,
            )
        # Bodies about privacy hold no time at all, and no header is sure to come.
        triggered = {"shopify-triggered-at": now.isoformat(), **request.headers}
        return self.read(replace(request, headers=triggered))

    def read(self, request: WebhookRequest) -> Event:
        """Read the body under the topic and the shop that the headers name."""
        topic = header(request, "topic").lower()
        if not topic:
            raise PayloadError("X-Shopify-Topic is missing: it says what the body is about")
        body = body_text(request)
        data = parse_json(body, "Shopify")
        check_shape(topic, data)
        unread = "" if topic in MEANINGS else f"{topic} says nothing about money"
        id = header(request, "webhook-id")
        return Event(
            id=text(id) or f"body_{hashlib.sha256(request.body).hexdigest()[:32]}",
            provider=self.name,
            type=text(topic),
            occurred_at=occurred_at(topic, data, header(request, "triggered-at")),
            body=body,
            account=self._shop(request, topic, data),
            test=is_test(data),
            ignored=IGNORED.get(topic, unread),
        )

    def normalise(self, event: Event) -> list[Payment]:
        """Say what an event means; the table MEANINGS tells by which function."""
        meaning = MEANINGS.get(event.type)
        if meaning is None or event.ignored:
            return []
        return meaning(event, parse_json(event.body, "Shopify"))

    def sign(self, request: WebhookRequest, now: datetime) -> WebhookRequest:
        """Sign as Shopify does, with the first of the secrets, in the name of the shop set."""
        request = _from_shop(request, self.settings.shop)
        signature = digest(request.body, secrets_in(self.settings.api_secret)[0]).decode()
        return replace(request, headers={**request.headers, SIGNATURE: signature})

    def question(self, references: Iterable[str]) -> str:
        """Ask for the order, by shop and order id."""
        return min((each for each in references if ORDER.fullmatch(each)), default="")

    def erasure(self, event: Event) -> Erasure | None:
        """Return whom customers/redact or shop/redact asks to remove."""
        if event.type not in ERASURES:
            return None
        return erasure_of(event, parse_json(event.body, "Shopify"))

    def advice(self) -> Iterable[str]:
        """Say what an unsigned header allows while no shop is named."""
        if not self.settings.shop:
            yield (
                "Shopify does not sign which shop a webhook is from: "
                "set SHOPIFY_SHOP to take those of one shop only"
            )

    def _shop(self, request: WebhookRequest, topic: str, data: Json) -> str:
        """Return the shop that sent it: never one that the body or the settings rule out."""
        shop = header(request, "shop-domain").lower()
        if not SHOP.fullmatch(shop):
            raise PayloadError(
                "X-Shopify-Shop-Domain is missing or no shop's domain, like acme.myshopify.com"
            )
        signed = text(data.get("shop_domain")).lower()
        if topic in WITH_SHOP and signed != shop:
            raise PayloadError(
                f"X-Shopify-Shop-Domain says {shop}, the signed body another shop",
                code="wrong_shop",
            )
        if self.settings.shop and shop != self.settings.shop:
            raise PayloadError(
                f"it is from {shop}, not from {self.settings.shop} (check SHOPIFY_SHOP)",
                code="wrong_shop",
            )
        return shop


def header(request: WebhookRequest, name: str) -> str:
    """Return a header of Shopify's under either of its spellings, or ""."""
    given = request.headers.get(f"x-shopify-{name}") or request.headers.get(f"shopify-{name}")
    return (given or "").strip()


def _from_shop(request: WebhookRequest, shop: str) -> WebhookRequest:
    """Return a webhook as another shop would send it; with none set it stays as it is."""
    told = header(request, "shop-domain")
    if not shop or not told:
        return request
    headers = {name: shop if value == told else value for name, value in request.headers.items()}
    return WebhookRequest(headers, request.body.replace(told.encode(), shop.encode()))


def digest(body: bytes, secret: str) -> bytes:
    """Return the signature of a body, as it stands in the header."""
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest())

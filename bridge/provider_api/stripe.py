"""Asking Stripe, through its own package.

Which invoice a payment intent paid, and the objects that thin events leave out.

https://docs.stripe.com/api/invoice-payment/list
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import requests
import stripe

from bridge.codec import dumps, loads
from bridge.errors import ProviderApiError
from bridge.model import Event, WebhookRequest
from bridge.provider_api.base import without_key
from bridge.providers.base import dig, parse_json, text
from bridge.providers.stripe import Stripe, StripeSettings
from bridge.providers.stripe.meanings import DISPUTE_FUNDS

# Since basil an invoice names its payments only through InvoicePayment; the package pins a version
# that has it.
PAGE = 100
TIMEOUT_SECONDS = 20
LONGEST_REASON = 300
# Where the objects of thin events are found: https://docs.stripe.com/api
PATHS = {
    "charge": "charges",
    "checkout.session": "checkout/sessions",
    "credit_note": "credit_notes",
    "customer": "customers",
    "dispute": "disputes",
    "invoice": "invoices",
    "invoice_payment": "invoice_payments",
    "payment_intent": "payment_intents",
    "refund": "refunds",
}


class StripeApi:
    """Ask Stripe with STRIPE_API_KEY, at STRIPE_API_BASE."""

    def __init__(self, settings: StripeSettings, key: str) -> None:
        self._reader = Stripe(settings)
        self._key = key
        self._session = requests.Session()
        # Proxies and .netrc of the machine must not add to what we send, nor the key go elsewhere.
        self._session.trust_env = False
        self._session.max_redirects = 0
        self._client = stripe.StripeClient(
            key,
            base_addresses={"api": settings.api_base},
            http_client=stripe.RequestsClient(timeout=TIMEOUT_SECONDS, session=self._session),
            max_network_retries=0,
        )

    def fetch(self, event: Event, now: datetime) -> list[Event]:
        """Fetch the object a thin event names, as it is now, under its snapshot name."""
        related = parse_json(event.body, "Stripe").get("related_object")
        kind, id = text(dig(related, "type")), text(dig(related, "id"))
        if kind not in PATHS or not id:
            raise ProviderApiError(f"Stripe's {event.type} names no object we know", retry=False)
        with self._explained():
            path = f"/v1/{PATHS[kind]}/{id}"
            thing = loads(self._client.raw_request("get", path, **_options(event.account)).body)
            if thing["id"] != id:
                raise ValueError(f"asked for {id}")
        name = event.type.removeprefix("v1.")
        # The event says that funds moved, and when; all else is said by the object, as of now.
        at = event.occurred_at if name in DISPUTE_FUNDS else now
        return [self._event(event.id, name, thing, event.account, at, live=not event.test)]

    def look_up(self, reference: str, account: str, now: datetime) -> list[Event]:
        """Return the payments of invoices that a payment intent made, as events."""
        name = "invoice_payment.paid"
        with self._explained():
            found = self._client.v1.invoice_payments.list(
                {
                    "payment": {"type": "payment_intent", "payment_intent": reference},
                    "status": "paid",
                    "limit": PAGE,
                },
                _options(account),
            )
            things = [each.to_dict() for each in found.auto_paging_iter()]
            return [
                self._event(each["id"], name, each, account, now, live=bool(each["livemode"]))
                for each in things
            ]

    def close(self) -> None:
        """Give back the connections."""
        self._session.close()

    def _event(
        self, id: str, name: str, thing: dict[str, Any], account: str, at: datetime, *, live: bool
    ) -> Event:
        """Wrap an object as the event that would have brought it."""
        body = {
            "id": f"fetched_{id}",
            "object": "event",
            "type": name,
            "created": int(at.timestamp()),
            "livemode": live,
            "account": account or None,
            "data": {"object": thing},
        }
        request = WebhookRequest({}, dumps(body).encode())
        return replace(self._reader.read(request), fetched=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the package's errors into ours, with what to do about them."""
        try:
            yield
        except (stripe.AuthenticationError, stripe.PermissionError) as error:
            raise self._error("Stripe refused the key (check STRIPE_API_KEY)", error) from None
        except stripe.InvalidRequestError as error:
            raise self._error("Stripe refused the question", error, retry=False) from None
        except stripe.StripeError as error:
            raise self._error("Stripe did not answer", error) from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._error("Stripe's answer cannot be read", error) from None

    def _error(self, what: str, error: Exception, *, retry: bool = True) -> ProviderApiError:
        """Quote what was answered, in one line and without the key."""
        said = " ".join(without_key(str(error), self._key).split())
        return ProviderApiError(f"{what}: {said[:LONGEST_REASON]}", retry=retry)


def _options(account: str) -> Any:
    return {"stripe_account": account} if account else {}


def open_api(settings: StripeSettings) -> StripeApi | None:
    """Return what asks Stripe, or None without STRIPE_API_KEY."""
    return StripeApi(settings, settings.api_key.get_secret_value()) if settings.api_key else None

"""Asking Paddle: the transaction behind an adjustment whose sale never arrived.

https://developer.paddle.com/api-reference/transactions/get-transaction
"""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote

from bridge.errors import PayloadError, ProviderApiError
from bridge.model import Event, Response
from bridge.provider_api.base import HttpApi
from bridge.providers.base import Json, dig, text
from bridge.providers.paddle import Paddle, PaddleSettings

VERSION = "1"


class PaddleApi(HttpApi):
    """Ask Paddle with PADDLE_API_KEY, at the address of PADDLE_ENVIRONMENT or PADDLE_API_BASE."""

    def __init__(self, settings: PaddleSettings, key: str) -> None:
        super().__init__(Paddle(settings), key)
        self._url = settings.api_url

    def look_up(self, reference: str, account: str, now: datetime) -> list[Event]:
        """Return a completed transaction, and the customer behind it, as their webhooks would.

        One that is not completed is no sale yet: it is asked for again later.
        """
        with self._reading():
            transaction = self._transaction(reference)
            if transaction is None or transaction.get("status") != "completed":
                return []
            sale = self._event("transaction.completed", transaction)
            buyer = text(transaction.get("customer_id"))
            return [sale, *(self._customer(buyer) if buyer else [])]

    def _transaction(self, id: str) -> Json | None:
        answer = self._get("transactions", id)
        if answer.status in {401, 403}:
            what = "refused the key (check PADDLE_API_KEY and PADDLE_ENVIRONMENT)"
            self._refused(answer, what, retry=True)
        return None if answer.status == 404 else self._thing(answer, id)

    def _customer(self, id: str) -> list[Event]:
        """Return the customer, whose e-mail a transaction leaves out.

        A sale is a sale without it: where the customer cannot be had, none is returned.
        """
        try:
            with self._reading():
                customer = self._thing(self._get("customers", id), id)
                return [self._event("customer.updated", customer)]
        except ProviderApiError:
            return []

    def _get(self, kind: str, id: str) -> Response:
        headers = {"Authorization": f"Bearer {self._key}", "Paddle-Version": VERSION}
        return self._call("GET", f"{self._url}/{kind}/{quote(id, safe='')}", headers)

    def _thing(self, answer: Response, id: str) -> Json:
        if answer.status != 200:
            self._refused(answer)
        thing: Json = self._read(answer)["data"]
        if thing["id"] != id:
            raise PayloadError(f"asked for {id}, got another")
        return thing

    def _words(self, data: object) -> str:
        return text(dig(data, "error", "detail"))

    def _event(self, name: str, thing: Json) -> Event:
        """Wrap an object as the event that would have brought it."""
        at = thing.get("updated_at") or thing.get("billed_at") or thing.get("created_at")
        body = {
            # A later answer about the same thing is another event.
            "event_id": f"fetched_{thing['id']}_{text(at)}",
            "event_type": name,
            "occurred_at": at,
            "notification_id": None,
            "data": thing,
        }
        return self._read_event({}, body)


def open_api(settings: PaddleSettings) -> PaddleApi | None:
    """Return what asks Paddle, or None without PADDLE_API_KEY."""
    return PaddleApi(settings, settings.api_key.get_secret_value()) if settings.api_key else None

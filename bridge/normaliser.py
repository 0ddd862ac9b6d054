"""The normaliser: what an event says of money and of people, before anything of it is kept.

It asks the store nothing, so that it needs no transaction, in which others would wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from bridge import attribution, codec, logs
from bridge.config import Config
from bridge.model import Erasure, Event, Payment
from bridge.store.rows import EventRow


@dataclass(frozen=True, slots=True)
class Normalised:
    """Hold what an event says: payments, by whom, or whom to remove; and e-mail addresses."""

    payments: tuple[Payment, ...] = ()
    emails: tuple[str, ...] = ()
    erasure: Erasure | None = None


class Normaliser:
    """Say what events say, without the merchant's secrets."""

    def __init__(self, config: Config, rules: attribution.Rules) -> None:
        self._providers = config.providers
        self._vendors = config.vendors
        self._rules = rules
        self.keep_out = logs.Redactor(config.secrets()).for_ids()

    def normalise(self, event: Event) -> Normalised:
        """Return what an event of a provider says; raise PayloadError or MoneyError."""
        provider = self._providers[event.provider]
        if erasure := provider.erasure(event):
            return Normalised(erasure=erasure)
        payments = [self._without_secrets(each) for each in provider.normalise(event)]
        identified = [attribution.identify(x, self._vendors, self._rules) for x in payments]
        contexts = [each.context for each in payments if each.context]
        emails = tuple(each.email for each in contexts if each.email)
        return Normalised(tuple(identified), emails)

    def normalise_all(self, rows: Iterable[EventRow]) -> dict[Event, Normalised]:
        """Return what events say, but for those that say nothing yet, or that cannot be read."""
        said = {}
        for row in rows:
            event = row.event
            if event.provider in self._providers and not row.redacted and not event.waits_for:
                with suppress(Exception):  # it comes once more, when it is processed, and is shown
                    said[event] = self.normalise(event)
        return said

    def _without_secrets(self, payment: Payment) -> Payment:
        """Return a payment without the merchant's secrets: whatever held one names nobody."""
        if self.keep_out(written := codec.dump(payment)) == written:
            return payment
        plain = self.keep_out.plain(codec.loads(written))
        context = plain.get("context", {})
        told = {**context.get("metadata", {}), "": context.get("reference", "")}
        named = {name: each for name, each in told.items() if logs.HIDDEN not in each}
        if context:
            context |= {"reference": named.pop("", ""), "metadata": named}
        return codec.from_plain(Payment, plain)

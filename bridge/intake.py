"""Intake: from an event on disk to conversions and due deliveries, in one transaction.

    normalise → identify → (references joined, customers joined) → fold → resolve → due

It runs the same way whether the event came by webhook, was fetched, or is replayed, and running it
twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from bridge import attribution, ledger, logs
from bridge.config import Config
from bridge.errors import BridgeError, StoreError
from bridge.forgetting import REDACTED, REMOVED
from bridge.model import Cause, Conversion, Erasure, Event, Payment, PaymentKind, Status
from bridge.provider_api import key_setting
from bridge.redaction import Erased, Found, Redaction
from bridge.store import Store
from bridge.store.persons import source_of
from bridge.store.rows import DeliveryRow, DeliveryState, EventRow, EventState

# The least time in which an invoice may still claim a bare payment intent, however late both come.
CLAIM_TIME = timedelta(seconds=10)

log = logs.get()


class Intake:
    """Process events into the ledger."""

    def __init__(self, store: Store, config: Config, askable: Iterable[str] = ()) -> None:
        self._store = store
        self._config = config
        self._askable = frozenset(askable)
        self.rules = attribution_rules(config, store)
        self.redaction = Redaction(store, self.rules.email_key)

    def process(self, key: str, now: datetime) -> EventState:
        """Process one stored event; an error of ours is kept with the event, and shown."""
        try:
            with self._store.atomic():
                row = self._store.events.get(key)
                if row is None or row.state is not EventState.RECEIVED:
                    return row.state if row else EventState.IGNORED
                state, reason = self._process(row, now)
                self._store.events.mark(key, state, reason)
        except StoreError:
            raise
        except Exception as error:  # whatever one event does to us, the next must not wait for it
            return self._keep_failed(key, _in_words(error), error)
        log.info("processed", event_id=key, state=str(state), reason=reason)
        return state

    def refresh(self, order: str, now: datetime) -> None:
        """Fold an order anew, and make due what has changed."""
        before = {each.id: each for each in self._store.orders.conversions_of(order)}
        payments = self._store.orders.payments(order)
        folded = ledger.fold(payments, self._config.settings.amount_basis)
        after = {each.id: self._resolve(each, order) for each in folded}
        earlier = [each for each in after.values() if self._begins_earlier(each)]
        for each in after.values():
            self._put(each, now)
        for each in before.values():
            if each.id not in after:
                self._merge_away(each, list(after.values()), now)
        self._mark_renewals([*before.values(), *after.values()], now)
        self._ask_about(order, after.values(), now)
        for each in earlier:
            self._refresh_renewals(each, now)

    def add_clicks(
        self,
        keys: Sequence[str],
        clicks: Mapping[str, object],
        captured_at: datetime,
        now: datetime,
        *,
        exact: bool,
    ) -> None:
        """Store clicks, one a vendor, for the customer with these keys; credit what waited."""
        with self._store.atomic():
            _, changed = self._store.customers.join(keys)
            for vendor, value in clicks.items():
                changed |= self._store.customers.add_click(
                    vendor, value, keys, captured_at, exact=exact, source="api"
                )
            if changed:
                self.refresh_customer(keys, now)
        self._store.ring()

    def refresh_customer(self, keys: Iterable[str], now: datetime) -> None:
        """Credit the orders of a customer anew: a click or an alias has come to light."""
        aliases = self._store.customers.aliases(list(keys))
        for order in sorted(self._store.orders.of_keys(aliases)):
            self.refresh(order, now)

    def redact(self, found: Found, now: datetime) -> Erased:
        """Remove what belongs to a person, and look at what is still to be told without it."""
        with self._store.atomic():
            erased = self.redaction.erase(found, now)
            for order in sorted(erased.orders):
                self.refresh(order, now)
            for id in erased.conversions:
                vendors = [row.vendor for row in self._store.deliveries.of_conversion(id)]
                self._store.deliveries.make_due(id, vendors, now)
        self._store.ring()
        return erased

    # ── one event ──

    def _process(self, row: EventRow, now: datetime) -> tuple[EventState, str]:
        event = row.event
        if row.redacted:
            return EventState.PROCESSED, REDACTED
        provider = self._config.providers.get(event.provider)
        if provider is None:
            return EventState.FAILED, f"{event.provider} is not configured any more"
        if event.waits_for:
            return self._wait(row, now)
        if erasure := provider.erasure(event):
            return EventState.PROCESSED, self._erase(row, erasure, now)
        payments = [
            attribution.identify(each, self._config.vendors, self.rules)
            for each in provider.normalise(event)
        ]
        orders = self._store.orders.add(row.key, payments)
        redacted = self.redaction.keep(orders, now)
        if redacted:
            payments = self._store.orders.of_event(row.key)
        for payment in payments:
            orders |= self._join_customer(payment)
        for order in sorted(orders):
            self.refresh(order, now)
        return EventState.PROCESSED, REDACTED if redacted else ""

    def _erase(self, row: EventRow, erasure: Erasure, now: datetime) -> str:
        """Remove whom an event names, and its own body, which names them.

        Of an order that has not come yet it is kept that its customer is to be removed.
        """
        self._store.orders.add(row.key, _tombstones(row.event, erasure))
        found = self.redaction.wanted(erasure)
        erased = self.redact(replace(found, events=found.events | {row.key}), now)
        counts = f"orders: {len(erased.orders)}, events: {erased.events}, clicks: {erased.clicks}"
        return f"{REMOVED} ({counts})"

    def _wait(self, row: EventRow, now: datetime) -> tuple[EventState, str]:
        """Let an event that leaves its object out wait for it, and ask where we can."""
        event = row.event
        if event.provider in self._askable:
            self._store.asks.add(event.provider, event.account, row.key, now)
            return EventState.WAITING, "its object is being fetched"
        needed = key_setting(event.provider)
        return EventState.WAITING, f"it leaves out its object, which {needed} would fetch"

    def _join_customer(self, payment: Payment) -> set[str]:
        """Join the keys that came together; return the orders that this may change."""
        if not payment.keys:
            return set()
        _, joined = self._store.customers.join(payment.keys)
        at, source = payment.started_at or payment.occurred_at, source_of(payment)
        add = partial(self._store.customers.add_click, exact=True, source=source)
        added = [add(name, click, payment.keys, at) for name, click in payment.clicks.items()]
        added += [
            add(name, click, payment.keys, at, landed=True)
            for name, click in payment.landed.items()
        ]
        if not joined and not any(added):
            return set()
        return self._store.orders.of_keys(self._store.customers.aliases(payment.keys))

    def _keep_failed(self, key: str, reason: str, error: Exception) -> EventState:
        """Keep an event with the reason why it failed, unless another worker did better."""
        with self._store.atomic():
            row = self._store.events.get(key)
            if row is None or row.state is not EventState.RECEIVED:
                return row.state if row else EventState.IGNORED
            self._store.events.mark(key, EventState.FAILED, reason)
            if self.redaction.is_of_redacted(row.event):
                self._store.persons.empty_event(key, REDACTED)
                self._store.persons.mark_unscrubbed()
                reason = REDACTED
        expected = isinstance(error, BridgeError)
        log.error("failed", event_id=key, reason=reason, exc_info=None if expected else error)
        return EventState.FAILED

    # ── one order ──

    def _resolve(self, conversion: Conversion, order: str) -> Conversion:
        aliases = self._store.customers.aliases(conversion.keys)
        return attribution.resolve(
            conversion,
            self._store.customers.clicks(aliases),
            aliases,
            self._config.vendors,
            self.rules,
            began_at=self._store.orders.began_at(conversion),
            heard_at=self._store.orders.heard_at(order, conversion.order),
        )

    def _begins_earlier(self, conversion: Conversion) -> bool:
        """Tell whether an order shows that its subscription began before what we knew."""
        first = self._store.orders.first_paid(conversion, 1)
        return bool(
            conversion.subscription and first and conversion.occurred_at < first[0].occurred_at
        )

    def _refresh_renewals(self, conversion: Conversion, now: datetime) -> None:
        """Credit the other orders of a subscription anew: it began earlier than we knew."""
        names = conversion.provider, conversion.subscription
        for each in self._store.orders.subscription(*names):
            if each.id != conversion.id:
                self.refresh(self._store.orders.order_of(each.id), now)

    def _put(self, conversion: Conversion, now: datetime) -> None:
        stored = self._store.orders.conversion(conversion.id)
        if stored is not None:
            conversion = replace(conversion, renewal=stored.renewal)
        if self._store.orders.put(conversion, now):
            self._make_due(conversion, now)

    def _make_due(self, conversion: Conversion, now: datetime) -> None:
        # The provider's clock may be ahead of ours: no sale waits longer than its claim time.
        longest = now + ledger.CLAIM_TIME
        claimed = max(now + CLAIM_TIME, min(conversion.due_at or now, longest))
        when = claimed if conversion.due_at else now
        self._store.deliveries.make_due(conversion.id, self._config.vendors, when)

    def _merge_away(self, gone: Conversion, others: list[Conversion], now: datetime) -> None:
        """Remove a conversion whose payments now belong to others, without losing what was told.

        What a vendor was told of it passes to the conversion that took its place; where the vendor
        was told of that one too, the old one is taken back.
        """
        rows = self._store.deliveries.of_conversion(gone.id)
        passed_on = [self._pass_on(row, gone, others, now) for row in rows]
        if all(passed_on):
            self._store.orders.remove(gone.id)
            return
        names = ", ".join(each.id for each in others)
        taken_back = replace(
            gone,
            status=Status.DISAPPROVED,
            taken_back=gone.paid,
            value=replace(gone.value, minor=0),
            cause=gone.cause or Cause.CANCELLATION,
            reason=f"it is part of {names}" if names else "it is no sale any more",
        )
        self._put(taken_back, now)

    def _pass_on(
        self, row: DeliveryRow, gone: Conversion, others: list[Conversion], now: datetime
    ) -> bool:
        """Hand what a vendor was told, and its history, to what took the conversion's place.

        Not while a call is being sent, and not a sale that was taken back already.
        """
        being_sent = row.state is DeliveryState.SENDING and row.in_flight is not None
        if being_sent or row.told.status is Status.DISAPPROVED:
            return False
        ids = (f"{each.id}@{row.vendor}" for each in others)
        heirs = [heir for each in ids if (heir := self._store.deliveries.get(each))]
        told = row.told
        if not _is_blank(row):
            heirs = list(filter(_is_blank, heirs))
            told = replace(told, known_as=told.known_as or gone.order)
        if heirs:
            self._store.deliveries.hand_over(row, heirs[0].id, told, now)
        return bool(heirs) or _is_blank(row)

    def _mark_renewals(self, conversions: list[Conversion], now: datetime) -> None:
        ids = [each.id for each in conversions if each.subscription]
        for like in filter(None, map(self._store.orders.conversion, ids)):
            known = [like, *self._store.orders.first_paid(like, 2)]
            for each in ledger.mark_renewals(list({each.id: each for each in known}.values())):
                if self._store.orders.put(each, now):
                    self._make_due(each, now)

    def _ask_about(self, order: str, conversions: Iterable[Conversion], now: datetime) -> None:
        """Ask the provider about an order whose sale has not arrived."""
        for each in conversions:
            if each.status is Status.PARKED and each.provider in self._askable:
                refs = (ref.partition(":")[2] for ref in self._store.orders.refs(order))
                if subject := self._config.providers[each.provider].question(refs):
                    self._store.asks.add(each.provider, each.account, subject, now)


def _tombstones(event: Event, erasure: Erasure) -> list[Payment]:
    return [
        Payment(
            id=f"redacted {each}",
            provider=event.provider,
            kind=PaymentKind.LINK,
            occurred_at=event.occurred_at,
            references=frozenset({each}),
            account=event.account,
            redacted=True,
        )
        for each in sorted(erasure.references)
    ]


def _is_blank(row: DeliveryRow) -> bool:
    """Tell whether a vendor cannot know of a conversion yet."""
    return row.told.nothing and row.in_flight is None


def attribution_rules(config: Config, store: Store) -> attribution.Rules:
    """Return the merchant's rules of attribution.

    E-mail hashes are keyed with BRIDGE_SECRET_KEY, or with a key made up with the database.
    """
    settings = config.settings
    secret = settings.secret_key.get_secret_value() if settings.secret_key else ""
    return attribution.Rules(
        first=settings.attribution == "first",
        days=settings.attribution_days,
        external_id_names=tuple(
            each.strip() for each in settings.external_id_keys.split(",") if each.strip()
        ),
        email_key=(secret or store.fact("email_key")).encode(),
    )


def receive(store: Store, event: Event, now: datetime) -> bool:
    """Store a verified event and wake the workers; return False for one that is here already."""
    new = store.events.add(event, now)
    if new and not event.ignored:
        store.ring()
    return new


def _in_words(error: Exception) -> str:
    """Say why an event failed, in text that any database takes."""
    words = str(error) if isinstance(error, BridgeError) else f"{type(error).__name__}: {error}"
    return words[:500].encode("utf-8", "replace").decode("utf-8")

"""Intake: from an event on disk to conversions and due deliveries, in one transaction.

    normalise → identify → (references joined, customers joined) → fold → resolve → due

It runs the same way whether the event came by webhook, was fetched, or is replayed, and running it
twice changes nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from bridge import attribution, leads, ledger, logs
from bridge.capture import Capture, Taken
from bridge.config import Config, comma_separated
from bridge.errors import StoreError
from bridge.failures import Failures
from bridge.forgetting import REDACTED, REMOVED
from bridge.model import Conversion, ConversionKind, Erasure, Payment, PaymentKind, Status
from bridge.normaliser import Normalised, Normaliser
from bridge.own_events import made_of
from bridge.provider_api import key_setting
from bridge.redaction import Erased, Found, Redaction, tombstones
from bridge.store import Store
from bridge.store.persons import source_of
from bridge.store.rows import DeliveryState, EventRow, EventState, Said
from bridge.succession import hand_over, taken_back
from bridge.vault import Vault

# The least time in which an invoice may still claim a bare payment intent, however late both come.
CLAIM_TIME = timedelta(seconds=10)

# An event by its key, what became of it, and why.
_Processed = tuple[str, EventState, str]
log = logs.get()


class Intake:
    """Process events into the ledger."""

    def __init__(self, store: Store, config: Config, askable: Iterable[str] = ()) -> None:
        self._store = store
        self._config = config
        self._askable = frozenset(askable)
        redact = logs.Redactor(config.secrets())
        self.vault = Vault(store, config)
        self.rules = attribution.Rules(
            first=config.settings.attribution == "first",
            days=config.settings.attribution_days,
            external_id_names=tuple(comma_separated(config.settings.external_id_keys)),
            email_key=self.vault.hash_key,
        )
        self._normaliser = Normaliser(config, self.rules)
        self.keep_out = self._normaliser.keep_out
        self.redaction = Redaction(store, self.rules.email_key)
        self._failures = Failures(store, redact, self.redaction.is_of_redacted)

    def process_some(self, now: datetime) -> int:
        """Process some of the events that wait, oldest first; return how many there were.

        They are chosen while nobody else writes: other workers take others, and none twice.
        """
        waiting = self._store.events.next_received()
        if not waiting:  # only a write has to wait for other writers
            return 0
        known = self._normaliser.normalise_all(waiting)
        done: list[_Processed] = []
        keys: list[str] = []
        try:
            with self._store.atomic():
                for row in self._store.events.next_received():
                    keys.append(row.key)
                    state, reason = self._process(row, now, known.get(row.event))
                    done.append((row.key, state, reason))
                    if reason and state is EventState.PROCESSED:
                        break  # somebody was removed, perhaps from those that follow, too
                self._store.events.mark_all(done)
        except StoreError:
            raise
        except Exception:  # of one of them; by itself it holds up no other
            if not keys:
                raise
            return len([self.process(key, now) for key in keys])
        for each in done:
            _tell(*each)
        return len(keys)

    def process(self, key: str, now: datetime) -> EventState:
        """Process one stored event; an error of ours is kept with the event, and shown."""
        try:
            with self._store.atomic():
                row = self._store.events.get(key)
                if row is None or row.state is not EventState.RECEIVED:
                    return row.state if row else EventState.IGNORED
                done = key, *self._process(row, now)
                self._store.events.mark_all([done])
        except StoreError:
            raise
        except Exception as error:  # whatever one event does to us, the next must not wait for it
            return self._failures.keep_event(key, error)
        return _tell(*done)

    def refresh(self, order: str, now: datetime) -> None:
        """Fold an order anew, and make due what has changed.

        One that our code fails on stays as it was, and holds up no other.
        """
        try:
            with self._store.atomic():
                self._refresh(order, now)
        except StoreError:
            raise
        except Exception as error:
            self._failures.keep_order(order, error)

    def _refresh(self, order: str, now: datetime) -> None:
        before = {each.id: each for each in self._store.orders.conversions_of(order)}
        payments = leads.as_one(self._store.orders.payments(order))
        folded = ledger.fold(payments, self._config.settings.amount_basis)
        after = {each.id: self._resolve(each, order) for each in folded}
        earlier = [each for each in after.values() if self._begins_earlier(each)]
        kept: dict[str, Conversion] = {}
        for each in after.values():
            kept[each.id] = self._put(each, before.get(each.id), now)
        for each in before.values():
            if each.id not in after:
                self._merge_away(each, list(after.values()), now)
        self._mark_renewals([*before.values(), *kept.values()], kept, now)
        self._ask_about(order, after.values(), now)
        for each in earlier:
            self._refresh_renewals(each, now)

    def take(self, capture: Capture, said: Said, now: datetime, *, lead: bool = False) -> None:
        """Store what was captured of a visitor, and credit what waited for it."""
        with self._store.atomic():
            self.take_within(capture, said, now, lead=lead)
        self._store.ring()

    def add_clicks(
        self,
        keys: Sequence[str],
        clicks: Mapping[str, object],
        captured_at: datetime,
        now: datetime,
        *,
        exact: bool,
        said: Said | None = None,
    ) -> None:
        """Store clicks, one a vendor, for the customer with these keys; credit what waited."""
        capture = Capture(keys=tuple(keys), clicks=clicks, captured_at=captured_at, exact=exact)
        self.take(capture, said or Said(at=now), now)

    def refresh_customer(self, keys: Iterable[str], now: datetime) -> None:
        """Credit the orders of a customer anew: a click, an alias or a lead has come to light."""
        everyone = self._store.customers.sharers(keys)
        if self._store.orders.of_keys(everyone):  # mostly somebody new, who has bought nothing
            self._store.orders.join_leads(everyone)
            for order in sorted(self._store.orders.of_keys(everyone)):
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

    def take_within(
        self, capture: Capture, said: Said, now: datetime, *, lead: bool = False
    ) -> Taken:
        """Do the same within a transaction of the caller's; return what became of it."""
        self.vault.keep(capture.email, now)
        customers, keys = self._store.customers, capture.keys
        known = customers.number(keys)
        changed = customers.join(keys, said)
        add = partial(customers.add_clicks, exact=capture.exact, live=capture.live, source="api")
        added = add(capture.clicks, keys, capture.captured_at)
        added |= add(capture.landed, keys, capture.captured_at, landed=True)
        if known and (changed or added):  # who is new to us has bought nothing that waits
            self.refresh_customer(changed.union(keys), now)
        secret = self.vault.hash_key
        for event in made_of(capture, self._config.vendors, self._store, said, secret, lead=lead):
            self._store.events.add(event, now)
        joined = bool(changed) and known > 1 and customers.number(keys) < known
        return Taken(news=bool(changed) or added, joined=joined)

    # ── one event ──

    def _process(
        self, row: EventRow, now: datetime, known: Normalised | None = None
    ) -> tuple[EventState, str]:
        event = row.event
        if row.redacted:
            return EventState.PROCESSED, REDACTED
        if event.provider == leads.PROVIDER:
            return self._post(row, [self._named(leads.read(event))], now)
        if event.provider not in self._config.providers:
            return EventState.FAILED, f"{event.provider} is not configured any more"
        if event.waits_for:
            return self._wait(row, now)
        said = known or self._normaliser.normalise(event)
        if said.erasure:
            return EventState.PROCESSED, self._erase(row, said.erasure, now)
        state, reason = self._post(row, [self._signed_up(each) for each in said.payments], now)
        for address in said.emails if reason != REDACTED else ():
            self.vault.keep(address, now)
        return state, reason

    def _signed_up(self, payment: Payment) -> Payment:
        """Make a lead of a sign-up at a provider, if it is to be one and carries a click."""
        if payment.kind is not PaymentKind.LEAD:
            return payment
        vendors = self._config.vendors
        carried = [name for name in payment.clicks if not vendors[name].sees_visitors]
        if carried and payment.keys and self._config.settings.leads == "provider":
            return self._named(payment)
        return replace(payment, kind=PaymentKind.LINK)

    def _named(self, payment: Payment) -> Payment:
        """Name a sign-up by its customer; one who was removed and comes back is another."""
        if payment.kind is not PaymentKind.LEAD:
            return payment
        named = (leads.as_lead(payment, self.vault.hash_key, again) for again in itertools.count())
        return next(each for each in named if not self._store.orders.is_of_redacted(each))

    def _post(
        self, row: EventRow, payments: list[Payment], now: datetime
    ) -> tuple[EventState, str]:
        """Put what an event tells into the ledger."""
        own = self._store.orders.add(row.key, payments, fresh=row.fresh)
        redacted = self.redaction.keep(own, now)
        if redacted:
            payments = self._store.orders.of_event(row.key)
        orders = set(own)
        for payment in payments:
            orders |= self._join_customer(payment, row.event.provider, now)
        for order in sorted(orders):
            (self._refresh if order in own else self.refresh)(order, now)
        return EventState.PROCESSED, REDACTED if redacted else ""

    def _erase(self, row: EventRow, erasure: Erasure, now: datetime) -> str:
        """Remove whom an event names, and its own body, which names them.

        Of an order that has not come yet it is kept that its customer is to be removed.
        """
        self._store.orders.add(row.key, tombstones(row.event, erasure))
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

    def _join_customer(self, payment: Payment, source: str, now: datetime) -> set[str]:
        """Join the keys that came together; return the orders that this may change."""
        if not payment.keys or payment.kind is PaymentKind.PAGEVIEW:
            return set()
        customers = self._store.customers
        changed = customers.join(payment.keys, Said(source=source, at=now))
        at = payment.started_at or payment.occurred_at
        add = partial(customers.add_clicks, exact=True, source=source_of(payment))
        added = add(payment.clicks, payment.keys, at)
        added |= add(payment.landed, payment.keys, at, landed=True)
        is_lead = payment.kind is PaymentKind.LEAD
        if not changed and not added and not is_lead:
            return set()
        everyone = customers.sharers(changed.union(payment.keys))
        self._store.orders.join_leads(everyone, payment if is_lead else None)
        return self._store.orders.of_keys(everyone)

    # ── one order ──

    def _resolve(self, conversion: Conversion, order: str) -> Conversion:
        owners = self._store.customers.of_keys(conversion.keys)
        aliases = sorted({*conversion.keys, *owners})
        if conversion.kind is ConversionKind.PAGEVIEW:  # it tells of itself alone
            return attribution.resolve(conversion, [], aliases, {}, self.rules)
        clicks = self._store.customers.clicks(aliases)
        untimed = not all(each.exact for each in clicks)  # only of those it is asked
        resolved = attribution.resolve(
            conversion,
            clicks,
            aliases,
            self._config.vendors,
            self.rules,
            began_at=self._store.orders.began_at(conversion),
            heard_at=self._store.orders.heard_at(order, conversion.order) if untimed else None,
        )
        if conversion.kind is ConversionKind.LEAD:
            return resolved
        strongest = attribution.strongest_first(conversion.keys)[:1]
        buyers = {owners.get(key) for key in strongest}
        home = {*strongest, *(key for key, owner in owners.items() if owner in buyers)}
        return replace(resolved, leads=self._store.deliveries.leads_told(conversion, home))

    def _begins_earlier(self, conversion: Conversion) -> bool:
        """Tell whether an order shows that its subscription began before what we knew."""
        if not conversion.subscription:
            return False
        first = self._store.orders.first_paid(conversion, 1)
        return bool(first and conversion.occurred_at < first[0].occurred_at)

    def _refresh_renewals(self, conversion: Conversion, now: datetime) -> None:
        """Credit the other orders of a subscription anew: it began earlier than we knew."""
        names = conversion.provider, conversion.subscription
        for each in self._store.orders.subscription(*names):
            if each.id != conversion.id:
                self.refresh(self._store.orders.order_of(each.id), now)

    def _put(self, conversion: Conversion, stored: Conversion | None, now: datetime) -> Conversion:
        """Store a conversion, and make due what it changes; return it as it is stored."""
        stored = stored or self._store.orders.conversion(conversion.id)
        if stored is not None:
            conversion = replace(conversion, renewal=stored.renewal)
        if self._store.orders.replace(stored, conversion, now):
            if stored is not None and conversion.status is Status.APPROVED:
                self._resume(conversion, now)
            self._make_due(conversion, now)
        return conversion

    def _make_due(self, conversion: Conversion, now: datetime) -> None:
        # The provider's clock may be ahead of ours: no sale waits longer than its claim time.
        longest = now + ledger.CLAIM_TIME
        claimed = max(now + CLAIM_TIME, min(conversion.due_at or now, longest))
        when = claimed if conversion.due_at else now
        self._store.deliveries.make_due(conversion.id, self._told_of(conversion), when)

    def _resume(self, conversion: Conversion, now: datetime) -> None:
        """Clear up by themselves the doubts that waited only because all had gone back."""
        for row in self._store.deliveries.of_conversion(conversion.id):
            unknown = row.in_flight if row.state is DeliveryState.UNKNOWN else None
            if unknown and unknown.repeatable:
                self._store.deliveries.resume(row, now)

    def _told_of(self, conversion: Conversion) -> list[str]:
        """Return the vendors that are told of a conversion, or of which it is told why not."""
        if conversion.kind is not ConversionKind.PAGEVIEW:
            return list(self._config.vendors)
        return [name for name, each in self._config.vendors.items() if each.wants_pageviews]

    def _merge_away(self, gone: Conversion, others: list[Conversion], now: datetime) -> None:
        """Remove a conversion whose payments now belong to others, without losing what was told.

        What a vendor was told of it passes to the conversion that took its place; where the vendor
        was told of that one too, the old one is taken back.
        """
        if hand_over(self._store, gone, others, now):
            self._store.orders.remove(gone.id)
        else:
            self._put(taken_back(gone, others), gone, now)

    def _mark_renewals(
        self, conversions: Iterable[Conversion], kept: dict[str, Conversion], now: datetime
    ) -> None:
        """Mark the renewals of subscriptions; `kept`, what is stored now, is kept up to date."""
        for id in [each.id for each in conversions if each.subscription]:
            like = kept.get(id) or self._store.orders.conversion(id)
            if like is None or not like.subscription:
                continue
            first = self._store.orders.first_paid(like, 2)
            known = {each.id: each for each in (like, *first)}
            for each in ledger.mark_renewals(list(known.values())):
                if each.renewal is not known[each.id].renewal:
                    self._store.orders.replace(known[each.id], each, now)
                    self._make_due(each, now)
                    kept[each.id] = each

    def _ask_about(self, order: str, conversions: Iterable[Conversion], now: datetime) -> None:
        """Ask the provider about an order whose sale has not arrived."""
        for each in conversions:
            if each.status is Status.PARKED and each.provider in self._askable:
                refs = (ref.partition(":")[2] for ref in self._store.orders.refs(order))
                if subject := self._config.providers[each.provider].question(refs):
                    self._store.asks.add(each.provider, each.account, subject, now)


def _tell(key: str, state: EventState, reason: str) -> EventState:
    """Log what became of an event, once that is committed."""
    log.info("processed", event_id=key, state=str(state), reason=reason)
    return state

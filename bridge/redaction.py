"""Redaction: remove a person everywhere. The ledger keeps amounts, orders and what vendors hold.

A person is found by following what belongs together until nothing new turns up: the keys of a
customer, the orders of these keys, the events of these orders, the keys that these events carry.
Whatever else names the person in its raw body loses that body, too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from bridge import forgetting
from bridge.attribution import email_key
from bridge.forgetting import REDACTED, UNREPEATABLE
from bridge.model import Conversion, ConversionKind, Erasure, Event, Payment, PaymentKind
from bridge.store import Store
from bridge.store.orders import ref_of
from bridge.store.persons import is_held
from bridge.store.rows import Attempt, DeliveryRow, DeliveryState

Names = frozenset[str]


@dataclass(frozen=True, slots=True)
class Found:
    """Hold what belongs to a person: keys, orders, events, conversions, ids and e-mails.

    `mentions` are events of others, or of nobody known, that name the person.
    """

    keys: Names = frozenset()
    orders: Names = frozenset()
    events: Names = frozenset()
    conversions: Names = frozenset()
    mentions: Names = frozenset()
    names: Names = field(default=frozenset(), repr=False)
    clicks: int = 0


@dataclass(frozen=True, slots=True)
class Erased:
    """Hold what was removed: whose orders, which conversions, how many events, clicks and keys."""

    orders: Names
    conversions: tuple[str, ...]
    events: int
    clicks: int
    keys: int


class Redaction:
    """Find all that speaks of a person, and take the person out of it."""

    def __init__(self, store: Store, email_secret: bytes) -> None:
        self._store = store
        self._secret = email_secret

    # ── finding ──

    def wanted(self, erasure: Erasure) -> Found:
        """Return what a provider asks to be removed."""
        if erasure.everyone:
            return self._of_account(erasure.provider, erasure.account)
        keys = [f"{erasure.provider}:{erasure.customer}"] if erasure.customer else []
        emails = [erasure.email] if erasure.email.strip() else []
        references = [ref_of(erasure.provider, each) for each in sorted(erasure.references)]
        keys += [email_key(each, self._secret) for each in emails]
        return self.find(keys, references, emails)

    def find(
        self, keys: Iterable[str], references: Collection[str] = (), emails: Iterable[str] = ()
    ) -> Found:
        """Return what belongs to the person with these keys, and to these orders."""
        orders = {order for each in references if (order := self._store.orders.order_of(each))}
        wanted = frozenset(keys)
        found = self._connected(Found(wanted, frozenset(orders)))
        names = self._names(found, emails)
        # What we could not make sense of may name the order alone: "<shop>/<id>" is written <id>.
        ids = {re.split("[:/]", each)[-1] for each in references}
        mentions = self._mentions(found, names | ids)
        found = self._connected(replace(found, orders=found.orders | self._unclaimed(mentions)))
        known = frozenset(self._known(found))
        more = self._store.persons.conversions_of_keys(known)
        return replace(
            found,
            keys=known,
            conversions=self._conversions_of(found.orders) | more,
            mentions=mentions - found.events,
            names=names,
            clicks=len(self._store.customers.clicks(sorted(known))),
        )

    def _connected(self, found: Found) -> Found:
        """Follow what belongs together until nothing new turns up."""
        persons, orders = self._store.persons, self._store.orders
        while True:
            keys = found.keys | persons.keys_of_events(found.events)
            keys |= persons.keys_of_orders(found.orders)
            keys |= set(self._store.customers.aliases(sorted(keys)))
            keys |= self._store.customers.browsers(keys)
            grown = Found(
                keys,
                found.orders | orders.of_keys(keys) | persons.orders_of_events(found.events),
                found.events
                | persons.events_of_keys(keys)
                | persons.events_of_orders(found.orders),
            )
            if grown == found:
                return found
            found = grown

    def _known(self, found: Found) -> set[str]:
        """Return those of the keys that the store knows of."""
        keys = sorted(found.keys)
        return set(self._store.customers.find(keys)) | self._store.persons.used(keys)

    def _names(self, found: Found, emails: Iterable[str]) -> Names:
        """Return the ids and e-mails of a person, as they are written in bodies."""
        names = forgetting.ids_of(found.keys) | {each.strip() for each in emails}
        for key in found.events:
            row = self._store.events.get(key)
            values = forgetting.values_in(row.event.body) if row else set()
            names |= forgetting.emails_in(values, found.keys, self._secret)
        return frozenset(names)

    def _mentions(self, found: Found, names: Names) -> Names:
        """Return further events whose bodies hold one of these names as a whole value."""
        telling = {each for each in names if forgetting.is_telling(each)}
        traces = {forgetting.trace_of(each) for each in telling}
        return frozenset(
            key
            for key, body in self._store.persons.bodies(traces)
            if key not in found.events and self._is_named(body, telling, found.keys)
        )

    def _unclaimed(self, events: Iterable[str]) -> set[str]:
        """Return the orders of these events of which nobody is known as yet."""
        persons = self._store.persons
        return {
            order
            for order in persons.orders_of_events(events)
            if not persons.keys_of_events(persons.events_of_orders([order]))
        }

    def _is_named(self, body: str, names: Collection[str], keys: Collection[str]) -> bool:
        values = forgetting.values_in(body)
        return bool(values & set(names) or forgetting.emails_in(values, keys, self._secret))

    def _of_account(self, provider: str, account: str) -> Found:
        """Return all of one account; its customers may be known elsewhere, too."""
        persons = self._store.persons
        events = persons.events_of_account(provider, account)
        orders = persons.orders_of_events(events)
        events |= persons.events_of_orders(orders)
        keys = persons.keys_of_events(events) | persons.keys_of_orders(orders)
        return Found(
            keys=frozenset(keys),
            orders=frozenset(orders),
            events=frozenset(events),
            conversions=self._conversions_of(orders),
            names=frozenset(forgetting.ids_of(keys)),
        )

    def _conversions_of(self, orders: Iterable[str]) -> Names:
        known = self._store.orders.conversions_of
        return frozenset(each.id for order in orders for each in known(order))

    # ── removing ──

    def erase(self, found: Found, now: datetime) -> Erased:
        """Remove what was found; the orders are to be folded anew."""
        persons = self._store.persons
        with self._store.atomic():
            conversions = self._load(found.conversions)
            names = found.names | found.keys | _ids_in(conversions)
            sources = self._forget_events(found.events, names)
            emptied = [
                persons.empty_event(each, REDACTED) for each in found.events | found.mentions
            ]
            for each in conversions:
                self._forget_conversion(each, names, now)
            self._forget_asks(found.orders, names)
            keys, clicks = self._forget_customers(found.keys, sources)
            persons.mark_unscrubbed()
        ids = tuple(each.id for each in conversions)
        return Erased(found.orders, ids, sum(emptied), clicks, keys)

    def keep(self, orders: Iterable[str], now: datetime) -> bool:
        """Redact what is new of orders whose customer was removed; tell whether there are any."""
        redacted = frozenset(filter(self._store.orders.is_redacted, orders))
        if not redacted:
            return False
        events = self._store.persons.events_of_orders(redacted)
        keys = self._store.persons.keys_of_events(events)
        known = self._load(self._conversions_of(redacted))
        conversions = [each for each in known if not each.redacted]
        names = keys | forgetting.ids_of(keys) | _ids_in(conversions)
        sources = self._forget_events(events, names)
        for key in events:
            self._store.persons.empty_event(key, REDACTED)
        for each in conversions:
            self._forget_conversion(each, names, now)
        self._forget_customers(frozenset(keys), sources)
        self._store.persons.mark_unscrubbed()
        return True

    def is_of_redacted(self, event: Event) -> bool:
        """Tell whether an event, not understood, names an order whose customer was removed."""
        within = ("", f"{event.account}/") if event.account else ("",)
        named = {
            ref_of(event.provider, account + value)
            for value in filter(forgetting.is_telling, forgetting.values_in(event.body))
            for account in within
        }
        return self._store.orders.any_redacted(named)

    def _load(self, conversions: Iterable[str]) -> list[Conversion]:
        found = (self._store.orders.conversion(each) for each in sorted(conversions))
        return [each for each in found if each is not None]

    def _forget_events(self, events: Iterable[str], names: Collection[str]) -> set[str]:
        def forget(payment: Payment) -> Payment:
            return forgetting.forget_payment(payment, names)

        rewrite = self._store.persons.rewrite_payments
        return {source for each in sorted(events) for source in rewrite(each, forget)}

    def _forget_conversion(
        self, conversion: Conversion, names: Collection[str], now: datetime
    ) -> None:
        self._store.orders.put(forgetting.forget_conversion(conversion, names), now)
        sale = conversion.kind is ConversionKind.SALE
        if sale:
            names = set(names) - {conversion.order}  # even if it is somebody's id, too
        for row in self._store.deliveries.of_conversion(conversion.id):
            for attempt in self._store.deliveries.attempts(row.id):
                self._store.persons.rewrite_attempt(_forget_attempt(attempt, names))
            self._store.persons.rewrite_delivery(_forget_delivery(row, names, sale=sale), now)

    def _forget_asks(self, orders: Iterable[str], names: Collection[str]) -> None:
        refs = (ref for order in sorted(orders) for ref in self._store.orders.refs(order))
        for ref in refs:
            self._store.persons.rewrite_asks(
                ref.partition(":")[2], lambda reason: forgetting.forget_names(reason, names)
            )

    def _forget_customers(self, keys: Names, sources: Collection[str]) -> tuple[int, int]:
        """Forget keys that nothing speaks of any more; return how many, and how many clicks."""
        gone = clicks = 0
        waiting = set(keys)
        while waiting:
            customer = set(self._store.customers.aliases([min(waiting)]))
            used = self._store.persons.used(customer)
            going = sorted((customer & keys) - used if used else customer)
            clicks += self._store.persons.forget(going, sorted(customer - set(going)), sources)
            gone += len(going)
            waiting -= customer
        return gone, clicks


def tombstones(event: Event, erasure: Erasure) -> list[Payment]:
    """Return payments by which it is kept that the customers of orders were removed."""
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


def _forget_attempt(attempt: Attempt, names: Collection[str]) -> Attempt:
    reason = forgetting.forget_names(forgetting.forget_words(attempt.reason), names)
    call = forgetting.forget_call(attempt.call, names)
    return replace(attempt, call=call, reason=reason, answer="")


def _forget_delivery(row: DeliveryRow, names: Collection[str], *, sale: bool) -> DeliveryRow:
    """Return a delivery without the person; a call in doubt can then not be sent again.

    A change of a sale that the vendor holds already names the order alone, and may be; one of a
    sign-up or a visit names who it is of.
    """
    call, state = row.in_flight, row.state
    reason = forgetting.forget_names(forgetting.forget_words(row.reason), names)
    if call is not None and (row.told.nothing or not sale):
        call = forgetting.forget_call(call, names)
        if not is_held(row):
            state, reason = DeliveryState.UNKNOWN, UNREPEATABLE
    elif call is None and state is DeliveryState.SENDING:
        # What its worker has planned meanwhile names the person: it loses the lease.
        state = DeliveryState.DUE
    told = forgetting.forget_told(row.told, names)
    return replace(row, state=state, reason=reason, told=told, in_flight=call)


def _ids_in(conversions: Iterable[Conversion]) -> Names:
    """Return what vendors know the customers of conversions by."""
    return frozenset(
        name
        for each in conversions
        for name in (
            *(
                id
                for click in (*each.clicks.values(), *each.landed.values())
                for id in click.values()
            ),
            *((each.customer,) if each.customer != each.order else ()),
        )
    )

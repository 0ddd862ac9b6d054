"""History: the whole why of an order, an event or a customer, gathered from the store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from bridge import providers
from bridge.attribution import StoredClick, email_key
from bridge.config import Config
from bridge.errors import NotFoundError
from bridge.gatekeeper import with_pauses
from bridge.identity import ANONYMOUS, EXTERNAL_ID
from bridge.model import Conversion, Payment
from bridge.store import Store
from bridge.store.orders import ref_of
from bridge.store.rows import Ask, Attempt, BondRow, DeliveryRow, EventRow
from bridge.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Hold all that is known about one order, or about an event or a customer without one."""

    events: list[EventRow]
    payments: list[Payment]
    conversions: list[Conversion]
    customer: list[str]
    bonds: list[BondRow]
    clicks: list[StoredClick]
    deliveries: list[DeliveryRow]
    attempts: dict[str, list[Attempt]]
    asks: list[Ask]


def tell(store: Store, config: Config, id: str) -> list[Story]:
    """Return the stories an id belongs to, oldest first; raise NotFoundError for an unknown one.

    The id is that of an event, a conversion, a delivery, a provider's object, or a customer. A
    customer's stories are those of all their orders, and one of what belongs to none of them.
    """
    events, person = store.events.find(id), _person(store, config, id)
    orders = _orders(store, id, person)
    if not (orders or events or person):
        orders = store.orders.find_within(id)
    stories = sorted((_of_order(store, each) for each in orders), key=_beginning)
    told = {row.key for story in stories for row in story.events}
    of_person = [row for row in store.events.of_keys(person) if row.key not in told]
    if of_person or (person and not stories):
        stories.append(_of_customer(store, person, of_person))
        told |= {row.key for row in of_person}
    stories += [_of_customer(store, [], [row]) for row in events if row.key not in told]
    if not stories:
        raise NotFoundError(
            f"nothing is known of {id!r}: no event, conversion, delivery, "
            "provider's object or customer has that id"
        )
    return stories


def keys_of(store: Store, config: Config, id: str) -> list[str]:
    """Return the keys by which a customer with an id of some kind, or an e-mail, may be known."""
    return _names(id) + ([email_key(id, Vault(store, config).hash_key)] if "@" in id else [])


def _names(id: str) -> list[str]:
    """Return what an id may be known by: as it is, or as a reference or key of some kind."""
    return [id, *(f"{kind}:{id}" for kind in (*providers.discover(), EXTERNAL_ID, ANONYMOUS))]


def _person(store: Store, config: Config, id: str) -> list[str]:
    """Return all keys of the customer with an id, or of whom an event without an order speaks."""
    told = [each for row in store.events.find(id) for each in store.orders.of_event(row.key)]
    keys = set() if any(each.references for each in told) else {k for p in told for k in p.keys}
    return store.customers.find([*keys_of(store, config, id), *sorted(keys)])


def _orders(store: Store, id: str, person: list[str]) -> list[str]:
    delivery = store.deliveries.get(id)
    conversion = store.orders.conversion(delivery.conversion if delivery else id)
    if conversion is not None:
        return [store.orders.order_of(ref_of(conversion.provider, conversion.order))]
    found = [
        store.orders.order_of(ref_of(payment.provider, reference))
        for row in store.events.find(id)
        for payment in store.orders.of_event(row.key)
        for reference in payment.references
    ]
    found += store.orders.find(_names(id), id)
    found += sorted(store.orders.of_keys(person))
    return list(dict.fromkeys(found))


def _beginning(story: Story) -> list[datetime]:
    return sorted(each.occurred_at for each in story.payments)[:1]


def _of_order(store: Store, order: str) -> Story:
    refs = store.orders.refs(order)
    conversions = store.orders.conversions_of(order)
    keys = {key for each in conversions for key in each.keys}
    aliases = store.customers.aliases(sorted(keys))
    told = [row for each in conversions for row in store.deliveries.of_conversion(each.id)]
    return Story(
        events=store.events.of_payments(refs),
        payments=store.orders.payments(order),
        conversions=conversions,
        customer=aliases,
        bonds=store.customers.said_of(aliases),
        clicks=store.customers.clicks(aliases),
        deliveries=with_pauses(store, told, datetime.now(UTC)),
        attempts={row.id: store.deliveries.attempts(row.id) for row in told},
        asks=[ask for ref in refs for ask in store.asks.about(ref.partition(":")[2])],
    )


def _of_customer(store: Store, person: list[str], events: list[EventRow]) -> Story:
    """Tell of events that belong to no order, and whom they speak of."""
    return Story(
        events=events,
        payments=[each for row in events for each in store.orders.of_event(row.key)],
        conversions=[],
        customer=person,
        bonds=store.customers.said_of(person),
        clicks=store.customers.clicks(person),
        deliveries=[],
        attempts={},
        asks=[ask for row in events for ask in store.asks.about(row.key)],
    )

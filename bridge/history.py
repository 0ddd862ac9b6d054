"""History: the whole why of an order, an event or a customer, gathered from the store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from bridge import attribution, providers
from bridge.attribution import StoredClick
from bridge.config import Config
from bridge.errors import NotFoundError
from bridge.intake import attribution_rules
from bridge.model import Conversion, Payment
from bridge.store import Store
from bridge.store.orders import ref_of
from bridge.store.rows import Ask, Attempt, DeliveryRow, EventRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Hold all that is known about one order, or about an event or a customer without one."""

    events: list[EventRow]
    payments: list[Payment]
    conversions: list[Conversion]
    customer: list[str]
    clicks: list[StoredClick]
    deliveries: list[DeliveryRow]
    attempts: dict[str, list[Attempt]]
    asks: list[Ask]


def tell(store: Store, config: Config, id: str) -> list[Story]:
    """Return the stories an id belongs to, oldest first; raise NotFoundError for an unknown one.

    The id is that of an event, a conversion, a delivery, a provider's object, or a customer.
    """
    stories = [_of_order(store, order) for order in _orders(store, config, id)]
    stories.sort(key=_beginning)
    told = {row.key for story in stories for row in story.events}
    stories += [_of_event(store, row) for row in store.events.find(id) if row.key not in told]
    if not stories:
        aliases = store.customers.find(_names(store, config, id))
        stories = [_of_customer(store, aliases)] if aliases else []
    if not stories:
        raise NotFoundError(
            f"nothing is known of {id!r}: no event, conversion, delivery, "
            "provider's object or customer has that id"
        )
    return stories


def _orders(store: Store, config: Config, id: str) -> list[str]:
    delivery = store.deliveries.get(id)
    conversion = store.orders.conversion(delivery.conversion if delivery else id)
    if conversion is not None:
        return [store.orders.order_of(ref_of(conversion.provider, conversion.order))]
    found = [
        store.orders.order_of(ref_of(row.event.provider, reference))
        for row in store.events.find(id)
        for payment in store.orders.of_event(row.key)
        for reference in payment.references
    ]
    names = _names(store, config, id)
    found += store.orders.find(names, id)
    found += sorted(store.orders.of_keys(store.customers.find(names)))
    return list(dict.fromkeys(found))


def _beginning(story: Story) -> list[datetime]:
    return sorted(each.occurred_at for each in story.payments)[:1]


def _names(store: Store, config: Config, id: str) -> list[str]:
    """Return what an id may be known by: as it is, or as a reference or key of some kind."""
    kinds = [*providers.discover(), attribution.EXTERNAL_ID]
    names = [id, *(f"{kind}:{id}" for kind in kinds)]
    rules = attribution_rules(config, store)
    return names + ([attribution.email_key(id, rules.email_key)] if "@" in id else [])


def _of_order(store: Store, order: str) -> Story:
    refs = store.orders.refs(order)
    conversions = store.orders.conversions_of(order)
    keys = {key for each in conversions for key in each.keys}
    aliases = store.customers.aliases(sorted(keys))
    deliveries = [row for each in conversions for row in store.deliveries.of_conversion(each.id)]
    return Story(
        events=store.events.of_payments(refs),
        payments=store.orders.payments(order),
        conversions=conversions,
        customer=aliases,
        clicks=store.customers.clicks(aliases),
        deliveries=deliveries,
        attempts={row.id: store.deliveries.attempts(row.id) for row in deliveries},
        asks=[ask for ref in refs for ask in store.asks.about(ref.partition(":")[2])],
    )


def _of_event(store: Store, row: EventRow) -> Story:
    payments = store.orders.of_event(row.key)
    aliases = store.customers.aliases(sorted({key for each in payments for key in each.keys}))
    asks = store.asks.about(row.key)
    return replace(_of_customer(store, aliases), events=[row], payments=payments, asks=asks)


def _of_customer(store: Store, aliases: list[str]) -> Story:
    return Story(
        events=[],
        payments=[],
        conversions=[],
        customer=aliases,
        clicks=store.customers.clicks(aliases),
        deliveries=[],
        attempts={},
        asks=[],
    )

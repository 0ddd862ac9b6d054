"""events, conversions, deliveries: what there is, newest first."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import click

from bridge import codec
from bridge.cli.output import Column, print_json, print_table, shortened, shown_time, told_words
from bridge.cli.session import Plain, as_json, opened
from bridge.gatekeeper import with_pauses
from bridge.model import Conversion, ConversionKind, Status, Told
from bridge.outbox import utc_now
from bridge.store.rows import DeliveryRow, DeliveryState, EventRow, EventState

EVENTS = (
    Column("event"),
    Column("type", yields=1, most=32),
    Column("state"),
    Column("occurred", yields=2),
    Column("reason", below=True),
)
CONVERSIONS = (
    Column("conversion", most=34),
    Column("customer", yields=2, most=22),
    Column("paid", right=True, yields=1),
    Column("taken back", right=True, yields=3),
    Column("to credit", right=True),
    Column("status"),
    Column("occurred", yields=4),
)
DELIVERIES = (
    Column("delivery", most=46),
    Column("state"),
    Column("told"),
    Column("attempts", right=True, yields=2),
    Column("next attempt", yields=1),
    Column("reason", below=True),
)

limit_option = click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    help="At most so many.",
)


visits_option = click.option("--visits", is_flag=True, help="Visits, too.")


def state_option(
    states: type[StrEnum], name: str = "state"
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the option that lists only what is in one state."""
    kinds = click.Choice([str(each) for each in states])
    return click.option(f"--{name}", type=kinds, help=f"Only this {name}.")


@click.command()
@state_option(EventState)
@limit_option
@as_json
def events(state: str | None, limit: int, json_: bool) -> None:
    """List the events that arrived."""
    with opened() as session:
        rows = session.store.events.newest(state or "", limit)
    if json_:
        print_json([event_json(row) for row in rows])
        return
    print_table(
        EVENTS,
        [
            (row.event.id, row.event.type, row.state, shown_time(row.event.occurred_at), row.reason)
            for row in rows
        ],
        _none("events", state),
    )


@click.command()
@state_option(Status, "status")
@limit_option
@visits_option
@as_json
def conversions(status: str | None, limit: int, visits: bool, json_: bool) -> None:
    """List the orders and sign-ups to be credited, as they stand."""
    with opened() as session:
        rows = session.store.orders.newest(status or "", limit, visits=visits)
    if json_:
        print_json([conversion_json(row) for row in rows])
        return
    print_table(
        CONVERSIONS,
        [
            (
                row.id,
                shortened(row.customer),
                *_amounts(row),
                row.status,
                shown_time(row.occurred_at),
            )
            for row in rows
        ],
        _none("conversions", status),
    )


@click.command()
@state_option(DeliveryState)
@limit_option
@visits_option
@as_json
def deliveries(state: str | None, limit: int, visits: bool, json_: bool) -> None:
    """List what each vendor was told and is still to be told."""
    with opened() as session:
        found = session.store.deliveries.newest(state or "", limit, visits=visits or bool(state))
        rows = with_pauses(session.store, found, utc_now())
    if json_:
        print_json([delivery_json(row) for row in rows])
        return
    print_table(
        DELIVERIES,
        [
            (
                row.id,
                row.state,
                told_words(row.told),
                row.attempts,
                shown_time(row.next_attempt_at),
                row.reason,
            )
            for row in rows
        ],
        _none("deliveries", state),
    )


def _amounts(row: Conversion) -> tuple[object, object, object]:
    """Return what was paid, went back and is to be credited; a sign-up moves nothing."""
    if row.kind is not ConversionKind.SALE:
        return "", "", str(row.kind)
    return row.paid, row.taken_back, row.value


def event_json(row: EventRow) -> Plain:
    """Return an event as listings print it; without its body."""
    return {
        "id": row.event.id,
        "provider": row.event.provider,
        "account": row.event.account,
        "type": row.event.type,
        "state": row.state,
        "reason": row.reason,
        "test": row.event.test,
        "fetched": row.event.fetched,
        "occurred_at": codec.iso(row.event.occurred_at),
        "received_at": codec.iso(row.received_at),
    }


def conversion_json(row: Conversion) -> Plain:
    """Return a conversion as listings print it."""
    return {
        "id": row.id,
        "kind": row.kind,
        "provider": row.provider,
        "order": row.order,
        "customer": row.customer,
        "paid": codec.money(row.paid),
        "taken_back": codec.money(row.taken_back),
        "value": codec.money(row.value),
        "status": row.status,
        "cause": row.cause,
        "subscription": row.subscription,
        "renewal": row.renewal,
        "test": row.test,
        "reason": row.reason,
        "clicks": {vendor: dict(click) for vendor, click in row.clicks.items()},
        "occurred_at": codec.iso(row.occurred_at),
    }


def delivery_json(row: DeliveryRow) -> Plain:
    """Return a delivery as listings print it."""
    return {
        "id": row.id,
        "conversion": row.conversion,
        "vendor": row.vendor,
        "state": row.state,
        "reason": row.reason,
        "told": told_json(row.told),
        "attempts": row.attempts,
        "next_attempt_at": codec.iso(row.next_attempt_at) if row.next_attempt_at else None,
        "updated_at": codec.iso(row.updated_at),
    }


def told_json(told: Told) -> Plain | None:
    """Return what a vendor was told, or None for nothing."""
    if told == Told():
        return None
    return {
        "steps": list(told.steps),
        "amount": codec.money(told.amount),
        "status": told.status,
        "known_as": told.known_as,
        "reference": told.reference,
        "doubt": told.doubt,
    }


def _none(things: str, state: str | None) -> str:
    return f"no {things} are {state}" if state else f"no {things} yet"

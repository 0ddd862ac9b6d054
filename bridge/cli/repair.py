"""retry and resolve: what a person does about dead letters and unknown outcomes."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from bridge.cli.output import say, some
from bridge.cli.session import Session, opened
from bridge.errors import BridgeError, NotFoundError
from bridge.intake import Intake
from bridge.model import ConversionKind, Told
from bridge.store.rows import DeliveryRow, DeliveryState

MOST = 100_000
RETRIABLE = [DeliveryState.DEAD, DeliveryState.SKIPPED, DeliveryState.DUE, DeliveryState.PLANNED]


@click.command()
@click.argument("id", required=False)
@click.option(
    "--state",
    type=click.Choice([str(each) for each in RETRIABLE]),
    help="All deliveries in this state.",
)
@click.option("--vendor", help="With --state: those to this vendor alone.")
def retry(id: str | None, state: str | None, vendor: str | None) -> None:
    """Make a delivery, or all of one state, due at once.

    Its retries are counted afresh, and a vendor that was paused is tried at once.
    """
    if (id is None) == (state is None):
        raise click.UsageError("give either the ID of a delivery or --state")
    if vendor and not state:
        raise click.UsageError("--vendor goes with --state")
    now = datetime.now(UTC)
    with opened() as session:
        rows = _in_state(session, state, vendor) if state else [_retriable(session, id)]
        with session.store.atomic():
            revived = sum(session.store.deliveries.revive(row.id, now) for row in rows)
            for each in {row.vendor for row in rows} | ({vendor} if vendor else set()):
                session.store.gates.hurry(each, now)
        session.store.ring()
    if id is not None and not revived:
        raise BridgeError(f"{id} is being sent right now: look again in a moment")
    say(f"{some(revived, 'delivery is', 'deliveries are')} due now")


@click.command()
@click.argument("id")
@click.option("--delivered", is_flag=True, help="The vendor has it: go on from there.")
@click.option("--resend", is_flag=True, help="The vendor has not: send it again.")
def resolve(id: str, delivered: bool, resend: bool) -> None:
    """Say what became of a call whose outcome is unknown.

    Look it up at the vendor first.
    """
    if delivered == resend:
        raise click.UsageError("say either --delivered or --resend")
    with opened() as session:
        row = _delivery(session, id)
        if row.state is not DeliveryState.UNKNOWN or row.in_flight is None:
            raise BridgeError(f"{id} is {row.state}, not unknown: there is nothing to resolve")
        _resolve(session, row, row.in_flight.tells if delivered else None)
        session.store.ring()
    say(f"{id}: " + ("taken as delivered" if delivered else "will be sent again"))


def _resolve(session: Session, row: DeliveryRow, told: Told | None) -> None:
    """End the doubt about a delivery, and credit the sales that waited for it, if it is a lead's.

    The outbox does so for a lead that a vendor accepts.
    """
    store, now = session.store, datetime.now(UTC)
    with store.atomic():
        if not store.deliveries.resolve(row, now, told):
            raise BridgeError(
                f"{row.id} has changed meanwhile: look at it again with `bridge show`"
            )
        conversion = store.orders.conversion(row.conversion)
        if told and told.status and conversion and conversion.kind is ConversionKind.LEAD:
            Intake(store, session.config).refresh_customer(conversion.keys, now)


def _in_state(session: Session, state: str, vendor: str | None) -> list[DeliveryRow]:
    """Return the deliveries in a state, to one vendor or to all.

    Of those that are due, only what failed waits for anything but its turn.
    """
    if vendor and vendor not in session.config.vendors:
        known = ", ".join(session.config.vendors) or "none"
        raise NotFoundError(f"no vendor {vendor!r} is configured (there are: {known})")
    found = session.store.deliveries.newest(state, MOST)
    return [
        row
        for row in found
        if row.vendor == (vendor or row.vendor) and (state != DeliveryState.DUE or row.failures)
    ]


def _retriable(session: Session, id: str | None) -> DeliveryRow:
    row = _delivery(session, id or "")
    if row.state is DeliveryState.UNKNOWN:
        raise BridgeError(
            f"{id} may have been counted: look at the vendor, then decide with "
            f"`bridge resolve {id} --delivered` or `--resend`"
        )
    return row


def _delivery(session: Session, id: str) -> DeliveryRow:
    row = session.store.deliveries.get(id)
    if row is None:
        raise NotFoundError(f"no delivery has the id {id!r} (see `bridge deliveries`)")
    return row

"""redact: remove a customer everywhere."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click

from bridge import history
from bridge.cli.output import print_line, some
from bridge.cli.session import Session, opened
from bridge.errors import NotFoundError
from bridge.intake import Intake
from bridge.redaction import Erased, Found

MOST = 1_000


@click.command()
@click.argument("customer")
@click.option("--yes", is_flag=True, help="Do not ask first.")
def redact(customer: str, yes: bool) -> None:
    """Remove a CUSTOMER's data everywhere; amounts stay.

    CUSTOMER is an e-mail address, an id of yours or of a provider's, or a key (shopify:123). On a
    terminal it asks first. What the vendors hold can still be taken back, but nothing new is told.
    """
    with opened(deciding=True) as session:
        intake = _up_to_date(session)
        found = _find(session, intake, customer)
        if not (found.keys or ("@" in customer and found.events | found.mentions)):
            raise NotFoundError(f"nothing is known of a customer {customer!r}")
        if not yes and sys.stdin.isatty():
            click.confirm(f"Remove {_counted(found)} for good?", abort=True)
        with session.store.atomic():  # what has come in while somebody thought it over, too
            erased = intake.redact(_find(session, intake, customer), datetime.now(UTC))
        print_line(_said(erased))
        if not session.store.scrub():
            print_line(
                "The database is in use: what was removed is overwritten on the disk by the "
                "worker, or when this command is run again."
            )


def _up_to_date(session: Session) -> Intake:
    """Process what has arrived: what is not understood yet cannot be searched."""
    able = [
        name
        for name, each in session.config.providers.items()
        if each.key_field and getattr(each.settings, each.key_field)
    ]
    intake = Intake(session.store, session.config, able)
    while keys := session.store.events.received(MOST):
        for key in keys:
            intake.process(key, datetime.now(UTC))
    return intake


def _find(session: Session, intake: Intake, customer: str) -> Found:
    keys = history.keys_of(session.store, session.config, customer)
    persons = {tuple(whole): key for key in keys if (whole := session.store.customers.find([key]))}
    if len(persons) > 1:
        raise click.BadParameter(
            f"{customer!r} names several customers: say which of {', '.join(persons.values())}"
        )
    return intake.redaction.find(keys, emails=[customer] if "@" in customer else [])


def _counted(found: Found) -> str:
    events = len(found.events | found.mentions)
    parts = (
        f"the customer of {some(len(found.orders), 'order')} (the amounts stay)",
        f"the content of {some(events, 'event')}",
        some(found.clicks, "click"),
    )
    return f"{', '.join(parts)} and {some(len(found.keys), 'id')}"


def _said(erased: Erased) -> str:
    return (
        f"removed: {some(erased.keys, 'id')}, {some(erased.clicks, 'click')}, the content of "
        f"{some(erased.events, 'event')}, the customer of {some(len(erased.orders), 'order')} "
        "(the amounts stay)"
    )

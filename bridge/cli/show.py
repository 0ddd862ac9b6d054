"""show and explain: why something was sent, or was not."""

from __future__ import annotations

from collections import Counter

import click

from bridge import codec, history, outbox, planning
from bridge.attribution import StoredClick
from bridge.cli.listings import conversion_json, delivery_json, event_json
from bridge.cli.output import (
    Column,
    print_heading,
    print_json,
    print_line,
    print_table,
    shortened,
    shown_time,
    told_words,
)
from bridge.cli.session import Plain, Session, as_json, opened
from bridge.errors import NotFoundError
from bridge.history import Story
from bridge.model import Call, Conversion, ConversionKind, Done, Payment, Skip, Told
from bridge.store.rows import Ask, Attempt, BondRow, DeliveryRow, DeliveryState, EventRow

EVENTS = (
    Column("event"),
    Column("type", most=32),
    Column("state"),
    Column("occurred", yields=1),
    Column("received", yields=2),
    Column("reason", below=True),
)
PAYMENTS = (
    Column("occurred", yields=1),
    Column("kind"),
    Column("state"),
    Column("amount", right=True),
    Column("payment", most=30),
    Column("reason", below=True),
)
LONGEST_SHOWN, MOST_BONDS = 200, 10
RESOLVE = "bridge resolve {} --delivered` or `--resend"


@click.command()
@click.argument("id")
@as_json
def show(id: str, json_: bool) -> None:
    """Tell the whole story of one ID, from webhook to vendors.

    ID is that of an event, conversion, delivery, provider's object (in_…, re_…) or customer. As
    JSON, the story of a customer is all that is stored of them, raw webhooks included.
    """
    with opened() as session:
        stories = history.tell(session.store, session.config, id)
    if json_:
        print_json([_story_json(story) for story in stories])
        return
    for before, story in zip((None, *stories), stories, strict=False):
        _print_story(story, known=before is not None and before.customer == story.customer)


@click.command()
@click.argument("id")
@as_json
def explain(id: str, json_: bool) -> None:
    """Say which calls would be made now, and why; sends nothing.

    ID is that of a delivery, or anything that `bridge show` takes.
    """
    with opened() as session:
        plans = {
            f"{conversion.id}@{vendor}": (
                _held_up(session, f"{conversion.id}@{vendor}"),
                _steps(session, conversion, vendor),
            )
            for conversion, vendor in _wanted(session, id)
        }
    if json_:
        print_json(
            [
                {
                    "delivery": name,
                    "held_up": held_up,
                    "steps": [_step_json(each) for each in steps],
                }
                for name, (held_up, steps) in plans.items()
            ]
        )
        return
    for name, (held_up, steps) in plans.items():
        print_line(name, style="bold")
        if held_up:
            print_line(f"{held_up}; then:", style="yellow", indent=2)
        for step in steps:
            _print_step(step)


def _held_up(session: Session, id: str) -> str:
    """Say why nothing is sent as yet, and what to do about it."""
    row = session.store.deliveries.get(id)
    match row.state if row else None:
        case DeliveryState.SENDING:
            return "it is being sent right now"
        case DeliveryState.UNKNOWN:
            remedy = f"nothing is sent before `{RESOLVE.format(id)}`"
        case DeliveryState.DEAD:
            remedy = f"nothing is sent before `bridge retry {id}`"
        case DeliveryState.DUE if row and row.in_flight:
            remedy = f"the call in doubt ({row.in_flight.step}) is sent again first, as it was"
        case _:
            return ""
    return f"{row.state} ({row.reason}): {remedy}" if row else ""


def _wanted(session: Session, id: str) -> list[tuple[Conversion, str]]:
    """Return the conversions that an id belongs to, each with every vendor, or the one named."""
    stories = history.tell(session.store, session.config, id)
    conversions = [each for story in stories for each in story.conversions]
    pairs = [(each, vendor) for each in conversions for vendor in session.config.vendors]
    exact = [pair for pair in pairs if id in {pair[0].id, f"{pair[0].id}@{pair[1]}"}]
    if not exact and any(id.startswith(f"{each.id}@") for each in conversions):
        raise NotFoundError(f"{id!r} is of a vendor that is not configured")
    if not pairs:
        lacking = "vendor is configured" if conversions else "order has come of it"
        raise NotFoundError(f"there is nothing to explain for {id!r}: no {lacking}")
    return exact or pairs


def _steps(session: Session, conversion: Conversion, vendor: str) -> list[Call | Done | Skip]:
    row = session.store.deliveries.get(f"{conversion.id}@{vendor}")
    rules = outbox.delivery_rules(session.config)
    told = row.told if row else Told()
    return planning.explain(session.config.vendors[vendor], conversion, told, rules)


# ── as JSON ──────────────────────────────────────────────────────────────────────────────────────


def _step_json(step: Call | Done | Skip) -> Plain:
    match step:
        case Call():
            return {"call": _call_json(step)}
        case Skip():
            return {"skip": step.reason}
        case Done():
            return {"done": True}


def _call_json(call: Call) -> Plain:
    return {
        "step": call.step,
        "method": call.method,
        "url": call.url,
        "query": dict(call.query),
        "json": call.json,
    }


def _story_json(story: Story) -> Plain:
    return {
        "events": [event_json(row) | {"body": _event_body(row)} for row in story.events],
        "payments": [_payment_json(each) for each in story.payments],
        "conversions": [conversion_json(each) for each in story.conversions],
        "customer": story.customer,
        "bonds": [_bond_json(each) for each in story.bonds],
        "clicks": [
            {
                "vendor": each.vendor,
                "value": each.value,
                "captured_at": codec.iso(each.captured_at),
                "exact": each.exact or each.live,
                "keys": sorted(each.keys),
            }
            for each in story.clicks
        ],
        "deliveries": [
            delivery_json(row) | {"history": [_attempt_json(one) for one in story.attempts[row.id]]}
            for row in story.deliveries
        ],
        "asks": [_ask_json(each) for each in story.asks],
    }


def _bond_json(bond: BondRow) -> Plain:
    return {
        "keys": sorted(bond.keys),
        "source": bond.source,
        "claimed": bond.claimed,
        "at": codec.iso(bond.at) if bond.at else None,
    }


def _payment_json(payment: Payment) -> Plain:
    return {
        "id": payment.id,
        "kind": payment.kind,
        "state": payment.state,
        "amount": codec.money(payment.amount),
        "net": codec.money(payment.net),
        "references": sorted(payment.references),
        "reason": payment.reason,
        "occurred_at": codec.iso(payment.occurred_at),
        "items": [
            {"name": each.name, "quantity": each.quantity, "amount": codec.money(each.amount)}
            for each in payment.items
        ],
        "customer": payment.customer,
        "keys": list(payment.keys),
        "clicks": {vendor: dict(each) for vendor, each in payment.clicks.items()},
    }


def _event_body(row: EventRow) -> object:
    """Return what an event was in full, as JSON where it is that."""
    try:
        return codec.loads(row.event.body)
    except (ValueError, RecursionError):
        return row.event.body


def _attempt_json(attempt: Attempt) -> Plain:
    return {
        "number": attempt.number,
        "at": codec.iso(attempt.at),
        "outcome": attempt.outcome,
        "reason": attempt.reason,
        "call": _call_json(attempt.call),
        "status": attempt.status,
        "answer": attempt.answer,
        "took_ms": attempt.took_ms,
    }


def _ask_json(ask: Ask) -> Plain:
    return {
        "provider": ask.provider,
        "subject": ask.subject,
        "state": ask.state,
        "asked": ask.asked,
        "reason": ask.reason,
    }


# ── for people ───────────────────────────────────────────────────────────────────────────────────


def _print_step(step: Call | Done | Skip) -> None:
    match step:
        case Call():
            print_line(f"{step.step}: {step.method} {step.url}", indent=2)
            print_line(_body(step), style="dim", indent=6)
        case Skip():
            print_line(f"skipped: {step.reason}", indent=2)
        case Done():
            print_line("then the vendor is up to date", indent=2)


def _print_story(story: Story, *, known: bool) -> None:
    for each in story.conversions:
        _print_conversion(each)
    print_heading("What arrived")
    print_table(
        EVENTS,
        [
            (
                row.event.id,
                row.event.type,
                row.state,
                shown_time(row.event.occurred_at),
                shown_time(row.received_at),
                row.reason,
            )
            for row in story.events
        ],
        "no event yet",
    )
    if story.payments:
        print_heading("What it says about money")
        print_table(
            PAYMENTS,
            [
                (
                    shown_time(each.occurred_at),
                    each.kind,
                    each.state,
                    each.amount or "",
                    each.id,
                    each.reason,
                )
                for each in _distinct(story)
            ],
        )
    if known:
        print_heading("Who, and which clicks: as above")
    else:
        _print_customer(story)
    if story.deliveries:
        print_heading("What the vendors were told")
    for row in story.deliveries:
        _print_delivery(row, story.attempts[row.id])
    for ask in story.asks:
        print_line(f"{ask.provider} was asked about {ask.subject}: {ask.state} {ask.reason}")
    print_line()


def _print_conversion(conversion: Conversion) -> None:
    print_line(f"{conversion.id}: {conversion.status}", style="bold")
    if conversion.kind is ConversionKind.SALE:
        paid = f"{conversion.paid} paid, {conversion.taken_back} taken back"
        print_line(f"{paid}, {conversion.value} to credit", indent=2)
    else:
        print_line(f"a {conversion.kind}", indent=2)
    notes = [conversion.reason.replace("_", " ")]
    notes += ["a renewal"] if conversion.renewal else []
    notes += ["test mode"] if conversion.test else []
    if any(notes):
        print_line(", ".join(filter(None, notes)), style="dim", indent=2)


def _print_customer(story: Story) -> None:
    print_heading("Who, and which clicks")
    print_line(", ".join(map(shortened, story.customer)) or "nobody known")
    for bond in story.bonds[:MOST_BONDS]:
        print_line(_bond_words(bond, story.customer), style="dim", indent=2)
    if len(story.bonds) > MOST_BONDS:
        print_line(f"and {len(story.bonds) - MOST_BONDS} more (--json)", style="dim", indent=2)
    seen = Counter((each.vendor, _click_words(each.value)) for each in story.clicks)
    last = {(each.vendor, _click_words(each.value)): _clicked(each) for each in story.clicks}
    print_table(
        (Column("clicked"), Column("vendor"), Column("times", right=True), Column("click")),
        [
            (last[vendor, click], vendor, times if times > 1 else "", click)
            for (vendor, click), times in seen.items()
        ],
        "no clicks",
    )


def _bond_words(bond: BondRow, customer: list[str]) -> str:
    """Say which keys came together, and what was made of it."""
    said = f"{shown_time(bond.at)}  " if bond.at else ""
    keys = " = ".join(map(shortened, sorted(bond.keys)))
    source = f", by {bond.source}" if bond.source else ""
    apart = "" if bond.keys <= set(customer) else " (not joined: others have these, too)"
    claimed = " (a claim: it brings clicks alone)"
    return f"{said}{keys}{source}{claimed if bond.claimed else apart}"


def _clicked(click: StoredClick) -> str:
    """Return when a click happened, or by when it had happened."""
    at = shown_time(click.captured_at)
    return at if click.exact or click.live else f"by {at}"


def _click_words(value: object) -> str:
    if not isinstance(value, dict):
        return shortened(str(value))
    return ", ".join(f"{kind} {shortened(str(each))}" for kind, each in value.items())


def _print_delivery(row: DeliveryRow, attempts: list[Attempt]) -> None:
    print_line(f"{row.vendor}: {row.state}; told {told_words(row.told)}", style="bold", indent=2)
    if row.reason:
        print_line(row.reason, indent=4)
    if row.state is DeliveryState.UNKNOWN:
        print_line(f"look it up there, then `{RESOLVE.format(row.id)}`", indent=4)
    if row.next_attempt_at:
        print_line(f"next attempt at {shown_time(row.next_attempt_at)}", indent=4)
    for each in attempts:
        _print_attempt(each)


def _print_attempt(attempt: Attempt) -> None:
    call = attempt.call
    answered = f"answered {attempt.status}" if attempt.status else "no answer"
    words = f"{shown_time(attempt.at)}  {call.step}: {answered}, {attempt.outcome}"
    print_line(words, indent=4)
    print_line(f"{call.method} {call.url} {_body(call)}", style="dim", indent=6)
    said = " ".join(attempt.answer.split()) or attempt.reason
    if said:
        shown = said if len(said) <= LONGEST_SHOWN else said[:LONGEST_SHOWN] + "…"
        print_line(f"← {shown}", style="dim", indent=6)


def _body(call: Call) -> str:
    return codec.dumps(call.json if call.json is not None else dict(call.query))


def _distinct(story: Story) -> list[Payment]:
    """Return each movement's reports once, in order of time."""
    seen = {(p.id, p.kind, p.state, p.amount, p.occurred_at): p for p in story.payments}
    return sorted(seen.values(), key=lambda each: (each.occurred_at, each.kind, each.id))

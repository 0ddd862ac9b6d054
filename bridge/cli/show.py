"""show and explain: why something was sent, or was not."""

from __future__ import annotations

import click
from rich.text import Text

from bridge import codec, history, outbox
from bridge.cli.listings import conversion_json, delivery_json, event_json
from bridge.cli.session import (
    Plain,
    Session,
    as_json,
    console,
    opened,
    print_json,
    print_table,
    told_words,
)
from bridge.errors import NotFoundError
from bridge.history import Story
from bridge.model import Call, Conversion, Done, Payment, Skip, Told
from bridge.store.rows import Attempt, DeliveryRow


@click.command()
@click.argument("id")
@as_json
def show(id: str, json_: bool) -> None:
    """Tell the whole story of an event, conversion, delivery, provider's object or customer."""
    with opened() as session:
        stories = history.tell(session.store, session.config, id)
    if json_:
        print_json([_story_json(story) for story in stories])
        return
    for story in stories:
        _print_story(story)


@click.command()
@click.argument("id")
@as_json
def explain(id: str, json_: bool) -> None:
    """Say which calls would be made now for a conversion or delivery, and why; sends nothing."""
    with opened() as session:
        conversion = session.store.orders.conversion(id.partition("@")[0])
        if conversion is None:
            raise NotFoundError(f"no conversion or delivery has the id {id!r}")
        wanted = id.partition("@")[2]
        plans = {
            f"{conversion.id}@{vendor}": _steps(session, conversion, vendor)
            for vendor in session.config.vendors
            if wanted in ("", vendor)
        }
    if not plans:
        raise NotFoundError(f"no configured vendor has the delivery {id!r}")
    if json_:
        print_json(
            [
                {"delivery": name, "steps": list(map(_step_json, steps))}
                for name, steps in plans.items()
            ]
        )
        return
    for name, steps in plans.items():
        console.print(Text(name, style="bold"))
        for step in steps:
            _print_step(step)


def _steps(session: Session, conversion: Conversion, vendor: str) -> list[Call | Done | Skip]:
    row = session.store.deliveries.get(f"{conversion.id}@{vendor}")
    rules = outbox.delivery_rules(session.config)
    told = row.told if row else Told()
    return outbox.explain(session.config.vendors[vendor], conversion, told, rules)


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


def _print_step(step: Call | Done | Skip) -> None:
    match step:
        case Call():
            console.print(Text(f"  {step.step}: {step.method} {step.url}"))
            body = step.json if step.json is not None else dict(step.query)
            console.print(Text(f"      {codec.dumps(body)}", style="dim"))
        case Skip():
            console.print(Text(f"  skipped: {step.reason}"))
        case Done():
            console.print(Text("  then the vendor is up to date"))


# ── the story ────────────────────────────────────────────────────────────────────────────────────


def _story_json(story: Story) -> Plain:
    return {
        "events": [event_json(row) for row in story.events],
        "payments": [_payment_json(each) for each in story.payments],
        "conversions": [conversion_json(each) for each in story.conversions],
        "customer": story.customer,
        "clicks": [
            {
                "vendor": each.vendor,
                "value": each.value,
                "captured_at": codec.iso(each.captured_at),
                "keys": sorted(each.keys),
            }
            for each in story.clicks
        ],
        "deliveries": [
            delivery_json(row) | {"history": [_attempt_json(one) for one in story.attempts[row.id]]}
            for row in story.deliveries
        ],
        "asks": [
            {
                "subject": each.subject,
                "state": each.state,
                "asked": each.asked,
                "reason": each.reason,
            }
            for each in story.asks
        ],
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
    }


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


def _print_story(story: Story) -> None:
    for each in story.conversions:
        words = f"{each.id}: {each.paid} paid, {each.taken_back} taken back, {each.value} credited"
        console.print(Text(f"{words} ({each.status})", style="bold"))
        if each.reason:
            console.print(Text(f"  {each.reason.replace('_', ' ')}", style="dim"))
    _heading("What arrived")
    print_table(
        ["event", "type", "state", "occurred", "received", "reason"],
        [
            (
                r.event.id,
                r.event.type,
                r.state,
                _at(r.event.occurred_at),
                _at(r.received_at),
                r.reason,
            )
            for r in story.events
        ],
        "no events",
    )
    if story.payments:
        _heading("What it says about money")
        print_table(
            ["payment", "kind", "state", "amount", "occurred"],
            [(p.id, p.kind, p.state, p.amount or "", _at(p.occurred_at)) for p in _distinct(story)],
            "no payments",
        )
    _print_customer(story)
    if story.deliveries:
        _heading("What the vendors were told")
    for row in story.deliveries:
        _print_delivery(row, story.attempts[row.id])
    for ask in story.asks:
        console.print(Text(f"asked {ask.provider} about {ask.subject}: {ask.state} {ask.reason}"))
    console.print()


def _print_customer(story: Story) -> None:
    _heading("Who, and which clicks")
    console.print(Text("  " + (", ".join(story.customer) or "nobody known")))
    for each in story.clicks:
        value = codec.dumps(each.value)
        console.print(Text(f"  {_at(each.captured_at)}  {each.vendor}  {value}"))


def _print_delivery(row: DeliveryRow, attempts: list[Attempt]) -> None:
    line = Text(f"  {row.vendor}: ", style="bold")
    line.append(f"{row.state}; told {told_words(row.told)}", style="not bold")
    console.print(line)
    if row.reason:
        console.print(Text(f"    {row.reason}"))
    for each in attempts:
        answered = f"answered {each.status}" if each.status else "no answer"
        call = each.call
        console.print(
            Text(f"    {_at(each.at)}  {each.call.step}  {answered}  → {each.outcome}", style="dim")
        )
        body = call.json if call.json is not None else dict(call.query)
        console.print(Text(f"      {call.method} {call.url} {codec.dumps(body)}", style="dim"))
        if each.answer:
            console.print(Text(f"      ← {' '.join(each.answer.split())[:300]}", style="dim"))


def _distinct(story: Story) -> list[Payment]:
    """Return each movement's reports once, in order of time."""
    seen = {(p.id, p.kind, p.state, p.amount, p.occurred_at): p for p in story.payments}
    return sorted(seen.values(), key=lambda each: (each.occurred_at, each.kind, each.id))


def _heading(text: str) -> None:
    console.print(Text(text, style="underline"))


def _at(moment: object) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"

"""demo: the whole bridge at work on this machine, without an account and without a network."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import requests

from bridge import codec, providers, sandbox
from bridge.cli import demo_stage as stage
from bridge.cli.fixture_files import FixtureFile, collect
from bridge.cli.output import (
    Column,
    print_heading,
    print_line,
    print_table,
    told_briefly,
)
from bridge.cli.replay import post
from bridge.config import Config
from bridge.errors import BridgeError
from bridge.model import Conversion
from bridge.store import Store
from bridge.store.rows import DeliveryRow, DeliveryState

QUIET_SECONDS = 60.0
ANSWERS = (Column("webhook"), Column("answer"))
DELIVERIES = (
    Column("vendor"),
    Column("credited", yields=1),
    Column("was told, in order"),
    Column("state"),
    Column("why", below=True),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """Hold one thing that happens in the demo: what it is, and the fixtures that tell of it."""

    title: str
    events: tuple[str, ...]
    clicked: bool = True


STORY = (
    Scene("A customer pays for a subscription", ("invoice_payment.paid", "invoice.paid")),
    Scene(
        "Stripe sends it again, and once more by another name",
        ("invoice.paid", "invoice.payment_succeeded"),
    ),
    Scene("Part of it is refunded", ("refund.created", "refund.updated", "charge.refunded")),
    Scene(
        "The customer's bank disputes it",
        ("charge.dispute.created", "charge.dispute.funds_withdrawn"),
    ),
    Scene("The dispute is won", ("charge.dispute.funds_reinstated", "charge.dispute.closed")),
    Scene("The subscription renews", ("invoice_payment.paid@renewal", "invoice.paid@renewal")),
    Scene("The renewal is refunded in full", ("refund.created@renewal-full",)),
    Scene("Another order: its refund arrives before its sale", ("refund.created@before-sale",)),
    Scene("… and then the sale", ("invoice_payment.paid@before-sale", "invoice.paid@before-sale")),
    Scene("Somebody pays who never clicked anything", ("invoice.paid@one-off",), clicked=False),
    Scene("Somebody tries things out in Stripe's test mode", ("invoice.paid@test",)),
)


@click.command()
@click.option("--keep", is_flag=True, help="Stay up afterwards, for looking around.")
def demo(keep: bool) -> None:
    """Show a payment's whole life: sandbox vendors, real signatures, real HTTP."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what was started, too
    with (
        tempfile.TemporaryDirectory(prefix="bridge-demo-") as folder,
        sandbox.serve_sandbox() as vendors,
        stage.setting(Path(folder), vendors.url) as config,
        stage.serving(Path(folder)) as url,
        stage.opened(config) as store,
    ):
        _play(config, store, url)
        _print_result(config, store)
        _check(store, vendors.ledger.as_json())
        if keep:
            _stay(Path(folder), url, vendors.url, store.orders.newest()[0].order)


# ── the story ────────────────────────────────────────────────────────────────────────────────────


def _play(config: Config, store: Store, url: str) -> None:
    """Let one scene after the other happen, and say what arrived and what it changed."""
    files = _fixtures()
    _store_clicks(config, url, files)
    print_heading("What arrives")
    seen: dict[str, str] = {}
    for number, scene in enumerate(STORY, 1):
        answers = list(post([files[name] for name in scene.events], config, url))
        stage.wait(lambda: _is_quiet(store), QUIET_SECONDS, "the vendors were not told in time")
        now = {each.order: _standing(each) for each in store.orders.newest()}
        changed = {order: words for order, words in now.items() if seen.get(order) != words}
        _print_scene(number, scene, [str(each["answer"]) for each in answers], changed)
        seen = now


def _fixtures() -> dict[str, FixtureFile]:
    names = {name for scene in STORY for name in scene.events}
    known = providers.discover()
    return {name: collect([f"providers/stripe/{name}"], known)[0] for name in names}


def _store_clicks(config: Config, url: str, files: Mapping[str, FixtureFile]) -> None:
    """Store, for every customer of the story, the clicks that a merchant's pages would have."""
    key = config.settings.api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value() if key else ''}"}
    clicked = {files[name].body for scene in STORY if scene.clicked for name in scene.events}
    for customer, sold_at in _customers(clicked).items():
        body = _click(customer, sold_at - timedelta(days=1))
        answer = requests.post(f"{url}/clicks", json=body, headers=headers, timeout=10)
        if answer.status_code != 201:
            raise BridgeError(f"the demo's clicks were refused: {answer.text}")


def _click(customer: str, at: datetime) -> dict[str, object]:
    tail = customer[-6:]
    return {
        "customer": {"stripe": customer},
        "clicks": {
            "taapit": f"tid_{tail}",
            "codeqr": f"clk_{tail}",
            "trackdesk": {"cid": f"2c1f6f0e-0000-4000-8000-{tail.encode().hex()}"},
            "tapfiliate": f"click_{tail}",
        },
        "context": {
            "ip": "203.0.113.7",
            "user_agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0",
            "url": "https://shop.example/?utm_source=newsletter",
        },
        "occurred_at": codec.iso(at),
    }


def _customers(bodies: Iterable[str]) -> dict[str, datetime]:
    """Return the customers of the story, with the time of their first event."""
    first: dict[str, datetime] = {}
    for each in bodies:
        body = codec.loads(each)
        customer = body["data"]["object"].get("customer")
        at = datetime.fromtimestamp(body["created"], UTC)
        if customer:
            first[customer] = min(at, first.get(customer, at))
    return first


def _is_quiet(store: Store) -> bool:
    if store.events.received(1):
        return False
    # Only now: processing an event makes its deliveries due in the same transaction.
    states = {state for counts in store.deliveries.count().values() for state in counts}
    return not states & {DeliveryState.DUE, DeliveryState.SENDING}


def _standing(conversion: Conversion) -> str:
    return f"{conversion.value} to credit ({conversion.status})"


# ── what a merchant sees ─────────────────────────────────────────────────────────────────────────


def _print_scene(number: int, scene: Scene, answers: list[str], changed: Mapping[str, str]) -> None:
    print_line()
    print_line(f"{number}. {scene.title}", style="bold")
    for name, answer in zip(scene.events, answers, strict=True):
        print_line(f"{name}: {answer}", style="dim", indent=4)
    for order, words in changed.items():
        print_line(f"→ {order}: {words}", indent=4)
    if not changed:
        print_line("→ nothing changes", indent=4)


def _print_result(config: Config, store: Store) -> None:
    print_heading("Who was credited, what each vendor was told, and what was skipped")
    for conversion in reversed(store.orders.newest()):
        print_line()
        print_line(f"{conversion.order}, customer {conversion.customer}", style="bold")
        print_line(
            f"{conversion.paid} paid, {conversion.taken_back} taken back: {_standing(conversion)}",
            indent=2,
        )
        _print_deliveries(config, store, conversion)


def _print_deliveries(config: Config, store: Store, conversion: Conversion) -> None:
    rows = store.deliveries.of_conversion(conversion.id)
    reasons = {row.reason for row in rows}
    if len(reasons) == 1 and all(row.told.nothing for row in rows):
        print_line(f"no vendor was told: {reasons.pop()}", indent=2)
        return
    cells = [
        (
            config.vendors[row.vendor].title,
            next(iter(conversion.clicks.get(row.vendor, {}).values()), "")[:14],
            _history(store, row),
            row.state,
            row.reason,
        )
        for row in rows
    ]
    print_table(DELIVERIES, cells, indent=2)


def _history(store: Store, row: DeliveryRow) -> str:
    """Say what a vendor was told, in order: "49.00 EUR → 32.19 EUR → taken back"."""
    accepted = [each for each in store.deliveries.attempts(row.id) if each.outcome == "accepted"]
    words = [told_briefly(each.call.tells) for each in accepted if not each.call.asks]
    return " → ".join(words) or "nothing"


def _check(store: Store, held: Mapping[str, Mapping[str, list[object]]]) -> None:
    """Compare what the vendors hold with what they were told; raise if it did not go well."""
    rows = store.deliveries.newest()
    problems = [row for row in rows if row.state not in {"settled", "skipped"}]
    for row in problems:
        print_line(f"{row.id} is {row.state}: {row.reason}", style="red")
    credited = Counter(row.vendor for row in rows if row.told.status)
    sales = {name: len(each["sales"]) for name, each in held.items()}
    if problems or sales != dict(credited):
        raise BridgeError("the demo did not end well: a vendor holds something else than it should")
    print_line()
    counts = ", ".join(f"{name} {count}" for name, count in sales.items())
    print_line(f"Sales at the vendors: {counts}. None twice, none missing.", style="green")


def _program() -> str:
    """Return what to type for `bridge` in any other terminal."""
    own = Path(sys.argv[0]).absolute()
    if own.name != "bridge":
        return f"{sys.executable} -m bridge"
    return "bridge" if shutil.which("bridge") == str(own) else str(own)


def _stay(folder: Path, url: str, vendors_url: str, order: str) -> None:
    """Stay up until SIGINT or SIGTERM."""
    program = _program()
    print_heading("Look around, in another terminal")
    for line in (
        f"cd {folder}    # its settings are in .env there",
        f"{program} conversions",
        f"{program} deliveries --state skipped",
        f"{program} show {order}",
        f"{program} replay invoice.paid@jpy --fresh-ids --to {url}",
    ):
        click.echo(f"  {line}")  # whole, however long: it is to be copied
    print_line(f"The bridge is at {url}, what the vendors hold at {vendors_url}/ledger.")
    print_line("Ctrl-C ends it and removes everything.")
    sys.stdout.flush()
    try:
        signal.pause()
    except KeyboardInterrupt:
        print_line()

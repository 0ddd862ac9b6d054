"""demo: the whole bridge at work on this machine, without an account and without a network."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import requests

from bridge import codec, sandbox
from bridge.cli import demo_stage as stage
from bridge.cli.demo_story import STORY, Scene, customers, fixtures
from bridge.cli.output import (
    Column,
    print_heading,
    print_line,
    print_table,
    say,
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


@click.command()
@click.option("--keep", is_flag=True, help="Stay up afterwards, for looking around.")
def demo(keep: bool) -> None:
    """Show a payment's whole life, with sandbox vendors.

    The signatures are real, and so is the HTTP.
    """
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
            _stay(Path(folder), url, vendors.url, store.orders.newest()[-1].order)


# ── the story ────────────────────────────────────────────────────────────────────────────────────


def _play(config: Config, store: Store, url: str) -> None:
    """Let one scene after the other happen, and say what arrived and what it changed."""
    files = fixtures()
    _store_clicks(config, url, customers(config, files))
    seen: dict[str, str] = {}
    teller = ""
    for number, scene in enumerate(STORY, 1):
        if scene.provider != teller:
            teller = scene.provider
            print_heading(f"What arrives from {config.providers[teller].title}")
        answers = list(post([files[name] for name in scene.fixtures], config, url))
        stage.wait(lambda: _is_quiet(store), QUIET_SECONDS, "the vendors were not told in time")
        now = {each.order: _news(each) for each in store.orders.newest()}
        changed = {order: words for order, words in now.items() if seen.get(order) != words}
        _print_scene(number, scene, [str(each["answer"]) for each in answers], changed)
        seen = now


def _store_clicks(config: Config, url: str, clicked: Mapping[tuple[str, str], datetime]) -> None:
    """Store, for every customer who came by a click, what a merchant's pages would have."""
    key = config.settings.api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value() if key else ''}"}
    for (provider, customer), sold_at in clicked.items():
        body = _click(provider, customer, sold_at - timedelta(days=1))
        answer = requests.post(f"{url}/clicks", json=body, headers=headers, timeout=10)
        if answer.status_code != 201:
            raise BridgeError(f"the demo's clicks were refused: {answer.text}")


def _click(provider: str, customer: str, at: datetime) -> dict[str, object]:
    tail = customer[-6:]
    return {
        "customer": {provider: customer},
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


def _is_quiet(store: Store) -> bool:
    if store.events.received(1):
        return False
    # Only now: processing an event makes its deliveries due in the same transaction.
    states = {state for counts in store.deliveries.count().values() for state in counts}
    return not states & {DeliveryState.DUE, DeliveryState.SENDING}


def _standing(conversion: Conversion) -> str:
    return f"{conversion.value} to credit ({conversion.status})"


def _news(conversion: Conversion) -> str:
    if conversion.redacted:
        return f"{conversion.value}, customer forgotten"
    return _standing(conversion)


def _whose(conversion: Conversion) -> str:
    if conversion.customer == conversion.order:
        return "customer forgotten" if conversion.redacted else "no customer"
    return f"customer {conversion.customer}"


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
    told_of = [scene.provider for scene in STORY]
    newest = sorted(
        store.orders.newest(),
        key=lambda each: (told_of.index(each.provider), each.occurred_at, each.id),
    )
    for conversion in newest:
        title = config.providers[conversion.provider].title
        print_line()
        print_line(f"{title} {conversion.order}, {_whose(conversion)}", style="bold")
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
    """Say what a vendor was told, in order: "49.00 → 32.19 EUR → taken back"."""
    accepted = [each for each in store.deliveries.attempts(row.id) if each.outcome == "accepted"]
    words = [told_briefly(each.call.tells) for each in accepted if not each.call.asks]
    # An order has one currency: the last of its amounts names it.
    amounts = [at for at, word in enumerate(words) if word[:1].isdigit()]
    for at in amounts[:-1]:
        words[at] = words[at].partition(" ")[0]
    return " → ".join(words) or "nothing"


def _check(store: Store, held: Mapping[str, Mapping[str, list[Any]]]) -> None:
    """Compare what the vendors hold with what they were told; raise if it did not go well."""
    rows = store.deliveries.newest(limit=1000)
    problems = [row for row in rows if row.state not in {"settled", "skipped"}]
    for row in problems:
        print_line(f"{row.id} is {row.state}: {row.reason}", style="red")
    orders = {each.id: each.order for each in store.orders.newest(limit=1000)}
    told = Counter(
        (row.vendor, row.told.known_as or orders[row.conversion]) for row in rows if row.told.status
    )
    sales = Counter((name, sale["order"]) for name, each in held.items() for sale in each["sales"])
    for vendor, order in (sales - told) + (told - sales):
        print_line(f"{vendor} holds {order} {sales[vendor, order]} times", style="red")
    if problems or sales != told:
        raise BridgeError("the demo did not end well: a vendor holds something else than it should")
    print_line()
    counts = Counter(vendor for vendor, _ in sales.elements())
    words = ", ".join(f"{name} {counts[name]}" for name in held)
    print_line(f"Sales at the vendors: {words}. None twice, none missing.", style="green")


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
        f"{program} replay invoice.paid@jpy orders/paid@jpy --fresh-ids --to {url}",
    ):
        say(f"  {line}")  # whole, however long: it is to be copied
    print_line(f"The bridge is at {url}, what the vendors hold at {vendors_url}/ledger.")
    print_line("Ctrl-C ends it and removes everything.")
    sys.stdout.flush()
    try:
        signal.pause()
    except KeyboardInterrupt:
        print_line()

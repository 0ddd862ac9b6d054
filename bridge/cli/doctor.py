"""doctor: the settings as they are understood, the state of things, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import click

from bridge import config as settings
from bridge import provider_api, providers
from bridge.cli.output import Column, print_json, print_line, print_table, shown_time, some
from bridge.cli.session import Plain, as_json, require_kept
from bridge.config import Config
from bridge.errors import ConfigError, StoreError
from bridge.gate import Breaker
from bridge.logs import SHORTEST_IN_IDS
from bridge.model import Status
from bridge.outbox import utc_now
from bridge.store import Store, open_store_of
from bridge.store.rows import EventState
from bridge.vault import Vault
from bridge.web import script

# By then a worker has processed an event, if one runs.
SOON = timedelta(minutes=1)
SETTINGS = (Column("setting"), Column("value", most=40), Column("meaning", yields=1))


@click.command()
@as_json
def doctor(json_: bool) -> None:
    """Check settings and database, and say what needs a person.

    Exit code 1 on an error.
    """
    config = settings.load()
    store = open_store_of(config)
    rows = [
        (each.name, config.value_of(each) or "", each.meaning) for each in settings.known_settings()
    ]
    wrong, counts = _check_store(store, config)
    advice = [*advice_on_settings(config), *(() if wrong else _advice_on_work(config, store))]
    store.close()
    if json_:
        print_json(_report(rows, wrong, counts, advice))
    else:
        _print_report(config, rows, wrong, counts, advice)
    if wrong:
        raise click.exceptions.Exit(1)


def _check_store(store: Store, config: Config) -> tuple[list[str], Plain]:
    try:
        require_kept(config)
        store.check(writable=True)
        Vault(store, config)
    except (StoreError, ConfigError) as error:
        return [str(error)], {}
    counts: Plain = {
        "events": store.events.count(),
        "conversions": store.orders.count(),
        "deliveries": store.deliveries.count(),
        "breakers": {
            name: str(store.gates.get(name).breaker(utc_now())) for name in config.vendors
        },
        **store.customers.count(),
    }
    return [], counts


def advice_on_settings(config: Config) -> Iterator[str]:
    """Yield what a merchant may have forgotten to set."""
    if not config.providers:
        yield f"no provider is configured: set {_ways_in()}"
    for provider in config.providers.values():
        yield from provider.advice()
    if not config.vendors:
        yield "no vendor is configured: nothing will be delivered"
    if config.settings.api_key is None:
        yield "POST /clicks is off: set BRIDGE_API_KEY"
    if config.settings.secret_key is None:
        yield (
            "hashes of e-mail addresses are keyed with a key that lies beside them: "
            "set BRIDGE_SECRET_KEY"
        )
    yield from _advice_on_keys(config)
    if config.settings.publishable_key and not config.settings.trusted_proxies:
        yield (
            "behind a proxy (Heroku and Render have one) every visitor has its address: "
            "set BRIDGE_TRUSTED_PROXIES=1 there"
        )
    if config.settings.dry_run:
        yield "BRIDGE_DRY_RUN is on: nothing is sent"


def _advice_on_keys(config: Config) -> Iterator[str]:
    """Say which keys that a merchant makes up are too short to be any."""
    key = config.settings.api_key
    chosen = {
        "BRIDGE_API_KEY": [key.get_secret_value()] if key else [],
        "BRIDGE_SECRET_KEY": config.settings.secret_keys(),
    }
    for name, keys in chosen.items():
        if any(len(each) < SHORTEST_IN_IDS for each in keys):
            yield (
                f"{name} has fewer than {SHORTEST_IN_IDS} characters, and may be guessed: "
                "`openssl rand -hex 24` makes a better one"
            )


def _advice_on_work(config: Config, store: Store) -> Iterator[str]:
    yield from _advice_on_events(store)
    yield from _advice_on_parked(config, store)
    for ask in store.asks.troubled()[:3]:
        yield f"{ask.provider} was asked about {ask.subject}: {ask.reason}"
    yield from _advice_on_vendors(config, store)
    yield from _advice_on_deliveries(config, store)


def _advice_on_events(store: Store) -> Iterator[str]:
    events = store.events.count()
    if failed := events.get(EventState.FAILED):
        yield f"{some(failed, 'event')} could not be processed: `bridge events --state failed`"
    for key in store.events.received(1):
        oldest = store.events.get(key)
        if oldest and utc_now() - oldest.received_at > SOON:
            waiting = some(events[EventState.RECEIVED], "event waits", "events wait")
            yield f"{waiting} since {shown_time(oldest.received_at)}: is a worker running?"
    for row in store.events.newest(EventState.WAITING, 1):
        waiting = some(events[EventState.WAITING], "event waits", "events wait")
        yield f"{waiting}, the newest of them because {row.reason}"


def _advice_on_deliveries(config: Config, store: Store) -> Iterator[str]:
    for vendor, states in store.deliveries.count().items():
        if unknown := states.get("unknown"):
            count = some(unknown, "delivery", "deliveries")
            yield (
                f"{count} to {vendor} may or may not have been counted: "
                "`bridge deliveries --state unknown`, then `bridge resolve`"
            )
        if dead := states.get("dead"):
            count = some(dead, "delivery", "deliveries")
            yield f"{count} to {vendor} came to nothing: `bridge deliveries --state dead`"
        if vendor not in config.vendors and (due := states.get("due")):
            waiting = some(due, "delivery waits", "deliveries wait")
            yield f"{waiting} for {vendor}, which is not configured any more"


def _advice_on_vendors(config: Config, store: Store) -> Iterator[str]:
    for vendor in config.vendors:
        gate = store.gates.get(vendor)
        if gate.breaker(utc_now()) is Breaker.OPEN:
            until = shown_time(gate.paused_until)
            at_once = f"`bridge retry --state due --vendor {vendor}` tries at once"
            yield f"{vendor} is not called until {until} ({gate.reason}): {at_once}"
        elif gate.paused_until:
            yield f"{vendor} failed ({gate.reason}); the next call that is due there tries again"


def _advice_on_parked(config: Config, store: Store) -> Iterator[str]:
    parked, known = store.orders.newest(Status.PARKED, 100_000), providers.discover()
    for name in sorted({each.provider for each in parked}):
        count = sum(each.provider == name for each in parked)
        title = known[name].title if name in known else name
        yield (
            f"{some(count, 'order')} of {title} had money taken back, but the sale never arrived: "
            f"{_remedy(config, name)} (`bridge conversions --status parked`)"
        )


def _remedy(config: Config, name: str) -> str:
    """Say how the sale that a parked order lacks can still be had."""
    known = providers.discover()
    if name not in known:
        return "this version of bridge does not know that provider"
    provider = config.providers.get(name)
    if provider is not None and provider_api.can_ask(provider):
        return "it is being asked for"
    if key := provider_api.key_setting(name, provider):
        return f"set {key} to ask"
    return f"have its webhook sent again from {known[name].title}"


def _ways_in() -> str:
    """Name what switches each provider on."""
    known = providers.discover()
    names = [
        each.name for each in settings.known_settings() if each.required and each.owner in known
    ]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _report(
    rows: list[tuple[str, str, str]], wrong: list[str], counts: Plain, advice: list[str]
) -> Plain:
    return {
        "settings": {name: value for name, value, _ in rows if value},
        "errors": wrong,
        "counts": counts,
        "advice": advice,
    }


def _print_report(
    config: Config,
    rows: list[tuple[str, str, str]],
    wrong: list[str],
    counts: Plain,
    advice: list[str],
) -> None:
    print_table(SETTINGS, [row for row in rows if row[1]])
    print_line()
    print_line(f"providers: {', '.join(config.providers) or 'none'}")
    print_line(f"vendors: {', '.join(config.vendors) or 'none'}")
    if key := config.settings.publishable_key:
        print_line(f"script tag: {script.tag('https://YOUR-BRIDGE', key, config.vendors)}")
    for name, count in counts.items():
        print_line(f"{name}: {_words(count)}")
    print_line()
    for each in wrong:
        print_line(f"✗ {each}", style="red")
    for each in advice:
        print_line(f"! {each}", style="yellow")
    if not wrong and not advice:
        print_line("✓ all is well", style="green")


def _words(count: object) -> str:
    if not isinstance(count, dict):
        return str(count)
    return ", ".join(_counted(name, each) for name, each in count.items()) or "none"


def _counted(name: str, count: object) -> str:
    if isinstance(count, dict):
        return f"{name} ({_words(count)})"
    return f"{name} {count}" if isinstance(count, str) else f"{count} {name}"

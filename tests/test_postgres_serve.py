"""Web and worker processes on PostgreSQL, several of each, and a server that is restarted."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import postgres
import pytest
import requests
from kit import STRIPE
from running import SETTINGS, Running, post_click, running, serving, until, vendors_at
from test_serve import DEFAULT, REFUND, _latency, assert_each_holds_it_once, sales, vendors

from bridge import config
from bridge.cli.fixture_files import collect
from bridge.cli.replay import post
from bridge.sandbox import RunningSandbox
from bridge.store import Store, open_store

__all__ = ["vendors"]  # a fixture


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", SETTINGS["STRIPE_WEBHOOK_SECRET"])
    return postgres.empty()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = open_store(url)
    yield store
    store.close()


def answers(server: Running, name: str) -> set[int]:
    """Send a fixture as Stripe does; return what it is answered."""
    files = collect([str(STRIPE / name)], ["stripe"])
    return {answer["status"] for answer in post(files, config.load(), server.url)}


def settled(store: Store) -> bool:
    if store.events.received(1):  # what comes of them is due before they are processed
        return False
    return not {"due", "sending"} & {row.state for row in store.deliveries.newest()}


@contextmanager
def bridges(folder: Path, settings: Mapping[str, str], each: int) -> Iterator[list[Running]]:
    """Run so many web processes, and as many workers; at the end all end well."""
    with ExitStack() as stack:
        webs = [stack.enter_context(serving(folder, settings, command="web")) for _ in range(each)]
        workers = [
            stack.enter_context(running("work", settings=settings, folder=folder))
            for _ in range(each)
        ]
        for worker in workers:
            until(partial(is_working, worker), "a worker to work")
        yield webs
        ends = [one.end() for one in (*webs, *workers)]
        assert ends == [0] * len(ends)


def is_working(worker: Running) -> bool:
    return "working" in worker.said()


@pytest.mark.parametrize("listen", ["1", "0"])
def test_several_of_each_tell_all_once(
    tmp_path: Path, vendors: RunningSandbox, url: str, store: Store, listen: str
) -> None:
    settings = vendors_at(vendors.url) | {"DATABASE_URL": url, "BRIDGE_DATABASE_LISTEN": listen}
    with bridges(tmp_path, settings, 2) as webs:
        post_click(webs[0].url)
        timed = 7 if listen == "1" else 3
        latencies = [_latency(store, webs[at % 2], each) for at, each in enumerate(DEFAULT[:timed])]
        # Who is not woken looks every second, and without a bell every 5 seconds.
        assert statistics.median(latencies) < (1 if listen == "1" else 3)
        for at, name in enumerate(("invoice.paid", *REFUND)):
            assert answers(webs[at % 2], name) == {200}
        until(partial(settled, store), "all to be told")
        assert set(map(len, sales(vendors).values())) == {1}


@pytest.mark.skipif(bool(postgres.GIVEN), reason="a server that is not ours is not stopped")
def test_a_server_that_is_restarted_costs_no_webhook(
    tmp_path: Path, vendors: RunningSandbox, url: str, store: Store
) -> None:
    with bridges(tmp_path, vendors_at(vendors.url) | {"DATABASE_URL": url}, 1) as (web,):
        post_click(web.url)
        postgres.server().stop()
        try:
            assert answers(web, "invoice.paid") == {503}
            assert requests.get(f"{web.url}/readyz", timeout=30).status_code == 503
        finally:
            postgres.server().start()
        until(lambda: answers(web, "invoice.paid") == {200}, "the webhook to be taken")
        until(lambda: settled(store) and store.deliveries.newest(), "all to be told")
        assert_each_holds_it_once(vendors)

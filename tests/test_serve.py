"""`bridge serve`, `web` and `work` as real processes: started, stopped, killed and restarted."""

from __future__ import annotations

import json
import random
import signal
import socket
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from kit import STRIPE, VENDOR_SETTINGS
from psutil import Process
from running import (
    CLICK,
    SETTINGS,
    Running,
    free_port,
    is_alive,
    is_ready,
    kill,
    post_click,
    run,
    running,
    serving,
    until,
    vendors_at,
)

from bridge import codec, config
from bridge.cli.fixture_files import collect
from bridge.cli.processes import PROCESSOR
from bridge.cli.replay import post
from bridge.sandbox import RunningSandbox, serve_sandbox
from bridge.store import open_store
from bridge.store.rows import EventState

SALE = "in_1QNjVgZk4Tp9WvLqVyR24PLZ"
REFUND = ("invoice_payment.paid", "refund.created", "refund.updated", "charge.refunded")
DEFAULT = [each.name for each in sorted(STRIPE.iterdir()) if "@" not in each.name]


@pytest.fixture
def vendors() -> Iterator[RunningSandbox]:
    with serve_sandbox() as sandbox:
        yield sandbox


def replay(server: Running, *names: str, folder: Path) -> None:
    """Send fixtures as a merchant's engineer would."""
    paths = [STRIPE / name for name in names]
    ended = run("replay", *paths, "--to", server.url, folder=folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def settle(folder: Path) -> None:
    """Wait until every event is processed and every vendor is told."""
    store = open_store(f"sqlite:///{folder / 'bridge.db'}")
    try:
        until(lambda: not store.events.received(1), "the events to be processed")
        until(
            lambda: not {"due", "sending"} & {row.state for row in store.deliveries.newest()},
            "the vendors to be told",
        )
    finally:
        store.close()


def sales(vendors: RunningSandbox) -> dict[str, list[dict[str, Any]]]:
    """Return what every vendor holds of the sale of invoice.paid."""
    return {
        name: [sale for sale in account["sales"] if sale["order"] == SALE]
        for name, account in vendors.ledger.as_json().items()
    }


def assert_each_holds_it_once(vendors: RunningSandbox, **amounts: str) -> None:
    for name, held in sales(vendors).items():
        expected = (amounts.get(name, "49.00"), "EUR", "approved")
        assert [(each["amount"], each["currency"], each["status"]) for each in held] == [expected]


# ── the main story ───────────────────────────────────────────────────────────────────────────────


def test_each_vendor_holds_the_one_right_sale(tmp_path: Path, vendors: RunningSandbox) -> None:
    with serving(tmp_path, vendors_at(vendors.url)) as server:
        post_click(server.url)
        replay(server, "invoice.paid", folder=tmp_path)
        settle(tmp_path)
        assert_each_holds_it_once(vendors)
        clicks = {name: held[0]["click"] for name, held in sales(vendors).items()}
        assert clicks.items() >= CLICK["clicks"].items()  # type: ignore[attr-defined]

        replay(server, *REFUND, folder=tmp_path)
        settle(tmp_path)
        # Only Tapfiliate can be told a smaller amount; the others are left as they are, and it says
        # so. Nobody is told anything twice.
        assert_each_holds_it_once(vendors, tapfiliate="32.19")
        assert {held[0]["told"] for held in sales(vendors).values()} == {1, 2}

        before = None
        for seed in range(3):
            names = random.Random(seed).sample(DEFAULT, len(DEFAULT))  # noqa: S311
            replay(server, *names, folder=tmp_path)
            settle(tmp_path)
            assert_each_holds_it_once(vendors, tapfiliate="32.19")
            assert before in {None, json.dumps(vendors.ledger.as_json())}
            before = json.dumps(vendors.ledger.as_json())
        assert server.end() == 0


def test_a_sale_acknowledged_by_a_killed_web_arrives_once(
    tmp_path: Path, vendors: RunningSandbox
) -> None:
    settings = vendors_at(vendors.url)
    with serving(tmp_path, settings, command="web") as web:
        post_click(web.url)
        replay(web, "invoice.paid", folder=tmp_path)
        web.end(signal.SIGKILL)
    assert sales(vendors)["taapit"] == []
    with serving(tmp_path, settings):
        until(lambda: sales(vendors)["taapit"], "the sale to arrive")
        settle(tmp_path)
    assert_each_holds_it_once(vendors)


def test_a_sale_that_no_vendor_could_take_before_a_kill_arrives_once(
    tmp_path: Path, vendors: RunningSandbox
) -> None:
    port = free_port()
    with serving(tmp_path, vendors_at(f"http://127.0.0.1:{free_port()}"), port=port) as server:
        post_click(server.url)
        replay(server, "invoice.paid", folder=tmp_path)
        until(lambda: _failed_once(tmp_path), "every vendor to have refused the connection")
        server.end(signal.SIGKILL)
    with serving(tmp_path, vendors_at(vendors.url), port=port):
        retried = run("retry", "--state", "due", folder=tmp_path)
        assert retried.returncode == 0, retried.stderr
        until(lambda: all(sales(vendors).values()), "the sale to arrive")
        settle(tmp_path)
    assert_each_holds_it_once(vendors)


def _failed_once(folder: Path) -> bool:
    listed = run("deliveries", "--json", folder=folder)
    rows = json.loads(listed.stdout)
    return bool(rows) and all(row["attempts"] and row["state"] == "due" for row in rows)


def test_web_and_worker_apart_wake_each_other(tmp_path: Path, vendors: RunningSandbox) -> None:
    settings = vendors_at(vendors.url)
    url = f"sqlite:///{tmp_path / 'bridge.db'}"
    with (
        serving(tmp_path, settings, command="web") as web,
        running("work", settings=settings, folder=tmp_path) as worker,
    ):
        until(lambda: "working" in worker.said(), "the worker to work")
        store = open_store(url)
        latencies = [_latency(store, web, name) for name in DEFAULT[:10]]
        store.close()
        # Without the bell a worker looks every 5 seconds.
        assert statistics.median(latencies) < 1
        assert worker.end() == 0
        assert web.end() == 0


def _latency(store: Any, web: Running, name: str) -> float:
    """Send a webhook, and return how long after its acknowledgement it was processed."""
    files = collect([str(STRIPE / name)], ["stripe"])
    (event,) = [codec.loads(file.body)["id"] for file in files]
    for _ in post(files, config.load(), web.url):
        acknowledged = time.monotonic()
    until(lambda: store.events.find(event)[0].state is not EventState.RECEIVED, "processing")
    return time.monotonic() - acknowledged


@pytest.fixture(autouse=True)
def _signing_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", SETTINGS["STRIPE_WEBHOOK_SECRET"])


# ── stopping ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["SIGTERM", "SIGINT", "Ctrl-C"])
def test_it_stops_in_order(tmp_path: Path, way: str) -> None:
    with serving(tmp_path) as server:
        assert f"bridge listens on {server.url}" in server.said()
        all_of_it = [server.worker(), server.processor(), server.web()]
        started = time.monotonic()
        code = server.interrupt() if way == "Ctrl-C" else server.end(signal.Signals[way])
        assert code == 0
        assert time.monotonic() - started < 15
        assert not any(map(is_alive, all_of_it))
        assert "error" not in server.said().lower()
        assert "Traceback" not in server.said()


def test_a_request_in_flight_is_answered(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        body = json.dumps(CLICK).encode()
        head = (
            "POST /clicks HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            f"Authorization: Bearer {SETTINGS['BRIDGE_API_KEY']}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(address, 30) as request:
            request.sendall(head.encode())
            assert request.recv(1024).startswith(b"HTTP/1.1 100 ")  # it waits for the body
            server.process.send_signal(signal.SIGTERM)
            until(lambda: not _is_open(address), "no more requests to be taken")
            request.sendall(body)
            assert request.recv(1024).startswith(b"HTTP/1.1 201 ")
        assert server.wait() == 0


def _is_open(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


@pytest.mark.parametrize("command", ["web", "work", "sandbox"])
def test_the_others_stop_in_order_too(tmp_path: Path, command: str) -> None:
    run("migrate", folder=tmp_path)
    port = () if command == "work" else ("--port", str(free_port()))
    for way in (Running.end, Running.interrupt):
        with running(command, *port, settings=SETTINGS, folder=tmp_path) as one:
            until(one.said, "its first words")
            assert way(one) == 0, one.said()
            assert "Traceback" not in one.said()


# ── killing ──────────────────────────────────────────────────────────────────────────────────────


def kill_and_wait(process: Process) -> None:
    kill(process)
    until(lambda: not is_alive(process), "it to be killed")


def test_a_killed_server_leaves_nothing_behind_and_its_port_free(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        left = [server.worker(), server.processor(), server.web()]
        port = int(server.url.rpartition(":")[2])
        server.end(signal.SIGKILL)
        with serving(tmp_path, port=port) as again:
            until(lambda: not any(map(is_alive, left)), "the old processes to end")
            assert is_ready(again)


def test_a_server_killed_at_its_start_leaves_nothing_behind(tmp_path: Path) -> None:
    port = ("--port", str(free_port()))
    with running("serve", *port, settings=SETTINGS, folder=tmp_path) as server:
        (worker,) = until(lambda: server.children(" work "), "a worker")
        server.end(signal.SIGKILL)
        until(lambda: not is_alive(worker), "the worker to end")


def test_a_killed_worker_is_replaced_and_works(tmp_path: Path, vendors: RunningSandbox) -> None:
    with serving(tmp_path, vendors_at(vendors.url)) as server:
        killed = server.worker()
        kill_and_wait(killed)
        post_click(server.url)
        replay(server, "invoice.paid", folder=tmp_path)
        settle(tmp_path)
        assert_each_holds_it_once(vendors)
        assert server.worker() != killed
        assert "event=ended part=worker" in server.said()
        assert server.end() == 0


def test_a_killed_processor_is_replaced_and_works(tmp_path: Path, vendors: RunningSandbox) -> None:
    run("migrate", folder=tmp_path)
    settings = vendors_at(vendors.url)
    with (
        serving(tmp_path, settings, command="web") as web,
        running("work", settings=settings, folder=tmp_path) as worker,
    ):
        killed = worker.processor()
        kill_and_wait(killed)
        post_click(web.url)
        replay(web, "invoice.paid", folder=tmp_path)
        until(lambda: sales(vendors)["taapit"], "the sale to arrive")
        settle(tmp_path)
        assert_each_holds_it_once(vendors)
        assert worker.processor() != killed
        assert "event=ended part=processor" in worker.said()
        assert worker.end() == 0


def test_a_worker_whose_processor_cannot_live_ends_and_says_so(tmp_path: Path) -> None:
    run("migrate", folder=tmp_path)
    with running("work", settings=SETTINGS, folder=tmp_path) as worker:
        for _ in range(PROCESSOR.starts or 0):
            kill_and_wait(worker.processor())
        assert worker.wait() == 1
        assert "Error: its processor ended 5 times in a row" in worker.said()


def test_a_killed_worker_leaves_no_processor_behind(tmp_path: Path) -> None:
    run("migrate", folder=tmp_path)
    with running("work", settings=SETTINGS, folder=tmp_path) as worker:
        left = worker.processor()
        worker.end(signal.SIGKILL)
        until(lambda: not is_alive(left), "the processor to end")


def test_a_killed_web_is_replaced_and_answers(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        killed = server.web()
        kill_and_wait(killed)
        until(lambda: is_ready(server), "another web")
        assert server.web() != killed
        assert server.end() == 0


# ── starting ─────────────────────────────────────────────────────────────────────────────────────


def refusal(*arguments: str, folder: Path, **settings: str) -> str:
    """Run a server that cannot start; return the one line in which it says why."""
    ended = run(*arguments, settings=SETTINGS | settings, folder=folder)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"DATABASE_URL": "sqlite:///missing/x.db"}, "missing/x.db: unable to open database file"),
        ({"DATABASE_URL": "sqlite:///file/x.db"}, "check DATABASE_URL"),
        ({"DATABASE_URL": "sqlite:///file"}, "file is not a database"),
        ({"DATABASE_URL": "mysql://localhost/x"}, "DATABASE_URL begins with 'mysql'"),
        ({"TRACKDESK_TENANT_ID": "x"}, "also set TRACKDESK_REVENUE_ORIGIN_ID"),
        ({"BRIDGE_ATTRIBUTION_DAYS": "many"}, "BRIDGE_ATTRIBUTION_DAYS"),
        ({"HOST": "192.0.2.1"}, "192.0.2.1 cannot be used"),
    ],
)
def test_what_stands_in_its_way_is_one_clear_line(
    tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    (tmp_path / "file").write_text("This is no database, but a text that is long enough.")
    line = refusal("serve", "--port", str(free_port()), folder=tmp_path, **settings)
    assert words in line


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for command in ("serve", "web", "sandbox"):
            line = refusal(command, "--port", port, folder=tmp_path)
            assert f"port {port} on 127.0.0.1 is in use" in line


def test_a_worker_says_that_its_database_is_not_migrated(tmp_path: Path) -> None:
    assert "run `bridge migrate`" in refusal("work", folder=tmp_path)


def test_a_platforms_port_is_listened_at_from_everywhere(tmp_path: Path) -> None:
    port = str(free_port())
    for host, address in (("", "0.0.0.0"), ("127.0.0.1", "127.0.0.1")):  # noqa: S104
        settings = SETTINGS | VENDOR_SETTINGS | {"PORT": port, "HOST": host}
        with running("web", settings=settings, folder=tmp_path) as web:
            web.url = f"http://127.0.0.1:{port}"
            until(partial(is_ready, web), "the web to be ready")
            assert web.said() == f"bridge listens on http://{address}:{port}\n"
            assert requests.get(f"{web.url}/healthz", timeout=30).json() == {"status": "ok"}
            assert web.end() == 0

"""Does one vendor that is down slow the others? python -m benchmarks.isolation [ROUNDS] [SALES]

Each round runs a bridge without CodeQR, one with CodeQR well, one with CodeQR refusing every
connection, and one with CodeQR taking every call and answering none (each waits for its time-out of
25 seconds), in turn, and sends each the same sales at a steady pace. Prints for each the median
time from the webhook being stored to the call being accepted, over the other four vendors, and the
ratios to the run without CodeQR and to that with CodeQR well, of the same round.
"""

from __future__ import annotations

import socket
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import sales, stage

DOWN = "codeqr"
OTHERS = [name for name in stage.VENDORS if name != DOWN]
MODES = ("not there", "well", "refuses", "hangs")
BASES = ("not there", "well")
PACE_SECONDS = 0.1
TIMES = """
    SELECT (julianday(attempts.at) - julianday(events.received_at)) * 86400000
    FROM attempts
    JOIN deliveries ON deliveries.id = attempts.delivery
    JOIN conversions ON conversions.id = deliveries.conversion
    JOIN events ON events.id = 'evt_' || substr(conversions.id, 11)
    WHERE attempts.outcome = 'accepted' AND deliveries.vendor = ?
"""
LEFT = "SELECT count(*) FROM deliveries WHERE state != 'settled' AND vendor != ?"
ALL = "SELECT count(*) FROM deliveries WHERE vendor != ?"


def main(rounds: int, count: int) -> None:
    """Print the table."""
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory(prefix="bridge-isolation-") as name, hanging() as hangs:
        folder = Path(name)
        nobody = f"http://127.0.0.1:{stage.free_port()}"
        settings: dict[str, dict[str, str]] = {
            "not there": {f"{DOWN.upper()}_BASE_URL": "", f"{DOWN.upper()}_API_KEY": ""},
            "well": {},
            "refuses": {f"{DOWN.upper()}_BASE_URL": nobody},
            "hangs": {f"{DOWN.upper()}_BASE_URL": hangs},
        }
        with stage.sandbox(folder) as vendors:
            for number in track(range(rounds), "rounds", transient=True):
                for mode, medians in found.items():
                    place = folder / f"{number}-{mode.replace(' ', '-')}"
                    medians.append(measure(place, vendors, count, settings[mode]))
    show(found)


def measure(folder: Path, vendors: str, count: int, settings: dict[str, str]) -> dict[str, float]:
    """Return each other vendor's median time in milliseconds."""
    requests.delete(f"{vendors}/ledger", timeout=10).raise_for_status()
    bridge = stage.Bridge(folder, stage.all_vendors(vendors) | settings)
    with bridge.serve() as url:
        shop = Shop(url)
        for _ in range(count):
            shop.sell()
            time.sleep(PACE_SECONDS)
        with closing(sqlite3.connect(bridge.path, isolation_level=None)) as db:
            stage.wait(lambda: _is_told(db, count), "the other vendors to be told")
            return {
                vendor: statistics.median(row[0] for row in db.execute(TIMES, [vendor]))
                for vendor in OTHERS
            }


def _is_told(db: sqlite3.Connection, count: int) -> bool:
    (known,), (left,) = (db.execute(sql, [DOWN]).fetchone() for sql in (ALL, LEFT))
    return bool(known == count * len(OTHERS) and left == 0)


class Shop:
    """Sell to new customers whose clicks the bridge knows; one connection, as a provider's."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._webhooks = sales.Webhooks()
        self._http = requests.Session()
        self._http.trust_env = False
        self._sold = 0

    def sell(self) -> None:
        """Store a click, and send an `invoice.paid`."""
        self._sold += 1
        name = sales.name_of("isolation", self._sold)
        self._click(name)
        body = self._webhooks.body(name)
        self._post("/webhooks/stripe", data=body, headers=_signed(body))

    def _click(self, name: str) -> None:
        body = {
            "customer": {"stripe": f"cus_{name}"},
            "clicks": {each: f"click_{name}" for each in stage.VENDORS if each != "tracify"},
            "context": {
                "ip": "203.0.113.7",
                "user_agent": "Mozilla/5.0",
                "url": "https://shop.example/?utm_source=x",
            },
            "occurred_at": sales.CLICKED,
        }
        self._post("/clicks", json=body, headers={"Authorization": f"Bearer {stage.API_KEY}"})

    def _post(self, path: str, **request: Any) -> None:
        self._http.post(f"{self._url}{path}", **request).raise_for_status()


def _signed(body: bytes) -> dict[str, str]:
    return {"Content-Type": "application/json", "Stripe-Signature": sales.signature(body)}


@contextmanager
def hanging() -> Iterator[str]:
    """Take connections and never answer."""
    held: list[socket.socket] = []

    def take() -> None:
        with suppress(OSError):
            while True:
                held.append(server.accept()[0])

    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()


def show(found: dict[str, list[dict[str, float]]]) -> None:
    """Print medians over the rounds, and of the ratios within each round."""
    table = Table("CodeQR", *OTHERS, "all four", *(f"to {mode}" for mode in BASES))
    for mode, rounds in found.items():
        table.add_row(
            mode,
            *(f"{statistics.median(each[name] for each in rounds):.1f} ms" for name in OTHERS),
            f"{statistics.median(map(overall, rounds)):.1f} ms",
            *(f"{ratio(rounds, found[base]):.2f}" for base in BASES),
        )
    Console().print(table)


def ratio(rounds: list[dict[str, float]], bases: list[dict[str, float]]) -> float:
    """Return the median ratio of runs to others of the same rounds."""
    pairs = zip(rounds, bases, strict=True)
    return statistics.median(overall(each) / overall(base) for each, base in pairs)


def overall(medians: dict[str, float]) -> float:
    """Return what is typical of the four."""
    return statistics.mean(medians.values())


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    main(*(given + [5, 100][len(given) :]))

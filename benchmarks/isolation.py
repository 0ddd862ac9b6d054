"""Does one vendor that is down slow the others? python benchmarks/isolation.py [ROUNDS] [SALES]

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

import requests
import stage
from rich.console import Console
from rich.progress import track
from rich.table import Table

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
    JOIN events ON events.id = 'evt_' || substr(conversions.id, 8)
    WHERE attempts.outcome = 'accepted' AND deliveries.vendor = ?
"""
LEFT = "SELECT count(*) FROM deliveries WHERE state != 'settled' AND vendor != ?"
ALL = "SELECT count(*) FROM deliveries WHERE vendor != ?"


def main(rounds: int, sales: int) -> None:
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
                    medians.append(measure(place, vendors, sales, settings[mode]))
    show(found)


def measure(folder: Path, vendors: str, sales: int, settings: dict[str, str]) -> dict[str, float]:
    """Return each other vendor's median time in milliseconds."""
    requests.delete(f"{vendors}/ledger", timeout=10).raise_for_status()
    with stage.bridge(folder, vendors, **settings) as url:
        shop = stage.Shop(url)
        for _ in range(sales):
            shop.sell()
            time.sleep(PACE_SECONDS)
        with closing(sqlite3.connect(folder / "bridge.db", isolation_level=None)) as db:
            stage.wait(lambda: _is_told(db, sales), "the other vendors to be told")
            return {
                vendor: statistics.median(row[0] for row in db.execute(TIMES, [vendor]))
                for vendor in OTHERS
            }


def _is_told(db: sqlite3.Connection, sales: int) -> bool:
    (known,), (left,) = (db.execute(sql, [DOWN]).fetchone() for sql in (ALL, LEFT))
    return bool(known == sales * len(OTHERS) and left == 0)


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

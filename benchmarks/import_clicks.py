"""Measure `bridge clicks import`: python -m benchmarks.import_clicks [ROWS]

Every row has three ids of a customer, three clicks and a time; half of the customers come twice,
all of them in no order. Prints wall and CPU time, and what was written to the disk.
"""

from __future__ import annotations

import csv
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

SETTINGS = {
    "BRIDGE_SECRET_KEY": "made up to measure with",
    "TAAPIT_API_KEY": "made-up",
    "CODEQR_API_KEY": "made-up",
    "TRACKDESK_TENANT_ID": "made-up",
    "TRACKDESK_REVENUE_ORIGIN_ID": "4f8f3c1e-6f0b-4b57-9f5e-1d2c3b4a5f60",
}
COLUMNS = ("external_id", "email", "stripe", "taapit", "codeqr", "trackdesk", "occurred_at")
BEGIN = datetime(2026, 9, 1, tzinfo=UTC)


def main(count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bridge-import-") as folder:
        path = Path(folder) / "clicks.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *_rows(count)])
        database = Path(folder) / "bridge.db"
        settings = {**os.environ, **SETTINGS, "DATABASE_URL": f"sqlite:///{database}"}
        bridge = [sys.executable, "-m", "bridge"]
        subprocess.run([*bridge, "migrate"], env=settings, check=True, capture_output=True)
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([*bridge, "clicks", "import", path], env=settings, check=True)
        wall = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            f"{wall:.1f} s, {count / wall:,.0f} rows/s; "
            f"CPU {after.ru_utime - before.ru_utime:.1f} s user, "
            f"{after.ru_stime - before.ru_stime:.1f} s system; "
            f"{(after.ru_oublock - before.ru_oublock) * 512 / 1e9:.1f} GB written, "
            f"database {database.stat().st_size / 1e6:.0f} MB"
        )


def _rows(count: int) -> list[list[str]]:
    chance = random.Random(7)
    people = count - count // 3
    rows = list(_of(range(people), chance)) + list(_of(range(count - people), chance))
    chance.shuffle(rows)
    return rows


def _of(people: range, chance: random.Random) -> Iterator[list[str]]:
    for each in people:
        at = BEGIN + timedelta(seconds=chance.randrange(80 * 86_400))
        ids = [f"user_{each}", f"person{each}@shop.example", f"cus_{each * 7919:014x}"]
        clicks = [f"{chance.getrandbits(64):016x}", f"clk_{chance.getrandbits(48):012x}"]
        yield [*ids, *clicks, str(uuid.UUID(int=chance.getrandbits(128))), at.isoformat()]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)

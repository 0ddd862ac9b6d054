"""The README's table of retries: three days of one delivery to a vendor that is down."""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby

from kit import CUSTOMER, SALE, Bench, Make
from test_docs import section

from bridge import retry
from bridge.http import Sender
from bridge.outbox import Outbox
from bridge.store.rows import DeliveryState

# Two vendors that are tried on their own: one with the jitter there is on average, one with most.
ON_AVERAGE, AT_MOST = ("codeqr", 0.5), ("tracify", 1.0)
HEAD = [
    "| Try | Wait before it, on average | Since the first | Wait, at most | Since the first |",
    "|---|---|---|---|---|",
]
Try = tuple[timedelta, timedelta]  # the wait before it, and the time since the first


def tries(made: Bench, vendor: str, jitter: float) -> list[Try]:
    """Let a vendor be down, and return when one delivery was tried until it was given up."""
    made.fault(vendor, *[{"status": 503}] * 100)
    sender = Sender()
    outbox = Outbox(made.store, made.config, sender, clock=made.clock, jitter=lambda: jitter)
    found: list[Try] = []
    first = last = made.clock()
    while (next_at := outbox.next_at([vendor])) is not None:
        made.clock.now = max(next_at, made.clock())
        (row,) = outbox.lease(vendor, 1)
        outbox.deliver(row)
        found.append((made.clock() - last, made.clock() - first))
        last = made.clock()
    sender.close()
    row = made.delivery(vendor)
    assert row.state is DeliveryState.DEAD
    assert len(made.attempts(vendor)) == len(found) == row.attempts
    return found


def words(span: timedelta) -> str:
    """Write a span of time as a person says it: 2.5 s, 5 min 20 s, 1 d 3 h."""
    seconds = round(span.total_seconds(), 1)
    if seconds < 60:
        return f"{seconds:g} s"
    left, parts = int(seconds), []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def table(average: list[Try], longest: list[Try]) -> list[str]:
    """Return the rows of the table; tries after the same wait share one."""
    count = max(len(average), len(longest))
    cells = [(*cell(average, at), *cell(longest, at)) for at in range(count)]
    rows = []
    for _, group in groupby(enumerate(cells, 1), key=lambda each: (each[1][0], each[1][2])):
        numbers, same = zip(*group, strict=True)
        name = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
        rows.append(f"| {name} | {' | '.join(same[-1])} |")
    return HEAD + rows


def cell(found: list[Try], at: int) -> tuple[str, str]:
    if at >= len(found):
        return "given up", ""
    wait, since = found[at]
    return ("at once", "") if at == 0 else (words(wait), words(since))


def test_the_table_of_the_readme_is_what_happens(make: Make) -> None:
    made = make("codeqr", "tracify")
    made.click(CUSTOMER)
    made.receive(*SALE)
    average, longest = (tries(made, *each) for each in (ON_AVERAGE, AT_MOST))
    rows = "\n".join(table(average, longest))
    print(rows)
    assert rows in "\n".join(line.strip() for line in section("Operate").splitlines())
    for found in (average, longest):
        assert retry.GIVE_UP_AFTER <= found[-1][1] < retry.GIVE_UP_AFTER + retry.LONGEST_DELAY

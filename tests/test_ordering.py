"""For a conversion and a vendor one call is in flight at a time; what comes meanwhile is next."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from threading import Lock, Thread
from typing import Any

from kit import CUSTOMER, Bench, Make, body_of
from running import until

from bridge.http import Sender
from bridge.store import open_store
from bridge.store.rows import DeliveryState
from bridge.worker import Worker

WORKERS, ORDERS, REFUNDS = 3, 6, 6
IDS = re.compile(r'"(evt|in|inpay|pi|ch|re)_[A-Za-z0-9]+"')
ORDER = re.compile(rb"in_\d")
Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Watch:
    """Stand before the vendors, and count how many calls about one order are there at once."""

    def __init__(self, vendors: Wsgi) -> None:
        self._vendors = vendors
        self._lock = Lock()
        self._now: Counter[tuple[str, bytes]] = Counter()
        self.most: Counter[tuple[str, bytes]] = Counter()

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = BytesIO(body)
        told = ORDER.search(body + environ["PATH_INFO"].encode() + environ["QUERY_STRING"].encode())
        key = (environ["PATH_INFO"].split("/")[1], told[0] if told else b"")
        with self._lock:
            self._now[key] += 1
            self.most[key] = max(self.most[key], self._now[key])
        try:
            return list(self._vendors(environ, start))
        finally:
            with self._lock:
                self._now[key] -= 1


def about(fixture: str, order: int, number: int = 0) -> str:
    """Return an event of Stripe's about another order; `number` tells those of one kind apart."""
    unique = {"evt": f"evt_{fixture}_{order}_{number}", "re": f"re_{order}_{number}"}
    body = IDS.sub(lambda id: f'"{unique.get(id[1], f"{id[1]}_{order}")}"', body_of(fixture))
    return body.replace('"amount": 2000', '"amount": 100')


@contextmanager
def working(made: Bench) -> Iterator[None]:
    """Have several workers work on the bench's database until the block ends."""
    stores = [open_store(made.config.database_url) for _ in range(WORKERS)]
    workers = [Worker(store, made.config, sender=Sender()) for store in stores]
    threads = [Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for worker, thread, store in zip(workers, threads, stores, strict=True):
            worker.stop()
            thread.join()
            store.close()


def is_quiet(made: Bench) -> bool:
    if made.store.events.received(1):
        return False  # looked at first: what it makes due is there by then
    left = {row.state for row in made.store.deliveries.newest()}
    return not left & {DeliveryState.DUE, DeliveryState.SENDING}


def test_many_workers_make_one_call_at_a_time(make: Make) -> None:
    made = make()
    made.clock.catch_up()
    made.click(CUSTOMER)
    server = made.vendors._server
    watch = server.app = Watch(server.app)
    for vendor in made.config.vendors:
        made.fault(vendor, *[{"delay": 0.02}] * 100)
    with working(made):
        for order in range(ORDERS):
            made.receive(
                bodies=[about("invoice_payment.paid", order), about("invoice.paid", order)]
            )
            made.store.ring()
        for number in range(REFUNDS):
            for order in range(ORDERS):
                made.receive(bodies=[about("refund.created", order, number)])
                made.store.ring()
        until(lambda: is_quiet(made), "every vendor to be told")

    assert set(watch.most.values()) == {1}
    assert len(watch.most) >= ORDERS * len(made.config.vendors)
    # 49.00 net of 58.31, of which 6.00 went back.
    assert [sale["amount"] for sale in made.sales("tapfiliate")] == ["43.96"] * ORDERS
    for vendor in made.config.vendors:
        assert sorted(sale["order"] for sale in made.sales(vendor)) == [
            f"in_{order}" for order in range(ORDERS)
        ]
        assert made.vendors.ledger.as_json()[vendor]["calls"] >= ORDERS

"""Our own mistakes, and a database that fails just then: nothing is lost, nothing hangs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from threading import Thread

import pytest
from kit import CUSTOMER, SALE, Bench, Make
from running import until
from structlog.testing import capture_logs

from bridge.http import Sender
from bridge.model import Call, Conversion, Plan, Response, Told, Verdict
from bridge.store import open_store
from bridge.store.rows import DeliveryState
from bridge.vendors import discover
from bridge.vendors.base import AnyVendor
from bridge.worker import Worker


def failing(made: Bench, vendor: str, *, where: str) -> Worker:
    """Return a worker of a bridge that makes a mistake with a vendor, in one of its functions."""

    class Failing(discover()[vendor]):  # type: ignore[misc]
        def authorize(self) -> Mapping[str, str]:
            if where == "authorize":
                raise KeyError("taapit_sk_test")
            return super().authorize()  # type: ignore[no-any-return]

        def next_call(self, conversion: Conversion, told: Told) -> Plan:
            if where == "next_call":
                raise ZeroDivisionError(conversion.customer)
            return super().next_call(conversion, told)  # type: ignore[no-any-return]

        def judge(self, call: Call, response: Response) -> Verdict:
            if where == "judge":
                raise UnicodeError(response.body)
            return super().judge(call, response)  # type: ignore[no-any-return]

    broken: AnyVendor = Failing(made.config.vendors[vendor].settings)
    vendors = {**made.config.vendors, vendor: broken}
    config = replace(made.config, vendors=vendors)
    return Worker(made.store, config, sender=Sender(read_seconds=0.5), clock=made.clock)


VENDORS = sorted(discover())


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("where", ["next_call", "authorize", "judge"])
def test_a_mistake_of_ours_is_shown_and_mended_by_an_upgrade(
    make: Make, vendor: str, where: str
) -> None:
    made = make(vendor)
    made.click(CUSTOMER)
    made.receive(*SALE)
    broken = failing(made, vendor, where=where)
    broken.drain()
    broken.close()
    row = made.delivery(vendor)
    in_doubt = vendor == "taapit" and where == "judge"
    assert row.state is (DeliveryState.UNKNOWN if in_doubt else DeliveryState.DEAD)
    assert "a mistake of ours" in row.reason
    assert "Error" in row.reason
    assert CUSTOMER not in row.reason

    # The upgrade.
    if in_doubt:
        assert made.store.deliveries.resolve(row, made.clock(), row.in_flight.tells)  # type: ignore[union-attr]
    else:
        assert made.store.deliveries.revive(row.id, made.clock())
    for _ in range(3):  # what is in doubt is looked up first
        made.worker.drain()
        made.clock.advance(minutes=1)
    assert made.delivery(vendor).state is DeliveryState.SETTLED
    assert len(made.sales(vendor)) == 1


def test_a_mistake_with_one_vendor_holds_up_no_other(make: Make) -> None:
    made = make()
    made.click(CUSTOMER)
    made.receive(*SALE)
    broken = failing(made, "codeqr", where="next_call")
    broken.drain()
    broken.close()
    held = {vendor: len(made.sales(vendor)) for vendor in made.config.vendors}
    assert held == {vendor: int(vendor != "codeqr") for vendor in made.config.vendors}


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_answer_is_recorded_once_the_database_can_be_written_again(
    make: Make, vendor: str
) -> None:
    made = make(vendor)
    made.click(CUSTOMER)
    made.receive(*SALE)
    store = open_store(made.config.database_url, patience=0.2)
    worker = Worker(store, made.config, sender=Sender(read_seconds=5), clock=made.clock)
    made.fault(vendor, {"commit_then_hang": 0.5})
    with capture_logs() as logs, closing(open_store(made.config.database_url)) as other:
        other.check()
        delivering = Thread(target=worker.drain)
        delivering.start()
        until(lambda: made.sales(vendor), "the vendor to have counted it")
        with other.atomic():
            until(lambda: any(each["event"] == "store failed" for each in logs), "a failed record")
        delivering.join()
    worker.close()
    store.close()
    assert made.delivery(vendor).state is DeliveryState.SETTLED
    assert len(made.sales(vendor)) == 1
    assert [each.outcome for each in made.attempts(vendor)] == ["accepted"] * (
        made.delivery(vendor).attempts
    )

"""GET /metrics: what Prometheus reads of the store."""

from __future__ import annotations

import re
from pathlib import Path

from kit import CUSTOMER, SALE, Bench, Make
from prometheus_client.parser import text_string_to_metric_families

from bridge import __version__
from bridge.store import open_store
from bridge.web import create_app

Sample = tuple[str, frozenset[tuple[str, str]]]


def sample(name: str, **labels: str) -> Sample:
    return name, frozenset(labels.items())


def read(made: Bench) -> dict[Sample, float]:
    """Return every sample of a scrape."""
    answer = create_app(made.config, made.store).test_client().get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain; version=")
    return {
        (each.name, frozenset(each.labels.items())): each.value
        for family in text_string_to_metric_families(answer.get_data(as_text=True))
        for each in family.samples
    }


def test_everything_that_is_stored_is_counted(make: Make) -> None:
    made = make("codeqr", "taapit")
    made.click(CUSTOMER, {"codeqr": "clk_1"})
    made.play(*SALE)
    told = read(made)
    assert told[sample("bridge_info", version=__version__)] == 1
    assert told[sample("bridge_events", state="processed")] == 2
    assert told[sample("bridge_conversions", status="approved")] == 1
    assert told[sample("bridge_deliveries", vendor="codeqr", state="settled")] == 1
    assert told[sample("bridge_deliveries", vendor="taapit", state="skipped")] == 1
    assert told[sample("bridge_overdue_seconds", vendor="codeqr")] == 0
    assert told[sample("bridge_unprocessed_seconds")] == 0


def test_a_vendor_that_is_paused_is_seen(make: Make) -> None:
    made = make("codeqr", "taapit")
    made.clock.catch_up()
    made.click(CUSTOMER)
    made.fault("codeqr", *[{"status": 503}] * 9)
    made.play(*SALE)
    for _ in range(4):
        made.store.deliveries.revive(made.delivery("codeqr").id, made.clock())
        made.worker.drain()
    made.store.deliveries.revive(made.delivery("codeqr").id, made.clock())
    told = read(made)
    for vendor, stands in (("codeqr", "open"), ("taapit", "closed")):
        states = {
            state: told[sample("bridge_breaker", vendor=vendor, state=state)]
            for state in ("closed", "open", "half-open")
        }
        assert states == {state: float(state == stands) for state in states}
    assert told[sample("bridge_overdue_seconds", vendor="codeqr")] > 0


def test_no_label_holds_an_id(make: Make) -> None:
    made = make()
    made.click(CUSTOMER)
    made.play(*SALE)
    for _, labels in read(made):
        for _, value in labels:
            assert re.fullmatch(r"[a-z_-]+|[0-9.]+", value)


def test_a_store_that_fails_is_503(make: Make, tmp_path: Path) -> None:
    made = make("codeqr")
    store = open_store(f"sqlite:///{tmp_path}/gone/bridge.db")
    answer = create_app(made.config, store).test_client().get("/metrics")
    store.close()
    assert answer.status_code == 503
    assert answer.get_json()["error"]["code"] == "store_unavailable"

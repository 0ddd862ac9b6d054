"""GET /metrics for Prometheus: what is stored, what waits, and how each vendor does.

All of it is read from the store, so that every process tells the same, whichever is asked; only
`process_…` is of the one that answers. No label holds an id or anything of a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from bridge import __version__
from bridge.gate import Breaker
from bridge.outbox import utc_now
from bridge.store import Store
from bridge.web.state import state

area = Blueprint("metrics", __name__)


@area.get("/metrics")
def metrics() -> Response:
    """Return the state of things as Prometheus reads it."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(state().store, list(state().config.vendors), utc_now))
    ProcessCollector(registry=registry)
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class StoreCollector(Collector):
    """Read metrics from a store each time they are asked for; may raise StoreError."""

    def __init__(self, store: Store, vendors: list[str], clock: Callable[[], datetime]) -> None:
        self._store = store
        self._vendors = vendors
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """Yield every metric with its values of now."""
        yield InfoMetricFamily("bridge", "Which bridge runs", {"version": __version__})
        yield _counted("bridge_events", "Events by state", "state", self._store.events.count())
        yield GaugeMetricFamily(
            "bridge_unprocessed_seconds",
            "For how long the event that waits longest has not been processed",
            value=self._unprocessed(),
        )
        yield _counted(
            "bridge_conversions", "Conversions by status", "status", self._store.orders.count()
        )
        deliveries = GaugeMetricFamily(
            "bridge_deliveries", "Deliveries by vendor and state", labels=["vendor", "state"]
        )
        for vendor, counts in self._store.deliveries.count().items():
            for state_name, count in counts.items():
                deliveries.add_metric([vendor, state_name], count)
        yield deliveries
        yield from self._of_vendors()

    def _unprocessed(self) -> float:
        rows = map(self._store.events.get, self._store.events.received(1))
        waits = [(self._clock() - row.received_at).total_seconds() for row in rows if row]
        return max(waits, default=0.0)

    def _of_vendors(self) -> Iterable[Metric]:
        overdue = GaugeMetricFamily(
            "bridge_overdue_seconds",
            "For how long the delivery that waits longest has been due",
            labels=["vendor"],
        )
        breakers = GaugeMetricFamily(
            "bridge_breaker",
            "Whether a vendor's circuit breaker is in a state",
            labels=["vendor", "state"],
        )
        now = self._clock()
        for vendor in self._vendors:
            due_at = self._store.deliveries.next_at([vendor]) or now
            overdue.add_metric([vendor], max((now - due_at).total_seconds(), 0))
            stands = self._store.gates.get(vendor).breaker(now)
            for each in Breaker:
                breakers.add_metric([vendor, each], stands is each)
        yield overdue
        yield breakers


def _counted(name: str, meaning: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family

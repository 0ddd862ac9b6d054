"""The worker: delivers what is due, asks providers; sleeps until there is more.

One thread takes work and hands it out, and every vendor has its own few, so that one that hangs
does not hold up the others. What comes due comes of the processor, which runs beside it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial

from bridge import logs, retry
from bridge.config import Config
from bridge.errors import ProviderApiError, StoreError
from bridge.forgetting import REMOVED
from bridge.http import Sender
from bridge.inbox import receive
from bridge.intake import Intake
from bridge.model import Status
from bridge.outbox import LEASE, Begun, Outbox, utc_now
from bridge.processor import LONGEST_SLEEP, STORE_FAILURE_SLEEP
from bridge.provider_api import ProviderApi, open_api
from bridge.store import Store
from bridge.store.facts import WORKED_FOR
from bridge.store.orders import ref_of
from bridge.store.persons import batched
from bridge.store.rows import Ask, AskState, DeliveryRow, EventState

EVENTS_AT_ONCE = 100
DRAINED_AT_ONCE = 4
TAKEN_UP_AT_ONCE = 20
ASKS_AT_ONCE = 10
ASK_FIRST_DELAY = timedelta(seconds=20)
# Scrubbing rewrites the whole database while nobody else may write: at most so much of the time.
SCRUB_SHARE = 0.01
SCRUB_FAILURE_SLEEP = 60.0
TIDY_EVERY = timedelta(hours=1)
# Where much is to be dropped it goes bit by bit: others write in between.
TIDY_AGAIN = timedelta(seconds=5)
STRANGERS_AT_ONCE = 10_000
VISITS_AT_ONCE = 2_000
# An Idempotency-Key is used again within minutes, if at all.
REQUESTS_KEPT = timedelta(days=2)

log = logs.get()


class Worker:
    """Work through what is due, until it is told to stop."""

    def __init__(
        self,
        store: Store,
        config: Config,
        *,
        sender: Sender | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self._stopping = threading.Event()
        sizes = {name: each.settings.concurrency for name, each in config.vendors.items()}
        self._sender = sender or Sender(
            hosts=len(sizes), connections=max(sizes.values(), default=1)
        )
        self._apis: dict[str, ProviderApi] = {
            name: api for name, each in config.providers.items() if (api := open_api(each))
        }
        self._intake = Intake(store, config, self._apis)
        self._outbox = Outbox(
            store,
            config,
            self._sender,
            clock=clock,
            stopping=self._stopping.is_set,
            follows=self._follows,
        )
        self._pools = {name: _Pool(name, size, store.ring) for name, size in sizes.items()}
        self._asking = _Pool("asks", 1, store.ring)
        self._held: dict[tuple[str, str], DeliveryRow] = {}
        self._renewed_at = clock()
        self._scrub_after = 0.0
        self._tidy_at = clock()

    def run(self) -> None:
        """Work until `stop` is called; finish what is in flight before returning."""
        begun = False
        while not self._stopping.is_set():
            try:
                begun = begun or self._begin()
                busy = self.step()
                pause = 0.0 if busy else self._pause()
            except StoreError as error:
                log.error("store failed", reason=str(error))
                pause = STORE_FAILURE_SLEEP
            if pause and not self._stopping.is_set():
                self._store.wait(pause)
        self.close()

    def _begin(self) -> bool:
        self.take_up()
        self._store.wait(0)  # from here on no ring is missed
        log.info("working", vendors=",".join(self._pools) or "none")
        return True

    def stop(self) -> None:
        """Ask `run` to return; safe to call from a signal handler or another thread."""
        self._stopping.set()
        self._store.ring()

    def step(self) -> bool:
        """Do what is due now; tell whether there was anything to take."""
        busy = False
        if self._asking.free and self._store.asks.due(self._clock(), 1):
            self._asking.submit(self._guarded(self._answer_asks))
        self._keep_leases()
        for vendor, pool in self._pools.items():
            for row in self._outbox.lease(vendor, pool.free) if pool.free else ():
                self._hold(row)
                pool.submit(self._guarded(partial(self._deliver, row)))
                busy = True
        self._guarded(self._scrub)()
        self._guarded(self._tidy_now_and_then)()
        return busy

    def drain(self) -> None:
        """Process events and work until nothing is due any more, in this thread; for tests."""
        while self.process_events() or self._answer_asks() or self._deliver_some():
            pass
        self._store.scrub()

    def process_events(self) -> bool:
        """Process some of the events that wait; tell whether there were any."""
        done = 0
        while done < EVENTS_AT_ONCE and (some := self._intake.process_some(self._clock())):
            done += some
        return bool(done)

    def tidy(self) -> bool:
        """Drop what has been kept for long enough; encrypt anew what an older key encrypted.

        Returns whether there is more to drop: it is best called again soon.
        """
        now, settings = self._clock(), self._config.settings
        old = now - timedelta(days=settings.retention_days)
        addresses = self._store.addresses.drop(old)
        self._store.requests.drop(now - REQUESTS_KEPT)
        useless = now - timedelta(days=settings.attribution_days)
        with self._store.atomic():
            strangers = self._store.customers.drop_strangers(useless, STRANGERS_AT_ONCE)
        with self._store.atomic():
            visits = self._store.orders.drop_visits(old, VISITS_AT_ONCE)
            if addresses or visits:
                self._store.persons.mark_unscrubbed()
        if addresses or visits:
            log.info("dropped", addresses=addresses, visits=visits)
        if rotated := self._intake.vault.rotate():
            log.info("rotated", addresses=rotated)
        return strangers == STRANGERS_AT_ONCE or visits == VISITS_AT_ONCE

    def close(self) -> None:
        """Finish the calls in flight and give back the connections."""
        for pool in (*self._pools.values(), self._asking):
            pool.close()
        for api in self._apis.values():
            api.close()
        self._sender.close()

    def _scrub(self) -> None:
        """Overwrite on the disk what was redacted, as often as can be afforded."""
        started = time.monotonic()
        if started < self._scrub_after:
            return
        self._scrub_after = started + SCRUB_FAILURE_SLEEP
        self._store.scrub()
        took = time.monotonic() - started
        self._scrub_after = started + took / SCRUB_SHARE

    def _tidy_now_and_then(self) -> None:
        if self._clock() >= self._tidy_at:
            self._tidy_at = self._clock() + TIDY_EVERY
            if self.tidy():
                self._tidy_at = self._clock() + TIDY_AGAIN

    # ── deliveries ──

    def _deliver(self, row: DeliveryRow) -> None:
        """Deliver one, and then what is due of the same vendor."""
        begun: Begun | None = Begun(row)
        while begun:
            try:
                following = self._outbox.deliver(begun.row, begun.ready)
                if following:
                    self._hold(following.row)
            finally:
                self._held.pop((begun.row.id, begun.row.lease), None)
            begun = following

    def _hold(self, row: DeliveryRow) -> None:
        self._held[row.id, row.lease] = row

    def _follows(self) -> bool:
        """Tell whether a thread may take another delivery by itself: no lease here has run out."""
        late = abs(self._clock() - self._renewed_at) > LEASE * 2 / 3
        return not late and not self._stopping.is_set()

    def _keep_leases(self) -> None:
        """Renew the leases of what is being delivered here, however the clock has moved meanwhile.

        Else this very worker would take up a call as lost that is still in flight.
        """
        now, held = self._clock(), list(self._held.values())
        if held and abs(now - self._renewed_at) > LEASE / 3:
            self._store.deliveries.renew(held, now + LEASE)
        elif held:
            return
        self._renewed_at = now

    def _deliver_some(self) -> bool:
        self._keep_leases()
        rows = [row for name in self._pools for row in self._outbox.lease(name, DRAINED_AT_ONCE)]
        for row in rows:
            self._deliver(row)
        return bool(rows)

    def _guarded(self, work: Callable[[], object]) -> Callable[[], None]:
        """Keep one piece of work that fails from ending its thread in silence."""

        def run() -> None:
            try:
                work()
            except StoreError as error:
                log.error("store failed", reason=str(error))
            except Exception:  # a lease that is not given back runs out, and is taken up again
                log.exception("work failed")

        return run

    def _pause(self) -> float:
        """Return how long nothing will come due, in seconds."""
        free = [name for name, pool in self._pools.items() if pool.free]
        asks = self._store.asks.next_at() if self._asking.free else None
        moments = (self._outbox.next_at(free), asks)
        soonest = min((each for each in moments if each), default=None)
        if soonest is None:
            return LONGEST_SLEEP
        return min(max((soonest - self._clock()).total_seconds(), 0.001), LONGEST_SLEEP)

    def take_up(self) -> None:
        """Take up what a changed setting has made possible since the last start."""
        with self._store.atomic():
            self._store.facts.put(WORKED_FOR, ",".join(sorted(self._config.plugins)))
            for vendor in self._config.vendors:
                self._store.gates.hurry(vendor, self._clock())
        waiting = self._store.events.newest(EventState.WAITING, limit=10_000)
        able = [row.key for row in waiting if row.event.provider in self._apis]
        self._each(able, lambda key: self._store.events.mark(key, EventState.RECEIVED))
        parked = self._store.orders.newest(Status.PARKED, limit=10_000)
        orders = [self._store.orders.order_of(x.id) for x in parked if x.provider in self._apis]
        self._each(orders, lambda order: self._intake.refresh(order, self._clock()))
        if not self._config.settings.dry_run:
            planned = self._store.deliveries.newest("planned", limit=10_000)
            ids = [row.id for row in planned]
            self._each(ids, lambda id: self._store.deliveries.revive(id, self._clock()))
        self._store.ring()  # events that wait no more are processed, perhaps by another

    def _each(self, names: Sequence[str], act: Callable[[str], object]) -> None:
        """Do something for each of many, some at a time: others write in between."""
        for some in batched(names, TAKEN_UP_AT_ONCE):
            with self._store.atomic():
                for each in some:
                    act(each)

    # ── questions to providers ──

    def _answer_asks(self) -> bool:
        asks = self._store.asks.due(self._clock(), ASKS_AT_ONCE)
        for ask in asks:
            self._ask(ask)
        return bool(asks)

    def _ask(self, ask: Ask) -> None:
        now = self._clock()
        api = self._apis.get(ask.provider)
        if api is None:
            self._store.asks.record(ask, AskState.GIVEN_UP, now, "no key is set any more")
            return
        try:
            found = self._put_question(api, ask)
        except ProviderApiError as error:
            # What a provider says may name somebody: it is kept with the question, not logged.
            log.warning("asked", provider=ask.provider, subject=ask.subject, again=error.retry)
            self._keep_refused(ask, error)
            return
        except StoreError:
            raise
        except Exception as error:  # an answer that we cannot read must not be asked for for ever
            log.exception("asking failed", provider=ask.provider, subject=ask.subject)
            self._ask_again(ask, f"the answer cannot be read ({type(error).__name__})", True)
            return
        log.info("asked", provider=ask.provider, subject=ask.subject, found=found)
        if found:
            self._store.asks.record(ask, AskState.ANSWERED, now, f"{found} found")
        else:
            self._ask_again(ask, f"{ask.provider} knows no sale for {ask.subject} yet", True)

    def _keep_refused(self, ask: Ask, error: ProviderApiError) -> None:
        """Ask again later; of a person who was removed meanwhile, keep no words of the answer."""
        with self._store.atomic():
            row = self._store.events.get(ask.subject)
            order = self._store.orders.order_of(ref_of(ask.provider, ask.subject))
            if (row and row.redacted) or (order and self._store.orders.is_redacted(order)):
                self._store.asks.record(ask, AskState.GIVEN_UP, self._clock(), REMOVED)
                return
            if row:
                self._store.events.mark(ask.subject, EventState.WAITING, str(error))
            self._ask_again(ask, str(error), error.retry)

    def _put_question(self, api: ProviderApi, ask: Ask) -> int:
        now = self._clock()
        row = self._store.events.get(ask.subject)
        if row is None:
            events = api.look_up(ask.subject, ask.account, now)
        else:
            events = api.fetch(row.event, now)
        with self._store.atomic():
            for event in events:
                receive(self._store, event, now)
            if row is not None:
                reason = f"fetched as {', '.join(each.id for each in events)}"
                self._store.events.mark(row.key, EventState.PROCESSED, reason)
        return len(events)

    def _ask_again(self, ask: Ask, reason: str, possible: bool) -> None:
        now = self._clock()
        delay = max(retry.backoff(ask.asked + 1, 1.0), ASK_FIRST_DELAY)
        over = not possible or now - ask.first_at > retry.GIVE_UP_AFTER
        state = AskState.GIVEN_UP if over else AskState.DUE
        self._store.asks.record(ask, state, now + delay, reason)


class _Pool:
    """Run one kind of work in a few threads of its own, and say when one is free again."""

    def __init__(self, name: str, size: int, on_free: Callable[[], None]) -> None:
        self._executor = ThreadPoolExecutor(size, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._on_free = on_free
        self.free = size

    def submit(self, work: Callable[[], None]) -> None:
        with self._lock:
            self.free -= 1
        self._executor.submit(work).add_done_callback(self._freed)

    def close(self) -> None:
        self._executor.shutdown(wait=True)

    def _freed(self, _: Future[None]) -> None:
        with self._lock:
            self.free += 1
        self._on_free()

"""The processor: works through the events that wait, and sleeps until more come.

It is a process beside the worker: what it writes and what deliveries write wait for one another at
the database, and in one process they would wait for Python as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

from bridge import logs
from bridge.config import Config
from bridge.errors import StoreError
from bridge.intake import Intake
from bridge.provider_api import can_ask
from bridge.store import Store

LONGEST_SLEEP = 5.0
STORE_FAILURE_SLEEP = 2.0

log = logs.get()


class Processor:
    """Process the events that wait, until it is told to stop."""

    def __init__(self, store: Store, config: Config, *, clock: Callable[[], datetime]) -> None:
        askable = (name for name, each in config.providers.items() if can_ask(each))
        self._intake = Intake(store, config, askable)
        self._store = store
        self._clock = clock
        self._stopping = threading.Event()

    def run(self) -> None:
        """Process until `stop` is called; what it is at then is finished first."""
        self._store.wait(0)  # from here on no ring is missed
        log.info("processing")
        while not self._stopping.is_set():
            pause = STORE_FAILURE_SLEEP
            try:
                self._process_on()
                pause = LONGEST_SLEEP
            except StoreError as error:
                log.error("store failed", reason=str(error))
            except Exception:
                log.exception("work failed")
            if not self._stopping.is_set():
                self._store.wait(pause)

    def stop(self) -> None:
        """Ask `run` to return; safe to call from a signal handler or another thread."""
        self._stopping.set()
        self._store.ring()

    def _process_on(self) -> None:
        """Process what waits, and what comes meanwhile."""
        while not self._stopping.is_set() and self._intake.process_some(self._clock()):
            self._store.ring()  # what has come due can be taken

"""What the stand-ins were told: kept in memory, guarded by one lock, asked for as JSON.

Every vendor keeps its entries in the same shape, so that one order can be compared across vendors.
A text is empty where the vendor was not told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from threading import RLock
from typing import Any, TypeAlias, cast

from flask import current_app, request

from bridge.money import EXACT, exponent

JsonObject: TypeAlias = dict[str, Any]

# A benchmark may send a great many calls; the ledger keeps all it learns, but not every request.
CALLS_KEPT = 10_000


@dataclass(slots=True, kw_only=True)
class Sale:
    """Hold one sale as a vendor holds it; `told` counts the accepted calls that changed it."""

    vendor: str = ""
    order: str = ""
    customer: str = ""
    click: str = ""
    amount: str = ""
    currency: str = ""
    status: str = "approved"
    told: int = 1
    type: str


@dataclass(slots=True, kw_only=True)
class Lead:
    """Hold one lead, customer or link as a vendor holds it; `told` counts as for a sale.

    `meta` is the free data that came with it.
    """

    vendor: str = ""
    customer: str
    click: str
    told: int = 1
    type: str
    meta: JsonObject = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Pageview:
    """Hold one visit as a vendor holds it; `campaign` is how the visitor was sent."""

    vendor: str = ""
    customer: str
    click: str
    url: str
    referrer: str = ""
    campaign: dict[str, str]
    at: str


def change(entry: Sale | Lead, **values: object) -> None:
    """Set fields of an entry; a call that changes nothing is not counted in `told`."""
    if any(getattr(entry, name) != value for name, value in values.items()):
        entry.told += 1
    for name, value in values.items():
        setattr(entry, name, value)


def write_amount(value: Decimal, currency: str) -> str:
    """Write an exact amount of major units with the decimals of its currency, or more if it has.

    Where the currency was not told, the amount stays as it was written.
    """
    if not currency:
        return f"{value:f}"
    own = -int(value.normalize(EXACT).as_tuple().exponent)
    return f"{value:.{max(own, exponent(currency))}f}"


@dataclass(slots=True)
class Account:
    """Hold what one vendor was told, by the key under which the vendor tells entries apart."""

    vendor: str
    sales: dict[tuple[str, ...], Sale] = field(default_factory=dict)
    leads: dict[tuple[str, ...], Lead] = field(default_factory=dict)
    pageviews: list[Pageview] = field(default_factory=list)
    customers: dict[str, str] = field(default_factory=dict)
    """The click of every customer that came with one."""
    answers: dict[str, JsonObject] = field(default_factory=dict)
    """What was answered first, for vendors that answer a repeat from memory."""
    calls: int = 0
    refused: int = 0

    def sell(self, sale: Sale, *key: str) -> Sale:
        """Enter a sale; without a key it stands alone, whatever came before."""
        sale.vendor = self.vendor
        self._meet(sale.customer, sale.click)
        self.sales[key or ("#", str(len(self.sales)))] = sale
        return sale

    def lead(self, lead: Lead, *key: str) -> None:
        """Enter a lead, or change the one with that key; without a key it stands alone."""
        lead.vendor = self.vendor
        self._meet(lead.customer, lead.click)
        known = self.leads.setdefault(key or ("#", str(len(self.leads))), lead)
        meta = known.meta | lead.meta
        change(known, customer=lead.customer, click=lead.click, type=lead.type, meta=meta)

    def see(self, pageview: Pageview) -> None:
        """Enter a visit; every one stands alone."""
        pageview.vendor = self.vendor
        self.pageviews.append(pageview)

    def as_json(self) -> JsonObject:
        """Return what the vendor holds, oldest first."""
        return {
            "sales": [asdict(sale) for sale in self.sales.values()],
            "leads": [asdict(lead) for lead in self.leads.values()],
            "pageviews": [asdict(pageview) for pageview in self.pageviews],
            "calls": self.calls,
            "refused": self.refused,
        }

    def _meet(self, customer: str, click: str) -> None:
        if customer and click:
            self.customers[customer] = click


class Sandbox:
    """Keep the accounts of all stand-ins and every call they saw; safe to use from many threads."""

    def __init__(self, vendors: Iterable[str], keys: Mapping[str, str] | None = None) -> None:
        self.lock = RLock()
        self.vendors = tuple(vendors)
        self._keys = dict(keys or {})
        self.clear()

    def clear(self) -> None:
        """Forget every entry and every call."""
        with self.lock:
            self._accounts = {vendor: Account(vendor) for vendor in self.vendors}
            self._calls: deque[JsonObject] = deque(maxlen=CALLS_KEPT)

    @contextmanager
    def account(self, vendor: str) -> Iterator[Account]:
        """Lend one vendor's account to this thread alone."""
        with self.lock:
            yield self._accounts[vendor]

    def accepts(self, vendor: str, key: str) -> bool:
        """Tell whether a credential is good; "wrong" and anything "invalid" never is."""
        if not key or key == "wrong" or "invalid" in key:
            return False
        return self._keys.get(vendor, key) == key

    def record(self, call: JsonObject) -> None:
        """Remember a call with its answer; a call with an error counts as refused."""
        with self.account(call["vendor"]) as account:
            account.calls += 1
            account.refused += bool(call["error"])
            self._calls.append(call)

    def calls(self, vendor: str = "") -> list[JsonObject]:
        """Return the calls that were seen (by one vendor), newest last."""
        with self.lock:
            return [call for call in self._calls if vendor in {"", call["vendor"]}]

    def as_json(self) -> dict[str, JsonObject]:
        """Return what every vendor holds."""
        with self.lock:
            return {vendor: account.as_json() for vendor, account in self._accounts.items()}


def current_sandbox() -> Sandbox:
    """Return the ledger of the app that handles this request."""
    return cast(Sandbox, current_app.extensions["sandbox"])


@contextmanager
def books() -> Iterator[Account]:
    """Lend the account of the vendor that this request is addressed to."""
    with current_sandbox().account(str(request.blueprint)) as account:
        yield account

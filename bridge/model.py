"""The nouns of bridge, in the order in which data flows through it.

    WebhookRequest → Event → Payment → Conversion → Call → (an answer) → Told

All are frozen values: nothing here does I/O, reads a clock or knows a provider or a vendor. Times
are aware datetimes in UTC, money is `bridge.money.Money`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from bridge.money import Money

# ── what arrives ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """Hold a webhook as it came in: header names in lower case, and the raw body."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Hold the verified content of a webhook (or of an answer of the provider's API).

    `body` is the raw text, exactly as signed. `account` is the connected account it speaks of, if
    any. `waits_for` says what is missing before the event can mean something (a thin event whose
    object must be fetched); `ignored` says why it means nothing to us.
    """

    id: str
    provider: str
    type: str
    occurred_at: datetime
    body: str
    account: str = ""
    test: bool = False
    fetched: bool = False
    waits_for: str = ""
    ignored: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Hold what was seen beside a click or a payment: personal data in flight, never stored.

    `metadata` is what the merchant attached (names → strings), `reference` the one free reference
    that the provider carries for the merchant (Stripe's client_reference_id).
    """

    email: str = ""
    ip: str = ""
    user_agent: str = ""
    url: str = ""
    referrer: str = ""
    reference: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


# ── facts about money ────────────────────────────────────────────────────────────────────────────


class PaymentKind(StrEnum):
    """Name what a payment says about money."""

    SALE = "sale"  # an order was paid
    REFUND = "refund"  # one refund, by its own id
    REFUNDED_SO_FAR = "refunded_so_far"  # a cumulative total: a floor for refunds never told of
    DISPUTE = "dispute"  # one dispute, by its own id
    CREDIT = "credit"  # money given back other than by a refund: to a balance, out of band
    CANCELLATION = "cancellation"  # all that came before it is void
    LINK = "link"  # no money: these references belong together
    LEAD = "lead"  # no money: somebody signed up
    PAGEVIEW = "pageview"  # no money: somebody came to see


class PaymentState(StrEnum):
    """Name where a payment stands: only what COUNTS moves money."""

    OPEN = "open"  # announced; nothing has moved (and nothing later is undone by it)
    COUNTS = "counts"  # the money moved, or is on its way
    REVERSED = "reversed"  # it moved back, or never came through


@dataclass(frozen=True, slots=True)
class Item:
    """Hold one line of an order: what was bought, for how much in all, how many."""

    name: str
    amount: Money
    quantity: int = 1


Click: TypeAlias = Mapping[
    str, str
]  # what one vendor stored for a visitor, by kind: {"click_id": "abc"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """Hold one fact about money, with the provider's own id of that money movement.

    The same movement comes many times, in many states and from several event types; what it means
    is decided by `ledger.fold`, which looks at all payments of an order as a set.

    `references` are the provider's ids of everything this payment belongs to, its own among them
    unless it belongs to no order (it only says who a customer is). `occurred_at` is when the
    provider says this state came about, `started_at` when the movement itself was made. `final`
    marks a state that no later report can undo. A sale has `amount` (what was paid) and `net` (that
    minus tax and shipping), and `presentment` where the buyer paid in another currency (what was
    paid, in that one); `rank` orders the descriptions of one sale (an invoice, 0, names the order;
    a bare payment intent, 2, only where nothing better does). What goes back has a `net` where the
    provider says what of it was neither tax nor shipping; a negative amount gives back what was
    taken. A credit `contains` the refunds that its amount includes. A link between a source of
    money and a sale carries as `amount` what that source paid of it.

    A lead belongs to no order until `leads.as_lead` names it by its customer.

    `keys` (who paid, strongest first), `clicks` (ids carried by the payment itself) and `landed`
    (those in the address where the buyer came in) are filled in by `attribution.identify` from
    `customer` and `context`, which then goes. `redacted` marks one whose person was removed since.
    """

    id: str
    provider: str
    kind: PaymentKind
    occurred_at: datetime
    references: frozenset[str]
    state: PaymentState = PaymentState.COUNTS
    final: bool = False
    started_at: datetime | None = None
    amount: Money | None = None
    net: Money | None = None
    presentment: Money | None = None
    rank: int = 0
    contains: frozenset[str] = frozenset()
    subscription: str = ""
    reason: str = ""
    test: bool = False
    account: str = ""
    items: tuple[Item, ...] = ()
    customer: str = ""
    context: Context | None = None
    keys: tuple[str, ...] = ()
    clicks: Mapping[str, Click] = field(default_factory=dict)
    landed: Mapping[str, Click] = field(default_factory=dict)
    redacted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """Ask that a person's data be removed, and that of their orders; amounts stay.

    The person is known by any of a provider's `customer` id and an `email`; `references` name
    orders. `everyone` asks it for all persons of the provider's `account`.
    """

    provider: str
    account: str = ""
    customer: str = ""
    email: str = field(default="", repr=False)
    references: frozenset[str] = frozenset()
    everyone: bool = False


# ── what is to be credited ───────────────────────────────────────────────────────────────────────


class ConversionKind(StrEnum):
    """Name what is credited."""

    SALE = "sale"
    LEAD = "lead"
    PAGEVIEW = "pageview"  # not credited, only told to whoever measures visits


class Status(StrEnum):
    """Name how a conversion stands, as the merchant would put it."""

    APPROVED = "approved"  # paid, and at least part of it was kept
    DISAPPROVED = "disapproved"  # all of it went back
    PARKED = "parked"  # money went back for a sale that has not arrived


class Cause(StrEnum):
    """Name why money went back."""

    REFUND = "refund"
    DISPUTE = "dispute"
    CANCELLATION = "cancellation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """Hold an order or a sign-up to be credited (or a visit to be told of), as it stands now.

    `paid` and `taken_back` are what moved; `value` is what is to be credited: the chosen basis of
    what was paid, less its share of what was taken back. `customer` is the merchant's own id where
    it is known, else the provider's. `clicks` holds, per vendor, the click it is credited to, and
    `landed` those in the address where the buyer came in. `renewal` marks every paid order of a
    subscription but the first. `due_at` is set where the sale should not be told before then.
    `leads` holds, per vendor that accepted the customer as a lead, the id it was told for them.
    `redacted` marks one whose customer was removed.
    """

    id: str
    kind: ConversionKind
    provider: str
    order: str
    customer: str
    paid: Money
    taken_back: Money
    value: Money
    status: Status
    occurred_at: datetime
    cause: Cause | None = None
    subscription: str = ""
    renewal: bool = False
    test: bool = False
    reason: str = ""
    account: str = ""
    due_at: datetime | None = None
    items: tuple[Item, ...] = ()
    keys: tuple[str, ...] = ()
    clicks: Mapping[str, Click] = field(default_factory=dict)
    landed: Mapping[str, Click] = field(default_factory=dict)
    leads: Mapping[str, str] = field(default_factory=dict)
    redacted: bool = False


# ── what a vendor is told ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Hold what a vendor has accepted for one conversion: nothing at first.

    `steps` are the names of the calls it accepted; `amount` and `status` what it holds now;
    `known_as` the order id it knows the conversion by (of a lead: the customer's); `reference` its
    own id for it; `details` what else it was told, by name. `doubt` names a call that may or may
    not have been counted and must be looked up first.
    """

    steps: tuple[str, ...] = ()
    amount: Money | None = None
    status: Status | None = None
    known_as: str = ""
    reference: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    doubt: str = ""

    @property
    def nothing(self) -> bool:
        """Tell whether the vendor holds nothing of the conversion, as far as we know.

        What it was only asked, or told of the customer alone, gives the conversion no status.
        """
        return self.status is None and not self.doubt

    def also(self, step: str, *, status: Status, amount: Money | None = None) -> Told:
        """Return what has been told once one more step is accepted."""
        return replace(
            self,
            steps=(*(each for each in self.steps if each != step), step),
            status=status,
            amount=amount or self.amount,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Hold the next HTTP call to a vendor, without its credentials.

    `tells` is what the vendor has been told once it accepts. A call that is `repeatable` does no
    harm when sent twice; one that only `asks` tells the vendor nothing. `address` is the path in
    `json` ("customer.email") where the customer's e-mail address goes, if it is known: it is filled
    in at send time, and is on no record.
    """

    step: str
    url: str
    tells: Told
    method: str = "POST"
    json: Mapping[str, object] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    asks: bool = False
    address: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """Say that the vendor is up to date."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Say that the vendor is not told, and why."""

    reason: str


Plan: TypeAlias = Call | Done | Skip

# ── what a vendor answers ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """Hold a vendor's answer: header names in lower case, and the body as text."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Say that no answer came; `sent` tells whether the call may have reached the vendor."""

    reason: str
    sent: bool


@dataclass(frozen=True, slots=True)
class Retry:
    """Say that the call may be sent again later; `after` is the vendor's Retry-After, raw."""

    reason: str
    after: str = ""


@dataclass(frozen=True, slots=True)
class Dead:
    """Say that the call will never be accepted as it is, in the vendor's own words."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Say that nobody can tell from the answer whether the call was counted."""

    reason: str


Verdict: TypeAlias = Told | Retry | Dead | Unknown

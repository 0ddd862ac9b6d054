"""Attribution: who paid, and which stored click each vendor gets.

Customers are known by *keys*, strongest first: the provider's customer id ("stripe:cus_123"), the
merchant's own id ("external_id:user_123"), the e-mail ("email:" and a keyed hash), the id that the
browser holds ("anonymous:…"). Which keys are of one customer is told by `bridge.identity`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from bridge.identity import ANONYMOUS, EMAIL, EXTERNAL_ID, id_of, is_hard, is_own, kind_of
from bridge.model import Click, Context, Conversion, ConversionKind, Payment
from bridge.vendors.base import AnyVendor

# The names under which vendors' own integrations carry the merchant's customer id.
KNOWN_EXTERNAL_ID_NAMES = ("taapitCustomerExternalId", "codeqrCustomerId")
# Longer ones cannot have been stored of a click; no index takes them, and a buyer may write them.
LONGEST_ID = 255
# What programs write where a guest has no id. Taken for one, it would make all guests one customer.
NOTHING = frozenset({"", "null", "none", "nil", "nan", "n/a", "undefined", "false"})
NOBODY = NOTHING | {"0", "-1", "guest", "anonymous", "unknown"}
# The name under which a payment's metadata carries the id that our script holds in the browser.
BROWSER = "bridge_id"
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredClick:
    """Hold a click as it was stored: `value` is raw, as the merchant gave it for that vendor.

    `exact` tells whether `captured_at` is when the click happened, or only when we heard of it;
    `live` that we heard of it as it happened, by our own clock.
    `landed` marks one that was only read off the address with which the buyer of an order came in.
    """

    vendor: str
    value: object
    captured_at: datetime
    keys: frozenset[str]
    exact: bool = True
    live: bool = False
    landed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Hold the merchant's rules of attribution."""

    first: bool = False
    days: int = 90
    external_id_names: tuple[str, ...] = ("user_id", "external_id")
    email_key: bytes = field(default=b"", repr=False)


def email_key(email: str, secret: bytes) -> str:
    """Return the key of an e-mail address: a keyed hash, the same in upper and lower case."""
    folded = email.strip().casefold().encode()
    return f"{EMAIL}:{hmac.new(secret, folded, hashlib.sha256).hexdigest()[:40]}"


def identify(payment: Payment, vendors: Mapping[str, AnyVendor], rules: Rules) -> Payment:
    """Fill in a payment's keys and clicks from what was seen beside it, which then goes."""
    context = payment.context or Context()
    keys = [f"{payment.provider}:{payment.customer}"] if payment.customer else []
    keys += [f"{EXTERNAL_ID}:{each}" for each in _external_ids(context, vendors, rules)]
    keys += [email_key(context.email, rules.email_key)] if context.email.strip() else []
    browser = context.metadata.get(BROWSER, "").strip()
    keys += [f"{ANONYMOUS}:{browser}"] if browser.lower() not in NOBODY else []
    keys = [each for each in dict.fromkeys(keys) if len(id_of(each)) <= LONGEST_ID]
    clicks = {name: click for name in vendors if (click := _carried(vendors[name], context))}
    landed = {name: click for name in vendors if (click := _landed(vendors[name], context))}
    return replace(payment, context=None, keys=tuple(keys), clicks=clicks, landed=landed)


def resolve(
    conversion: Conversion,
    stored: Sequence[StoredClick],
    aliases: Iterable[str],
    vendors: Mapping[str, AnyVendor],
    rules: Rules,
    *,
    began_at: datetime | None = None,
    heard_at: datetime | None = None,
) -> Conversion:
    """Credit a conversion to the clicks it came from, one for each vendor.

    A click that the payment itself carries wins. Then come the stored ones: by the strongest key
    they share with the conversion, within the look-back window, the last or the first of them. Last
    comes what the address tells with which a buyer came in: others use such parameters as well.
    For a vendor that merges clicks, each completes what the better ones leave open. `aliases` are
    all keys of this customer. A renewal is credited as the order with which its subscription
    `began_at`, however long ago, and only by its own time where that had no click. `heard_at` is
    when we heard of the sale: a click of unknown time that we knew by then may have led to it.
    What a vendor keeps of a person beside the click is told as it was reported last.
    """
    moments = dict.fromkeys((began_at or conversion.occurred_at, conversion.occurred_at))
    clicks = dict(conversion.clicks)
    for name, vendor in vendors.items():
        of_vendor = [each for each in stored if each.vendor == name]
        found = [clicks[name]] if name in clicks else []
        known = [each for each in of_vendor if _is_known(each, heard_at, rules)]
        ranked = [_best_first(of_vendor, conversion, vendor, rules, at) for at in moments]
        ranked += [_best_first(known, conversion, vendor, rules, heard_at)] if heard_at else []
        found += next(filter(None, ranked), [])
        found += [conversion.landed[name]] if name in conversion.landed else []
        chosen = found if vendor.merges_clicks else found[:1]
        if merged := {kind: id for each in reversed(chosen) for kind, id in each.items()}:
            clicks[name] = merged
        if name in clicks and conversion.kind is ConversionKind.LEAD:
            clicks[name] = _as_reported_last(clicks[name], of_vendor, vendor)
    customer = _customer(conversion, aliases)
    return replace(conversion, clicks=clicks, customer=customer)


def _external_ids(
    context: Context, vendors: Mapping[str, AnyVendor], rules: Rules
) -> Iterable[str]:
    names = (*rules.external_id_names, *KNOWN_EXTERNAL_ID_NAMES)
    given = [context.metadata.get(name, "") for name in names]
    if not any(each.read_reference(context.reference) for each in vendors.values()):
        given.append(context.reference)
    yield from (each.strip() for each in given if each.strip().lower() not in NOBODY)


def _carried(vendor: AnyVendor, context: Context) -> Click | None:
    """Return the click of one vendor that a payment carries in metadata or reference, if any."""
    for name in vendor.click_names:
        if (value := context.metadata.get(name)) and (click := _read(vendor, value)):
            return click
    return (
        vendor.read_reference(context.reference) if context.reference else None
    ) or vendor.capture(context)


def _landed(vendor: AnyVendor, context: Context) -> Click | None:
    """Return the click with which the buyer came in, by the parameters of that address."""
    try:
        return vendor.read_landing(landing_parameters(context.url))
    except ValueError:
        return None


def landing_parameters(url: str) -> dict[str, str]:
    """Return the parameters of an address; raise ValueError where it is none."""
    given = parse_qsl(urlsplit(url).query)
    return {name: value for name, value in given if value.strip().lower() not in NOTHING}


def _read(vendor: AnyVendor, value: object) -> Click | None:
    if isinstance(value, str) and value.strip().lower() in NOTHING:
        return None
    try:
        return vendor.read_click(value)
    except ValueError:
        return None  # a value that is no click of this vendor's cannot be credited to it


def _best_first(
    stored: Sequence[StoredClick],
    conversion: Conversion,
    vendor: AnyVendor,
    rules: Rules,
    sold_at: datetime,
) -> list[Click]:
    eligible = [each for each in stored if _in_window(each, sold_at, rules)]
    strength = {key: at for at, key in enumerate(strongest_first(conversion.keys))}
    weakest = len(strength)

    def preference(each: StoredClick) -> tuple[bool, int, bool, float, str]:
        key = min((strength.get(key, weakest) for key in each.keys), default=weakest)
        before = each.captured_at <= sold_at + CLOCK_SKEW
        age = (sold_at - each.captured_at).total_seconds()
        nearest = -age if before and rules.first else abs(age)
        return each.landed, key, not before, nearest, repr(each.value)

    read = (_read(vendor, each.value) for each in sorted(eligible, key=preference))
    return [click for click in read if click is not None]


def _in_window(click: StoredClick, sold_at: datetime, rules: Rules) -> bool:
    """Tell whether a click can have led to a sale.

    One whose own time is not known may have happened any time before we heard of it, so hearing of
    it after the sale is no reason to refuse it, within the same window.
    """
    window = timedelta(days=rules.days)
    latest = sold_at + (CLOCK_SKEW if click.exact or click.live else window)
    return sold_at - window <= click.captured_at <= latest


def _as_reported_last(click: Click, stored: Sequence[StoredClick], vendor: AnyVendor) -> Click:
    """Return a click with the metadata of all reports of it, the last of which wins."""
    if not vendor.landing_prefix or vendor.merges_clicks:
        return click
    ids = _ids_in(click, vendor)
    oldest_first = sorted(stored, key=lambda each: (each.captured_at, repr(each.value)))
    read = (_read(vendor, each.value) for each in oldest_first)
    reports = [each for each in read if each and _ids_in(each, vendor) == ids]
    return {name: text for each in (click, *reports) for name, text in each.items()}


def _ids_in(click: Click, vendor: AnyVendor) -> Click:
    return {k: v for k, v in click.items() if not k.startswith(vendor.landing_prefix)}


def _is_known(click: StoredClick, heard_at: datetime | None, rules: Rules) -> bool:
    """Tell whether a click was known when we heard of a sale: that of a replayed fixture, say.

    One whose own time lies after the sale did not lead to it, however late we heard of the sale.
    """
    if heard_at is None or click.exact:
        return False
    return heard_at - timedelta(days=rules.days) <= click.captured_at <= heard_at


def strongest_first(keys: Iterable[str]) -> list[str]:
    """Order keys: a provider's id before the merchant's, an e-mail, and last a browser's."""
    order = {EXTERNAL_ID: 1, EMAIL: 2, ANONYMOUS: 3}
    return sorted(keys, key=lambda key: order.get(kind_of(key), 0))


def _customer(conversion: Conversion, aliases: Iterable[str]) -> str:
    """Return the id by which vendors know the customer: the merchant's own where it is known.

    Else a provider's, that of the order first, else the e-mail's hash or what the browser holds; an
    order without any customer stands for itself.
    """
    keys = strongest_first(dict.fromkeys((*conversion.keys, *sorted(aliases))))
    own = [id_of(key) for key in keys if is_own(key)]
    given = [id_of(key) for key in keys if kind_of(key) == conversion.provider]
    others = [id_of(key) for key in keys if is_hard(key)]
    soft = [key for key in keys if not is_hard(key)]
    return next(iter((*own, *given, *others, *soft)), conversion.order)

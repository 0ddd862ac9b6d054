"""Fresh ids: fixtures as if they told of another purchase, by the same customer, of the same thing.

The same id becomes the same new one wherever it stands, in all files of a run, so that what belongs
together stays together: a refund with its sale, whichever of them is sent first.

- `in_1QNj…` (Stripe, Paddle): new ones behind the same prefix.
- Numbers (Shopify, Paddle Classic): known by the fields they stand in, `id` or `…_id`; then changed
  wherever else they stand, in `gid://shopify/Order/820…` and addresses, too. As long as before.
- The headers that name a delivery.

Customers, shops, products, prices and what the merchant attached stay who and what they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from bridge.cli.documents import Document, leaves, mapped

# A prefix, and a tail with a digit or a capital in it, which names of fields and states
# (status_transitions) have not.
PREFIXED = re.compile(
    r"(?<![A-Za-z0-9_])([a-z]{2,10}_(?:live_|test_)?)(?=[a-z]*[A-Z0-9])([A-Za-z0-9]{10,})\b"
    r"(?![\w.+-]*@)"  # jane_doe1985abc@example.com
)
NUMBERED = re.compile(r"(.*_)?ids?|orders_requested|orders_to_redact")
NUMBERS = re.compile(r"\d+(-\d+)*")  # Paddle Classic's order ids are two: 123456-789012
DIGITS = re.compile(r"\d+")
GLOBAL = re.compile(r"gid://shopify/(\w+)/(\d+)")
HEADER = re.compile(r".*-(webhook|event)-id")
# Shorter numbers are counts, or may well be something else: in an id's own field, in any text,
# and as a plain number in any field.
SHORTEST, SHORTEST_IN_TEXT, SHORTEST_ANYWHERE = 4, 6, 10

# Customers stay, so that the clicks stored for them are found; so do those who sell, and what.
STEADY_PREFIXES = (
    *("acct_", "cus_", "ctm_", "add_", "biz_"),
    *("prod_", "price_", "pro_", "pri_", "dsc_"),
)
STEADY_KINDS = {"App", "Customer", "Location", "Product", "ProductVariant", "Shop"}
CUSTOMERS = {"customer", "customer_details", "customer_id", "customer_user_id", "user_id"}
THINGS = {
    *("account", "app_id", "location_id", "shop_id"),
    *("product_id", "subscription_plan_id", "variant_id"),
}
ATTACHED = {
    *("client_reference_id", "custom_data", "metadata", "note_attributes", "passthrough"),
    *("properties", "landing_site", "landing_site_ref", "referring_site"),
}
STEADY = CUSTOMERS | THINGS | ATTACHED


def renewed(documents: Sequence[Document], seed: str) -> list[Document]:
    """Return documents with fresh ids, all of them derived from `seed`."""
    renewal = _Renewal(seed, documents)
    return [
        replace(
            each,
            value=mapped(each.value, renewal.of_value, STEADY),
            headers={name: renewal.of_header(name, text) for name, text in each.headers.items()},
        )
        for each in documents
    ]


class _Renewal:
    """Know which numbers are ids, and what becomes of each id."""

    def __init__(self, seed: str, documents: Sequence[Document]) -> None:
        self._seed = seed
        values = [each.value for each in documents]
        changing = {number for each in values for number in _changing(each)}
        self._numbers = changing - {number for each in values for number in _staying(each)}

    def of_value(self, name: str, value: Any) -> Any:
        """Return what becomes of a value in a field of this name."""
        is_id = NUMBERED.fullmatch(name) is not None
        if type(value) is int:
            return int(self._digits(str(value), SHORTEST if is_id else SHORTEST_ANYWHERE))
        if not isinstance(value, str):
            return value
        least = SHORTEST if is_id and NUMBERS.fullmatch(value) else SHORTEST_IN_TEXT
        value = DIGITS.sub(lambda match: self._digits(match.group(), least), value)
        return PREFIXED.sub(self._prefixed, value)

    def of_header(self, name: str, value: str) -> str:
        """Return what becomes of a header: another UUID in place of one, say."""
        if not HEADER.fullmatch(name):
            return value
        new = iter(self._digest(value))
        return re.sub("[0-9a-f]", lambda match: next(new, match.group()), value)

    def _prefixed(self, match: re.Match[str]) -> str:
        prefix, tail = match.groups()
        if prefix in STEADY_PREFIXES:
            return match.group()
        return str(prefix + self._digest(tail)[: max(len(tail), 24)])

    def _digits(self, number: str, least: int) -> str:
        if len(number) < least or number not in self._numbers:
            return number
        some = str(int(self._digest(number), 16))
        # Neither a zero, which a number loses, nor a nine, with which 19 digits may be too many
        # for 64 bits.
        return (str(1 + int(some[-1]) % 8) + some)[: len(number)]

    def _digest(self, old: str) -> str:
        return hashlib.sha256(f"{self._seed}{old}".encode()).hexdigest()


def _changing(value: Any) -> Iterator[str]:
    """Yield the numbers that name something which would be another one in another purchase."""
    for name, each in leaves(value, STEADY):
        if NUMBERED.fullmatch(name):
            yield from _numbers(each)
        yield from (number for kind, number in _global(each) if kind not in STEADY_KINDS)


def _staying(value: Any) -> Iterator[str]:
    """Yield the numbers that name a customer, a shop, a product, wherever these are named."""
    for name, each in leaves(value, ATTACHED):
        if name in CUSTOMERS | THINGS:
            yield from _numbers(each)
        yield from (number for kind, number in _global(each) if kind in STEADY_KINDS)


def _numbers(value: Any) -> Iterable[str]:
    is_one = type(value) is int or (isinstance(value, str) and NUMBERS.fullmatch(value))
    return (each for each in DIGITS.findall(str(value)) if len(each) >= SHORTEST) if is_one else ()


def _global(value: Any) -> Iterable[tuple[str, str]]:
    return GLOBAL.findall(value) if isinstance(value, str) else ()

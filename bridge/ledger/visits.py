"""Sign-ups and visits: orders of no money, of which any number of reports are one conversion."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.model import Conversion, ConversionKind, Payment, PaymentKind, Status
from bridge.money import Money

KINDS = {
    PaymentKind.LEAD: ConversionKind.LEAD,
    PaymentKind.PAGEVIEW: ConversionKind.PAGEVIEW,
}
NOTHING = Money(0, "USD")  # a conversion has an amount; of none, the currency says nothing


def fold_visit(payments: Sequence[Payment]) -> list[Conversion]:
    """Return the conversion of an order that is a sign-up or a visit; nothing for any other.

    It is the first report that names it. A test is a sign-up only where there is no live one.
    """
    reports = [each for each in payments if each.kind in KINDS]
    live = [each for each in reports if not each.test] or reports
    oldest = sorted(live, key=lambda each: (each.occurred_at, each.provider, each.id, each.keys))
    if not oldest:
        return []
    first = oldest[0]
    return [
        Conversion(
            id=f"{first.provider}:{first.id}",
            kind=KINDS[first.kind],
            provider=first.provider,
            order=first.id,
            customer="",
            paid=NOTHING,
            taken_back=NOTHING,
            value=NOTHING,
            status=Status.APPROVED,
            occurred_at=first.occurred_at,
            test=first.test,
            account=first.account,
            keys=tuple(dict.fromkeys(key for each in oldest for key in each.keys)),
            clicks={
                name: click for each in reversed(oldest) for name, click in each.clicks.items()
            },
            redacted=any(each.redacted for each in payments),
        )
    ]

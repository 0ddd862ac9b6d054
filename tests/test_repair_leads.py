"""`bridge resolve` of a lead: the sales that waited for it go on, as if it had been accepted."""

from __future__ import annotations

import pytest
from kit import SALE, Bench, Make
from merchant import LONG_AGO, USER, conversions, delivery, sign_up
from typing_in import printed

from bridge.model import ConversionKind
from bridge.store.rows import DeliveryState

LEAD, SOLD = ConversionKind.LEAD, ConversionKind.SALE


@pytest.fixture
def doubtful(make: Make) -> Bench:
    """A sale that nothing but a lead of long ago credits, which Taapit may have or not."""
    made = make("taapit")
    made.play(*SALE)
    made.fault("taapit", {"commit_then_reset": True})
    sign_up(made, customer={"external_id": USER}, occurred_at=LONG_AGO)
    assert delivery(made, "taapit", LEAD)[0] == DeliveryState.UNKNOWN
    assert delivery(made, "taapit", SOLD)[0] == DeliveryState.SKIPPED
    assert made.sales("taapit") == []
    return made


def resolve(made: Bench, answer: str) -> None:
    (lead,) = conversions(made)
    printed("resolve", f"{lead.id}@taapit", answer)
    made.clock.catch_up()
    made.worker.drain()


def test_a_sale_goes_on_when_its_lead_was_delivered(doubtful: Bench) -> None:
    resolve(doubtful, "--delivered")
    assert delivery(doubtful, "taapit", LEAD) == (DeliveryState.SETTLED, "")
    assert delivery(doubtful, "taapit", SOLD) == (DeliveryState.SETTLED, "")
    assert len(doubtful.sales("taapit")) == 1


def test_a_sale_waits_on_while_its_lead_is_sent_again(doubtful: Bench) -> None:
    doubtful.fault("taapit", {"status": 503, "body": "busy"})
    resolve(doubtful, "--resend")
    assert delivery(doubtful, "taapit", LEAD)[0] == DeliveryState.DUE
    assert delivery(doubtful, "taapit", SOLD)[0] == DeliveryState.SKIPPED
    doubtful.clock.advance(hours=1)
    doubtful.worker.drain()
    assert delivery(doubtful, "taapit", SOLD) == (DeliveryState.SETTLED, "")

"""Succession: a conversion whose payments now belong to others leaves them what was told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from bridge.model import Cause, Conversion, Status
from bridge.store import Store
from bridge.store.rows import DeliveryRow, DeliveryState


def hand_over(store: Store, gone: Conversion, others: Sequence[Conversion], now: datetime) -> bool:
    """Hand what the vendors were told of a conversion, and its history, to those in its place.

    Returns False where a vendor was told of those as well, or is just being told.
    """
    rows = store.deliveries.of_conversion(gone.id)
    handed = [_pass_on(store, row, gone, others, now) for row in rows]
    return all(handed)


def taken_back(gone: Conversion, others: Sequence[Conversion]) -> Conversion:
    """Return a conversion of which a vendor holds more than one can hand over, as given back."""
    names = ", ".join(each.id for each in others)
    return replace(
        gone,
        status=Status.DISAPPROVED,
        taken_back=gone.paid,
        value=replace(gone.value, minor=0),
        cause=gone.cause or Cause.CANCELLATION,
        reason=f"it is part of {names}" if names else "it is no sale any more",
    )


def _pass_on(
    store: Store, row: DeliveryRow, gone: Conversion, others: Sequence[Conversion], now: datetime
) -> bool:
    """Hand on one delivery: not while a call is being sent, nor a sale that was taken back."""
    being_sent = row.state is DeliveryState.SENDING and row.in_flight is not None
    if being_sent or row.told.status is Status.DISAPPROVED:
        return False
    ids = (f"{each.id}@{row.vendor}" for each in others)
    heirs = [heir for each in ids if (heir := store.deliveries.get(each))]
    told = row.told
    if not _is_blank(row):
        heirs = list(filter(_is_blank, heirs))
        told = replace(told, known_as=told.known_as or gone.order)
    if heirs:
        store.deliveries.hand_over(row, heirs[0].id, told, now)
    return bool(heirs) or _is_blank(row)


def _is_blank(row: DeliveryRow) -> bool:
    """Tell whether a vendor cannot know of a conversion yet."""
    return row.told.nothing and row.in_flight is None

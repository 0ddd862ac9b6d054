"""Mutations of a body, for fuzzing: a few of its places dropped, or given odd values."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

DROP = object()


def places(thing: object) -> Iterator[tuple[Any, Any]]:
    """Yield every place in a body: what it lies in, and its key or index there."""
    if isinstance(thing, (dict, list)):
        for key, value in thing.items() if isinstance(thing, dict) else enumerate(thing):
            yield thing, key
            yield from places(value)


def mutate(thing: object, data: st.DataObject, odd: st.SearchStrategy[Any], most: int) -> None:
    """Change at most so many places of a body; DROP among the odd values takes one out."""
    for _ in range(data.draw(st.integers(1, most))):
        found = list(places(thing))
        if not found:
            return
        where, key = found[data.draw(st.integers(0, len(found) - 1))]
        value = data.draw(odd)
        if value is DROP:
            del where[key]
        else:
            where[key] = copy.deepcopy(value)

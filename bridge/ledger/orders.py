"""Which payments belong to one order: those that share a reference, directly or through others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from bridge.model import Payment


def connect(payments: Iterable[Payment]) -> list[list[Payment]]:
    """Part payments into orders: those that share a reference, directly or through others.

    Payments without any reference (they only say who a customer is) belong to no order.
    """
    sets = Sets()
    members = [(each, {f"{each.provider}:{one}" for one in each.references}) for each in payments]
    for _, names in members:
        sets.join(names)
    orders: dict[str, list[Payment]] = defaultdict(list)
    for payment, names in members:
        if names:
            orders[sets.find(min(names))].append(payment)
    return list(orders.values())


class Sets:
    """Keep disjoint sets of strings; each is named by its smallest member."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def find(self, member: str) -> str:
        """Return the name of the set that holds a member."""
        root = member
        while (parent := self._parent.get(root, root)) != root:
            root = parent
        while (parent := self._parent.get(member, member)) != root:
            self._parent[member], member = root, parent
        return root

    def join(self, members: Iterable[str]) -> None:
        """Make one set of the sets that hold these members."""
        roots = sorted({self.find(each) for each in members})
        for root in roots:
            self._parent[root] = roots[0]

    def members(self) -> list[str]:
        """Return all strings that were ever joined, if only by themselves."""
        return list(self._parent)

    def parts(self) -> list[set[str]]:
        """Return the sets."""
        parts: dict[str, set[str]] = defaultdict(set)
        for member in self._parent:
            parts[self.find(member)].add(member)
        return list(parts.values())

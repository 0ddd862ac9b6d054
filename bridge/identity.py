"""Identity: which keys are of one customer. A pure function of the set of all that was ever said.

Customers are known by *keys*: the provider's customer id ("stripe:cus_123"), the merchant's own id
("external_id:user_123"), the e-mail ("email:" and a keyed hash), the id that a browser holds
("anonymous:…"). Keys that arrive together make a *bond*. Bonds are kept, and customers are worked
out of all of them, so neither the order nor the repetition of what is said can matter.

- What servers and providers say of hard keys (the merchant's ids and the providers') joins them.
- Any other key joins a customer, but never two who both have an id of the merchant's: a browser
  that two persons use, or an address that two accounts share, is of neither.
- What a browser says is only a *claim*: anybody can say anything with a key that stands in a page.
  It brings clicks to whoever it names, but makes nobody one customer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from bridge.ledger.orders import Sets

EXTERNAL_ID = "external_id"
EMAIL = "email"
ANONYMOUS = "anonymous"
SOFT = frozenset({EMAIL, ANONYMOUS})

Keys = frozenset[str]


@dataclass(frozen=True, slots=True)
class Bond:
    """Say that these keys are of one customer; `claimed` where only a browser says so."""

    keys: Keys
    claimed: bool = False


def customers(bonds: Iterable[Bond], public: Collection[str] = ()) -> dict[str, str]:
    """Return the customer of every key in these bonds; each is named by the smallest of its keys.

    `public` keys are known to be of too many to be anybody's.
    """
    bonds = list(bonds)
    sets = Sets()
    for key in {key for bond in bonds for key in bond.keys}:
        sets.join([key])
    bundles = [bond.keys - frozenset(public) for bond in bonds if not bond.claimed]
    for keys in bundles:
        sets.join(filter(is_hard, keys))
    _join(sets, bundles)
    return {key: sets.find(key) for key in sets.members()}


def kind_of(key: str) -> str:
    """Return the kind of a key: "stripe", "external_id", "email", "anonymous"."""
    return key.partition(":")[0]


def id_of(key: str) -> str:
    """Return the id in a key, as whoever gave it writes it."""
    return key.partition(":")[2]


def is_hard(key: str) -> bool:
    """Tell whether a key was given to one customer by a provider or by the merchant."""
    return kind_of(key) not in SOFT


def is_own(key: str) -> bool:
    """Tell whether a key is the merchant's own id of a customer."""
    return kind_of(key) == EXTERNAL_ID


def _join(sets: Sets, bundles: Sequence[Keys]) -> None:
    """Join the keys of each bundle, unless customers with ids of the merchant's would meet."""
    owned = _owned(sets)
    named = [_names(sets, keys) for keys in bundles]
    met: dict[str, set[str]] = defaultdict(set)
    for names in named:
        for name in names - owned:
            met[name] |= names & owned
    shared = {name for name, owners in met.items() if len(owners) > 1}
    named = [names - shared for names in named]
    met_by = [(names, len(names & owned)) for names in named]
    for names, owners_met in met_by:
        if owners_met == 1:
            sets.join(names)
    _join_chains(sets, [names for names, owners_met in met_by if not owners_met])


def _join_chains(sets: Sets, bundles: Iterable[Collection[str]]) -> None:
    """Join bundles that met nobody's own id, as far as no chain of them ties two customers."""
    owned = _owned(sets)
    chains = Sets()
    for keys in bundles:
        chains.join(_names(sets, keys))
    for chain in chains.parts():
        if len(chain & owned) <= 1:
            sets.join(chain)


def _owned(sets: Sets) -> set[str]:
    """Return the names of the sets that hold an id of the merchant's."""
    return {sets.find(key) for key in sets.members() if is_own(key)}


def _names(sets: Sets, keys: Iterable[str]) -> set[str]:
    return set(map(sets.find, keys))

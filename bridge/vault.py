"""The vault: what is kept of e-mail addresses, and under which key.

People are found by a keyed hash of their address. The address itself is kept only where a vendor
is to be told it: encrypted under BRIDGE_SECRET_KEY, and no longer than BRIDGE_RETENTION_DAYS. That
key may be several, "new,old": the first encrypts, all decrypt. The key of the hashes must stay the
same for ever, so it is made up with the database and kept there, encrypted likewise.
"""

from __future__ import annotations

import base64
import html
import json
import re
import secrets
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from urllib.parse import quote

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bridge.attribution import email_key, strongest_first
from bridge.config import Config
from bridge.errors import ConfigError
from bridge.identity import EMAIL, kind_of
from bridge.store import Store

HASH_KEY = "email_key"  # made up with the database; blank once it is sealed
OPENLY, SEALED = "email_key_in_use", "email_key_sealed"
# The database is from a time when BRIDGE_SECRET_KEY, where it was set, was itself the key.
UNSETTLED = "email_key_unsettled"
LAST_RESORT = "if it is lost, `bridge migrate --new-secret-key` gives up the addresses known so far"


class Vault:
    """Hash e-mail addresses, and keep those that a vendor is to be told."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        setting = config.settings.secret_key
        self._setting = setting.get_secret_value() if setting else ""
        self._fernets = [_fernet(each) for each in config.settings.secret_keys()]
        self._wanted = any(each.wants_email for each in config.vendors.values())
        self.hash_key = self._hash_key()

    def keep(self, email: str, now: datetime) -> None:
        """Keep an address where a vendor wants it."""
        if self._wanted and email.strip():
            token = self._fernets[0].encrypt(email.strip().encode()).decode()
            self._store.addresses.put(email_key(email, self.hash_key), token, now)

    def address(self, keys: Iterable[str]) -> str:
        """Return the address of the customer with these keys, or ""."""
        for token in self._store.addresses.get(sorted(keys)) if self._fernets else ():
            try:
                return MultiFernet(self._fernets).decrypt(token).decode()
            except InvalidToken:
                continue  # of a key that is gone: as good as dropped
        return ""

    def address_of(self, keys: Collection[str]) -> str:
        """Return the e-mail address of the customer with these keys, if it is clear which it is."""
        aliases = self._store.customers.aliases(strongest_first(keys)[:1])
        theirs = [key for key in aliases if kind_of(key) == EMAIL]
        # Of several addresses of a customer, only the order itself says which one is meant.
        known = [*(key for key in keys if kind_of(key) == EMAIL), *theirs[: len(theirs) == 1]]
        return next(filter(None, map(self.address, ([key] for key in known))), "")

    def rotate(self) -> int:
        """Encrypt anew what an older key encrypted; return how many addresses that were."""
        changed = 0
        for key, token in self._store.addresses.all().items() if len(self._fernets) > 1 else ():
            if not _opens(self._fernets[0], token):
                try:
                    again = MultiFernet(self._fernets).rotate(token.encode()).decode()
                except InvalidToken:
                    continue
                self._store.addresses.replace(key, token, again)
                changed += 1
        return changed

    # ── the key of the hashes ──

    def _hash_key(self) -> bytes:
        facts = self._store.facts
        # Mostly it is there, and nobody who writes is waited for.
        if sealed := facts.get(SEALED):
            return self._unseal(sealed)
        if not self._fernets and facts.get(OPENLY) and (key := facts.get(HASH_KEY)):
            return key.encode()
        with self._store.atomic():  # who starts at the same time, with another setting, waits
            if sealed := facts.get(SEALED):
                return self._unseal(sealed)
            if self._fernets:
                return self._seal()
            if not facts.get(OPENLY):
                facts.put(OPENLY, "1")
            return self._open_key().encode()

    def _open_key(self) -> str:
        key = self._store.facts.get(HASH_KEY)
        if not key:
            key = secrets.token_hex(32)
            self._store.facts.put(HASH_KEY, key)
        return key

    def _seal(self) -> bytes:
        """Encrypt the key of the hashes: from now on nobody knows it without BRIDGE_SECRET_KEY."""
        facts = self._store.facts
        if facts.get(UNSETTLED) and not facts.get(OPENLY):
            # The open one stays: perhaps it was in use, and the setting is new. We cannot know.
            key = self._setting
        else:
            key = self._open_key()
            facts.put(HASH_KEY, "")
            self._store.persons.mark_unscrubbed()  # it lay open on the disk until now
        facts.put(SEALED, self._fernets[0].encrypt(key.encode()).decode())
        return key.encode()

    def _unseal(self, sealed: str) -> bytes:
        if not self._fernets:
            raise ConfigError(
                "BRIDGE_SECRET_KEY is not set, but this database was made with one: its hashes of "
                f"e-mail addresses cannot be read without ({LAST_RESORT})"
            )
        try:
            key = MultiFernet(self._fernets).decrypt(sealed)
        except InvalidToken:
            raise ConfigError(
                "BRIDGE_SECRET_KEY is not the one this database was made with "
                f'(to change it, give both for a while: "new,old"; {LAST_RESORT})'
            ) from None
        if not _opens(self._fernets[0], sealed):
            self._store.facts.put(SEALED, self._fernets[0].encrypt(key).decode())
        return key


def start_anew(store: Store) -> None:
    """Give up a lost BRIDGE_SECRET_KEY: with it go all addresses, and who they were of."""
    with store.atomic():
        for each in (SEALED, OPENLY, UNSETTLED):
            store.facts.put(each, "")
        store.facts.put(HASH_KEY, secrets.token_hex(32))
        if store.addresses.drop(datetime.max.replace(tzinfo=UTC)):
            store.persons.mark_unscrubbed()


def spellings_of(address: str) -> re.Pattern[str]:
    """Return what finds an address in JSON, in HTML, in a URL, in upper or lower case."""
    return re.compile("".join(map(_spellings, address)), re.IGNORECASE)


def _spellings(each: str) -> str:
    if each.isascii() and each.isalnum():
        return each
    code = ord(each)
    written = (each, quote(each, safe=""), html.escape(each), json.dumps(each)[1:-1])
    numbered = (f"\\u{code:04x}", f"&#{code};", f"&#x{code:x};", f"%{code:02x}")
    return f"(?:{'|'.join(map(re.escape, (*written, *numbered)))})"


def _fernet(secret: str) -> Fernet:
    """Derive a key of its own from a secret of any form and length."""
    derived = HKDF(SHA256(), 32, salt=None, info=b"bridge: e-mail addresses")
    return Fernet(base64.urlsafe_b64encode(derived.derive(secret.encode())))


def _opens(fernet: Fernet, token: str) -> bool:
    try:
        fernet.decrypt(token)
    except InvalidToken:
        return False
    return True

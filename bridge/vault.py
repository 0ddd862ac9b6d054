"""The vault: what is kept of e-mail addresses, and under which key.

People are found by a keyed hash of their address. The address itself is kept only where a vendor
is to be told it: encrypted under BRIDGE_SECRET_KEY, and no longer than BRIDGE_RETENTION_DAYS. That
key may be several, "new,old": the first encrypts, all decrypt. The key of the hashes must stay the
same for ever, so it is kept in the database, encrypted likewise.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from datetime import datetime
from urllib.parse import quote

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bridge.attribution import email_key
from bridge.config import Config
from bridge.errors import ConfigError
from bridge.store import Store

HASH_KEY = "email_key"  # made up with the database, for those who set no key of their own
OPENLY, SEALED = "email_key_in_use", "email_key_sealed"


class Vault:
    """Hash e-mail addresses, and keep those that a vendor is to be told."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._secrets = config.settings.secret_keys()
        self._fernets = [_fernet(each) for each in self._secrets]
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
        sealed = facts.get(SEALED)
        if not self._fernets:
            if sealed:
                raise ConfigError(
                    "BRIDGE_SECRET_KEY is not set, but this database was made with one: "
                    "its hashes of e-mail addresses cannot be read without"
                )
            if not facts.get(OPENLY):
                facts.add(OPENLY, "1")
            return facts.get(HASH_KEY).encode()
        if not sealed:
            first = facts.get(HASH_KEY) if facts.get(OPENLY) else self._secrets[0]
            sealed = facts.add(SEALED, self._fernets[0].encrypt(first.encode()).decode())
            facts.put(HASH_KEY, "")  # from now on it is known to nobody without that key
        return self._unseal(sealed)

    def _unseal(self, sealed: str) -> bytes:
        try:
            key = MultiFernet(self._fernets).decrypt(sealed)
        except InvalidToken:
            raise ConfigError(
                "BRIDGE_SECRET_KEY is not the one this database was made with "
                '(to change it, give both for a while: "new,old")'
            ) from None
        if not _opens(self._fernets[0], sealed):
            self._store.facts.put(SEALED, self._fernets[0].encrypt(key).decode())
        return key


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

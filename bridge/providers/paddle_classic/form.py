"""The form that Paddle Classic posts, and its signature.

https://developer.paddle.com/classic/reference/verifying-webhooks: RSA PKCS#1 v1.5 with SHA-1 over
all fields but `p_signature`, sorted by name and written as PHP serialises an array.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote_plus, unquote_plus

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1

from bridge.errors import PayloadError

SIGNATURE = "p_signature"
# A Classic alert has about 40 fields.
MOST_FIELDS = 500
# Bytes that are no UTF-8 are kept: the signature covers them as they are.
ESCAPE = "surrogateescape"


def fields_of(form: str) -> dict[str, str]:
    """Return the fields of a form, blank ones too, the first of each name; raise PayloadError."""
    if "\0" in form:
        raise PayloadError("the body is no form, as Paddle sends it: it has a NUL byte")
    try:
        pairs = parse_qsl(
            form,
            keep_blank_values=True,
            max_num_fields=MOST_FIELDS,
            encoding="utf-8",
            errors=ESCAPE,
        )
    except ValueError:
        raise PayloadError(f"the body is a form of more than {MOST_FIELDS} fields") from None
    return dict(reversed(pairs))


def signed_bytes(fields: Mapping[str, str]) -> bytes:
    """Return what is signed of a form: `a:1:{s:3:"key";s:5:"value";}`, lengths in bytes."""
    raw = {_bytes(name): _bytes(each) for name, each in fields.items() if name != SIGNATURE}
    body = b"".join(_string(name) + _string(raw[name]) for name in sorted(raw))
    return b"a:%d:{%b}" % (len(raw), body)


def is_signed(fields: Mapping[str, str], key: rsa.RSAPublicKey) -> bool:
    """Tell whether a form holds the signature that the owner of a key made of it."""
    try:
        signature = base64.b64decode(fields.get(SIGNATURE, ""), validate=True)
        # SHA-1 is what Paddle signs with: there is no other scheme to ask for.
        key.verify(signature, signed_bytes(fields), PKCS1v15(), SHA1())  # noqa: S303
    except (ValueError, InvalidSignature):
        return False
    return True


def signed_form(form: str, key: rsa.RSAPrivateKey) -> str:
    """Return a form with its signature made anew, all else as it is."""
    pairs = [each for each in form.strip("\r\n").split("&") if _name(each) != SIGNATURE]
    kept = "&".join(pairs)
    signature = key.sign(signed_bytes(fields_of(kept)), PKCS1v15(), SHA1())  # noqa: S303
    return f"{kept}&{SIGNATURE}={quote_plus(base64.b64encode(signature))}"


def _name(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0])


def _string(value: bytes) -> bytes:
    return b's:%d:"%b";' % (len(value), value)


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", ESCAPE)

"""The settings of Paddle Classic: PADDLE_CLASSIC_… in the environment."""

from __future__ import annotations

import hashlib
from typing import Annotated

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import Field, PlainValidator, SecretStr, ValidationInfo, field_validator

from bridge.plugin import PluginSettings


class PublicKey:
    """Hold the key that signatures are checked with; it is shown by its fingerprint."""

    def __init__(self, key: rsa.RSAPublicKey) -> None:
        self.rsa = key

    def __str__(self) -> str:
        der = self.rsa.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return f"RSA {self.rsa.key_size} bits, SHA-256 {hashlib.sha256(der).hexdigest()[:16]}…"


def read_public_key(value: object) -> PublicKey:
    """Return the key of a PEM text; raise ValueError that says where to find it."""
    try:
        key = serialization.load_pem_public_key(_pem(value))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError(
            "must be the whole public key that Paddle shows under Developer Tools > Public Key, "
            "from -----BEGIN PUBLIC KEY----- to -----END PUBLIC KEY-----; in .env: in double "
            "quotes, or with \\n in place of its line breaks"
        )
    return PublicKey(key)


def read_private_key(pem: SecretStr) -> rsa.RSAPrivateKey:
    """Return the key of a PEM text; raise ValueError where it is none."""
    try:
        key = serialization.load_pem_private_key(
            _pem(pem.get_secret_value()),
            password=None,
            # To prove its primes would take longer than all else at a start, and it is our own.
            unsafe_skip_rsa_key_validation=True,
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("must be an RSA private key as PEM, without a password")
    return key


class PaddleClassicSettings(PluginSettings):
    """Read PADDLE_CLASSIC_… settings."""

    public_key: Annotated[PublicKey, PlainValidator(read_public_key)] = Field(
        description="public key of the account (PEM; `\\n` may stand for its line breaks)"
    )
    private_key: SecretStr | None = Field(
        None,
        description="private key of a pair of your own, with which `bridge replay` signs; "
        "for tests only",
    )

    @field_validator("private_key")
    @classmethod
    def _is_the_other_half(cls, pem: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        public = info.data.get("public_key")
        if pem and public and read_private_key(pem).public_key() != public.rsa:
            raise ValueError("must be the private key of PADDLE_CLASSIC_PUBLIC_KEY")
        return pem


def _pem(value: object) -> bytes:
    """Return the bytes of a PEM text, which has no line breaks of its own in many .env files."""
    if not isinstance(value, str):
        raise TypeError("a PEM text is a string")
    return value.strip().replace("\\n", "\n").encode()

"""The errors of bridge.

An error message says what is wrong, where, and how to mend it; it never holds a secret or a body.

    BridgeError
    ├── ConfigError           a setting is missing, half set or wrong
    ├── MoneyError            an amount or a currency that cannot be represented exactly
    ├── WebhookError          a request is refused, with the HTTP status and code of the answer
    │   ├── SignatureError    it is not from the provider, or too old
    │   └── PayloadError      it is from the provider, but cannot be read
    ├── StoreError            the database cannot be reached, read or written
    ├── ProviderApiError      a question to a provider was not answered
    └── NotFoundError         no event, conversion, delivery or customer has that id
"""

from __future__ import annotations


class BridgeError(Exception):
    """Be the base of every error that bridge raises on purpose."""


class ConfigError(BridgeError):
    """Say that a setting is missing, half set or wrong, and which one."""


class MoneyError(BridgeError, ValueError):
    """Say that an amount or a currency cannot be represented exactly."""


class WebhookError(BridgeError):
    """Refuse a webhook; `code` and `status` are what the provider is answered."""

    code = "bad_webhook"
    status = 400

    def __init__(self, message: str, *, code: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.status = status or self.status


class SignatureError(WebhookError):
    """Say that a webhook's signature is missing, wrong or outside its tolerance."""

    code = "bad_signature"


class PayloadError(WebhookError):
    """Say that a signed webhook cannot be read."""

    code = "unreadable"


class StoreError(BridgeError):
    """Say that the database cannot be reached, read or written."""


class ProviderApiError(BridgeError):
    """Say that a provider did not answer a question.

    `retry` tells whether asking again later can help.
    """

    def __init__(self, message: str, *, retry: bool = True) -> None:
        super().__init__(message)
        self.retry = retry


class NotFoundError(BridgeError, LookupError):
    """Say that no event, conversion, delivery or customer has the id that was asked for."""

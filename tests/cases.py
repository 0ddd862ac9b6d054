"""The fixtures of all providers: bodies and headers as they come, and what each of them means."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from conftest import REPOSITORY
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bridge import providers
from bridge.model import Event, WebhookRequest
from bridge.providers.base import AnyProvider

FIXTURES = REPOSITORY / "fixtures" / "providers"
SECRET = "whsec_made_up_for_tests"


@dataclass(frozen=True)
class Case:
    """Hold one fixture: the folder of a body and its case.json."""

    folder: Path

    @property
    def provider(self) -> str:
        return self.folder.relative_to(FIXTURES).parts[0]

    @property
    def name(self) -> str:
        """Return the provider's name of the event, with its variant: "orders/paid@eur"."""
        return self.folder.relative_to(FIXTURES / self.provider).as_posix()

    @property
    def body(self) -> str:
        (path,) = self.folder.glob("body.*")
        return path.read_bytes().decode("utf-8")

    @property
    def case(self) -> dict[str, Any]:
        case: dict[str, Any] = json.loads((self.folder / "case.json").read_text("utf-8"))
        return case

    @property
    def request(self) -> WebhookRequest:
        """Return the request it makes, unsigned."""
        headers = {name.lower(): value for name, value in self.case["headers"].items()}
        return WebhookRequest(headers, self.body.encode())

    def __str__(self) -> str:
        return f"{self.provider}/{self.name}"


CASES = sorted((Case(path.parent) for path in FIXTURES.rglob("body.*")), key=str)


def case_of(name: str) -> Case:
    """Return a fixture by provider and name: "paddle/transaction.completed"."""
    found = Case(FIXTURES / name)
    assert (found.folder / "case.json").is_file(), f"there is no fixture {name}"
    return found


def unsigned(body: str | bytes, **headers: str) -> WebhookRequest:
    """Return a request without a signature; x_shopify_topic becomes the header x-shopify-topic."""
    raw = body.encode() if isinstance(body, str) else body
    return WebhookRequest({name.replace("_", "-"): each for name, each in headers.items()}, raw)


def event_of(provider: AnyProvider, body: str) -> Event:
    """Return the event that a body alone tells of."""
    return provider.read(unsigned(body))


def made(name: str, **settings: Any) -> AnyProvider:
    """Return a provider with made-up values for the settings it requires."""
    kind = providers.discover()[name]
    return kind(kind.settings_type(**(required(name) | settings)))


def required(name: str) -> dict[str, str]:
    """Return made-up values of the settings that a provider needs to verify and to sign."""
    if name == "paddle_classic":
        public, private = key_pair()
        return {"public_key": public, "private_key": private}
    kind = providers.discover()[name]
    fields = kind.settings_type.model_fields.items()
    return {field: SECRET for field, info in fields if info.is_required()}


@cache
def key_pair() -> tuple[str, str]:
    """Return the PEM texts of an RSA key pair made up for this run: public, private."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return public.decode(), private.decode()

"""What we sign, the providers' own libraries accept, and the other way round.

Where a provider has no library that verifies, openssl does.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlencode

import pytest
from cases import CASES, SECRET, Case, key_pair, made
from paddle_billing.Notifications import Secret, Verifier  # type: ignore[import-untyped]
from paddle_billing.Notifications.PaddleSignature import (  # type: ignore[import-untyped]
    PaddleSignature,
)
from stripe import SignatureVerificationError, Webhook, WebhookSignature

from bridge.errors import SignatureError
from bridge.model import WebhookRequest

ODD = "Zoë Łukasiewicz \\/ 你好 🧾"
MOST = 8

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed: nothing else verifies"
)


@dataclass(frozen=True)
class Sample:
    """Hold an unsigned request, by a name to show."""

    name: str
    request: WebhookRequest

    def __str__(self) -> str:
        return self.name

    @property
    def text(self) -> str:
        return self.request.body.decode()


def samples(provider: str) -> list[Sample]:
    """Return fixtures of a provider, spread over all of them, and one with odd letters."""
    cases = [each for each in CASES if each.provider == provider and not is_thin(each)]
    some = cases[:: len(cases) // MOST + 1]
    found = [Sample(str(each), each.request) for each in some]
    return [*found, *(Sample(f"{each}, odd", odd(each.request)) for each in found[:1])]


def is_thin(case: Case) -> bool:
    """Tell whether Stripe's library wants another function for this one."""
    return '"v2.core.event"' in case.body


def odd(request: WebhookRequest) -> WebhookRequest:
    """Add a field of letters that have several bytes, unescaped where that can be."""
    body = request.body.decode()
    if body.startswith("{"):
        changed = body.replace("{", f'{{"odd": "{ODD}",\r\n', 1)
    else:
        changed = f"{body}&{urlencode({'odd': ODD})}"
    return replace(request, body=changed.encode())


def tampered(request: WebhookRequest) -> WebhookRequest:
    """Change one letter of what was signed."""
    first = request.body.replace(b"e", b"f", 1)
    assert first != request.body
    return replace(request, body=first)


def now() -> datetime:
    return datetime.now(UTC)


def refused(provider: str, request: WebhookRequest) -> None:
    with pytest.raises(SignatureError) as error:
        made(provider).verify(tampered(request), now())
    assert error.value.code == "bad_signature"


def openssl(*arguments: str, given: bytes = b"") -> bytes:
    """Return what openssl writes."""
    ran = subprocess.run(["openssl", *arguments], input=given, capture_output=True, check=True)
    return ran.stdout


# ── Stripe ───────────────────────────────────────────────────────────────────────────────────────

each_stripe = pytest.mark.parametrize("sample", samples("stripe"), ids=str)


@each_stripe
def test_stripe_accepts_ours(sample: Sample) -> None:
    sent = made("stripe").sign(sample.request, now())
    header = sent.headers["stripe-signature"]
    event = Webhook.construct_event(sent.body, header, SECRET)
    assert event.id == made("stripe").read(sent).id
    with pytest.raises(SignatureVerificationError):
        Webhook.construct_event(tampered(sent).body, header, SECRET)


@each_stripe
def test_stripes_are_accepted(sample: Sample) -> None:
    header = WebhookSignature.generate_signature_header(sample.text, SECRET)
    request = replace(sample.request, headers={"stripe-signature": header})
    assert made("stripe").verify(request, now()).body == sample.text
    refused("stripe", request)


# ── Paddle ───────────────────────────────────────────────────────────────────────────────────────

each_paddle = pytest.mark.parametrize("sample", samples("paddle"), ids=str)


def paddle_verifies(request: WebhookRequest) -> bool:
    headers = {"Paddle-Signature": request.headers["paddle-signature"]}
    asked = SimpleNamespace(headers=headers, body=request.body)
    return bool(Verifier().verify(asked, Secret(SECRET)))


@pytest.fixture(autouse=True)
def _with_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Paddle's library check the age, whatever this machine's environment says."""
    monkeypatch.delenv("TEST_MODE", raising=False)


@each_paddle
def test_paddle_accepts_ours(sample: Sample) -> None:
    sent = made("paddle").sign(sample.request, now())
    assert paddle_verifies(sent)
    assert not paddle_verifies(tampered(sent))


@each_paddle
def test_paddles_are_accepted(sample: Sample) -> None:
    stamp = int(time.time())
    signed = f"{stamp}:{sample.text}".encode()
    digest = PaddleSignature.calculate_hmac(SECRET, signed).hexdigest()
    request = replace(sample.request, headers={"paddle-signature": f"ts={stamp};h1={digest}"})
    assert made("paddle").verify(request, now()).body == sample.text
    refused("paddle", request)


# ── Paddle Classic ───────────────────────────────────────────────────────────────────────────────

each_classic = pytest.mark.parametrize("sample", samples("paddle_classic"), ids=str)


def as_php_writes(form: str) -> tuple[bytes, bytes]:
    """Return the signature of a form, and what is signed of it: PHP's serialize(), written here."""
    fields = dict(parse_qsl(form, keep_blank_values=True))
    signature = base64.b64decode(fields.pop("p_signature", ""))
    written = "".join(
        f's:{len(name.encode())}:"{name}";s:{len(fields[name].encode())}:"{fields[name]}";'
        for name in sorted(fields)
    )
    return signature, f"a:{len(fields)}:{{{written}}}".encode()


@pytest.fixture
def pem(tmp_path: Path) -> Iterator[Path]:
    """Give a folder with the key pair in files."""
    for name, text in zip(("public", "private"), key_pair(), strict=True):
        (tmp_path / name).write_text(text)
    yield tmp_path
    (tmp_path / "private").unlink()


@needs_openssl
@each_classic
def test_openssl_accepts_ours_as_paddle_classic(sample: Sample, pem: Path) -> None:
    sent = made("paddle_classic").sign(sample.request, now())
    signature, written = as_php_writes(sent.body.decode())
    (pem / "signature").write_bytes(signature)
    arguments = ("dgst", "-sha1", "-verify", f"{pem}/public", "-signature", f"{pem}/signature")
    assert openssl(*arguments, given=written) == b"Verified OK\n"
    with pytest.raises(subprocess.CalledProcessError):
        openssl(*arguments, given=written + b" ")


@needs_openssl
@each_classic
def test_openssls_are_accepted_as_paddle_classics(sample: Sample, pem: Path) -> None:
    _, written = as_php_writes(sample.text)
    signature = openssl("dgst", "-sha1", "-sign", f"{pem}/private", given=written)
    field = urlencode({"p_signature": base64.b64encode(signature)})
    request = replace(sample.request, body=f"{sample.text}&{field}".encode())
    assert made("paddle_classic").verify(request, now()).body == request.body.decode()
    refused("paddle_classic", request)


# ── Shopify ──────────────────────────────────────────────────────────────────────────────────────

each_shopify = pytest.mark.parametrize("sample", samples("shopify"), ids=str)


def shopify_digest(body: bytes) -> str:
    digest = openssl("dgst", "-sha256", "-hmac", SECRET, "-binary", given=body)
    return base64.b64encode(digest).decode()


@needs_openssl
@each_shopify
def test_openssl_makes_of_a_body_what_we_make_as_shopify(sample: Sample) -> None:
    sent = made("shopify").sign(sample.request, now())
    assert sent.headers["x-shopify-hmac-sha256"] == shopify_digest(sent.body)


@needs_openssl
@each_shopify
def test_openssls_are_accepted_as_shopifys(sample: Sample) -> None:
    signature = {"x-shopify-hmac-sha256": shopify_digest(sample.request.body)}
    request = replace(sample.request, headers={**sample.request.headers, **signature})
    assert made("shopify").verify(request, now()).body == sample.text
    refused("shopify", request)

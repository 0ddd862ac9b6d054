"""Paddle Classic's forms: how they are read, signed and refused, and the keys in its settings."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from functools import cache
from urllib.parse import urlencode

import pytest
from cases import key_pair, made, unsigned
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from bridge import config
from bridge.errors import ConfigError, PayloadError, SignatureError
from bridge.model import WebhookRequest
from bridge.providers.base import AnyProvider
from bridge.providers.paddle_classic import PaddleClassic, PaddleClassicSettings
from bridge.providers.paddle_classic.form import fields_of, signed_bytes

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PUBLIC, PRIVATE = key_pair()
ALERT = {
    "alert_id": "1",
    "alert_name": "payment_succeeded",
    "currency": "EUR",
    "event_time": "2026-11-20 12:00:00",
    "order_id": "7",
    "payment_tax": "2.00",
    "sale_gross": "12.00",
}


@cache
def classic() -> AnyProvider:
    return made("paddle_classic")


def by_hand(fields: dict[bytes, bytes], serialised: bytes, private: str = PRIVATE) -> bytes:
    """Return a form signed here, over bytes that are written out in the test."""
    key = serialization.load_pem_private_key(private.encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    signature = key.sign(serialised, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303
    return urlencode({**fields, b"p_signature": base64.b64encode(signature)}).encode()


def other_pair() -> tuple[str, str]:
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return public_pem(key.public_key()), private.decode()


def public_pem(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, spki).decode()


def signed(**changed: str) -> WebhookRequest:
    return classic().sign(unsigned(urlencode(ALERT | changed)), NOW)


# ── the signature ────────────────────────────────────────────────────────────────────────────────

NAMED = {
    b"event_time": b"2026-11-20 12:00:00",
    b"coupon": b"",
    b"alert_name": b"subscription_created",
    b"alert_id": b"12",
    b"customer_name": "Zoë 🧾".encode(),
}
WRITTEN = (
    b'a:5:{s:8:"alert_id";s:2:"12";s:10:"alert_name";s:20:"subscription_created";'
    b's:6:"coupon";s:0:"";s:13:"customer_name";s:9:"Zo\xc3\xab \xf0\x9f\xa7\xbe";'
    b's:10:"event_time";s:19:"2026-11-20 12:00:00";}'
)


def test_an_alert_without_a_time_happened_when_it_came() -> None:
    lean = signed(event_time="")
    assert classic().verify(lean, NOW).occurred_at == NOW
    with pytest.raises(PayloadError, match=r"event_time: .* is not a time"):
        classic().read(lean)


def test_fields_are_written_as_php_does() -> None:
    assert signed_bytes(fields_of(urlencode(NAMED))) == WRITTEN


def test_accepts_what_the_owner_of_the_key_signed() -> None:
    event = classic().verify(unsigned(by_hand(NAMED, WRITTEN)), NOW)
    assert (event.id, event.type) == ("12", "subscription_created")


def test_bytes_that_are_no_text_are_signed_as_they_are() -> None:
    odd = NAMED | {b"coupon": b"\xff\xfe"}
    written = WRITTEN.replace(b's:0:""', b's:2:"\xff\xfe"')
    assert classic().verify(unsigned(by_hand(odd, written)), NOW).id == "12"


@pytest.mark.parametrize("years", [-20, 20])
def test_a_signature_has_no_age(years: int) -> None:
    when = NOW.replace(year=NOW.year + years)
    assert classic().verify(signed(), when).id == "1"


def test_all_that_is_signed_is_read_the_same_whatever_its_order_and_escapes() -> None:
    form = signed(customer_name="a b").body.decode()
    mixed = "&".join(reversed(form.replace("a+b", "%61%20b").split("&")))
    event = classic().verify(unsigned(mixed), NOW)
    assert event.body == mixed
    assert event.id == "1"


@pytest.mark.parametrize(
    "form",
    [
        "p_signature=AAAA",
        "p_signature=%3F%3F",
        "p_signature=%FF",
        "p_signature=e%CC%81",
        f"p_signature={'A' * 344}",
    ],
)
def test_refuses_any_other_signature(form: str) -> None:
    with pytest.raises(SignatureError, match="check PADDLE_CLASSIC_PUBLIC_KEY") as refused:
        classic().verify(unsigned(f"{urlencode(ALERT)}&{form}"), NOW)
    assert (refused.value.code, refused.value.status) == ("bad_signature", 400)


@pytest.mark.parametrize("form", ["", urlencode(ALERT), f"{urlencode(ALERT)}&p_signature="])
def test_refuses_a_form_without_a_signature(form: str) -> None:
    with pytest.raises(SignatureError, match="PADDLE_CLASSIC_PUBLIC_KEY") as refused:
        classic().verify(unsigned(form), NOW)
    assert refused.value.code == "missing_signature"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"sale_gross=12.00", b"sale_gross=99.00"),
        (b"sale_gross=12.00", b"sale_gross=12.00&coupon="),
        (b"&order_id=7", b""),
        (b"alert_id=1", b"alert_id=9&alert_id=1"),
        (b"payment_succeeded", b"payment_refunded"),
    ],
)
def test_refuses_a_form_that_was_changed(old: bytes, new: bytes) -> None:
    request = signed()
    assert old in request.body
    with pytest.raises(SignatureError, match="does not match"):
        classic().verify(unsigned(request.body.replace(old, new)), NOW)


def test_what_is_added_after_a_name_changes_nothing() -> None:
    """The first of each name is what is signed, and what is read."""
    event = classic().verify(unsigned(signed().body + b"&alert_id=9"), NOW)
    assert event.id == "1"


def test_refuses_the_signature_of_another_key() -> None:
    _, private = other_pair()
    with pytest.raises(SignatureError, match="does not match"):
        classic().verify(unsigned(by_hand(NAMED, WRITTEN, private)), NOW)


def test_signs_anew_what_was_signed_and_keeps_the_rest() -> None:
    form = "alert_id=1&x=%7e+a&p%5Fsignature=old&alert_name=b&event_time=2026-11-20+12:00:00\n"
    body = classic().sign(unsigned(form, x_kept="1"), NOW)
    assert body.headers == {"x-kept": "1", "content-type": "application/x-www-form-urlencoded"}
    assert body.body.startswith(
        b"alert_id=1&x=%7e+a&alert_name=b&event_time=2026-11-20+12:00:00&p_signature="
    )
    assert classic().verify(body, NOW).id == "1"


def test_cannot_sign_without_a_key_of_ones_own() -> None:
    provider = PaddleClassic(PaddleClassicSettings.model_validate({"public_key": PUBLIC}))
    with pytest.raises(ConfigError, match="PADDLE_CLASSIC_PRIVATE_KEY is not set"):
        provider.sign(unsigned(urlencode(ALERT)), NOW)


# ── the form ─────────────────────────────────────────────────────────────────────────────────────


def test_blank_fields_and_broken_escapes_are_kept() -> None:
    read = fields_of("a=&b&c=%zz&d=1&d=2&e=%F0%9F&&=x")
    assert read == {"a": "", "b": "", "c": "%zz", "d": "1", "e": "\udcf0\udc9f", "": "x"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"alert_id=\xff", "not UTF-8"),
        (b"alert_id=1\0", "NUL"),
        (b"a=1&" * 600, "more than 500 fields"),
        (b'{"alert_id": 1}', "no alert_id"),
        (b"alert_id=1&event_time=2026-11-20+12:00:00", "no alert_name"),
        (b"alert_id=1&alert_name=a", "not a time"),
        (b"alert_id=1&alert_name=a&event_time=yesterday", "not a time"),
        (b"alert_id=1&alert_name=a&event_time=0001-01-01+00:00:00", "not a time"),
        (b"alert_id=1&alert_name=a&event_time=2026-11-20T12:00:00%2B02:00", "not a time"),
    ],
)
def test_what_is_no_alert_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(PayloadError, match=words):
        classic().read(unsigned(body))


# ── the settings ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "pem", [PUBLIC, PUBLIC.strip(), PUBLIC.replace("\n", "\\n"), f"\n{PUBLIC}\n"]
)
def test_reads_the_key_as_it_is_written_in_env_files(
    pem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PADDLE_CLASSIC_PUBLIC_KEY", pem)
    loaded = config.load()
    assert list(loaded.providers) == ["paddle_classic"]
    assert loaded.providers["paddle_classic"].verify(signed(), NOW).id == "1"


@pytest.mark.parametrize(
    "pem",
    [
        "pdl_ntfset_1",
        PUBLIC[:200],
        PRIVATE,
        public_pem(ec.generate_private_key(ec.SECP256R1()).public_key()),
    ],
)
def test_says_where_the_key_is_found(pem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADDLE_CLASSIC_PUBLIC_KEY", pem)
    with pytest.raises(ConfigError) as refused:
        config.load()
    assert "PADDLE_CLASSIC_PUBLIC_KEY: must be the whole public key" in str(refused.value)
    assert "Developer Tools" in str(refused.value)
    assert "in .env: in double quotes, or with \\n" in str(refused.value)
    assert pem[30:60] not in str(refused.value) or len(pem) < 30


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        ("x", "must be an RSA private key"),
        (PUBLIC, "must be an RSA private key"),
        (other_pair()[1], "must be the private key of PADDLE_CLASSIC_PUBLIC_KEY"),
    ],
)
def test_a_private_key_is_that_of_the_public_one(
    pem: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PADDLE_CLASSIC_PUBLIC_KEY", PUBLIC)
    monkeypatch.setenv("PADDLE_CLASSIC_PRIVATE_KEY", pem)
    with pytest.raises(ConfigError, match=f"PADDLE_CLASSIC_PRIVATE_KEY: {words}"):
        config.load()


def test_the_key_is_shown_by_its_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADDLE_CLASSIC_PUBLIC_KEY", PUBLIC)
    loaded = config.load()
    (setting,) = [
        each for each in config.known_settings() if each.name == "PADDLE_CLASSIC_PUBLIC_KEY"
    ]
    shown = loaded.value_of(setting)
    assert shown.startswith("RSA 2048 bits, SHA-256 ")
    assert len(shown) < 60


# ── whatever comes ───────────────────────────────────────────────────────────────────────────────


def read_back(serialised: bytes) -> dict[bytes, bytes]:
    """Read what PHP's serialize() writes of an array of strings, by its lengths alone."""
    count, _, rest = serialised.removeprefix(b"a:").partition(b":{")
    found: list[bytes] = []
    while rest != b"}":
        length, _, tail = rest.removeprefix(b"s:").partition(b':"')
        found.append(tail[: int(length)])
        assert tail[int(length) :].startswith(b'";')
        rest = tail[int(length) + 2 :]
    assert len(found) == 2 * int(count)
    return dict(zip(found[::2], found[1::2], strict=True))


@given(st.dictionaries(st.binary(max_size=12), st.binary(max_size=30), max_size=8))
def test_lengths_are_those_of_the_bytes(fields: dict[bytes, bytes]) -> None:
    fields.pop(b"p_signature", None)
    serialised = signed_bytes(fields_of(urlencode(fields)))
    assert read_back(serialised) == fields
    assert list(read_back(serialised)) == sorted(fields)


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=20), max_size=6))
def test_what_we_sign_we_accept(fields: dict[str, str]) -> None:
    form = urlencode(fields | ALERT)
    assert classic().verify(classic().sign(unsigned(form), NOW), NOW).id == "1"


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8")))
def test_any_body_is_refused(body: bytes) -> None:
    with pytest.raises((PayloadError, SignatureError)):
        classic().verify(unsigned(body), NOW)
    with pytest.raises((PayloadError, SignatureError)):
        classic().verify(unsigned(b"p_signature=AAAA&" + body), NOW)

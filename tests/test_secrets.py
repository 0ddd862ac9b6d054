"""Secrets planted everywhere they can come in, and looked for everywhere they could come out."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cases import Case, case_of, required
from flask.testing import FlaskClient
from kit import VENDOR_SETTINGS, settings_of
from logged import logged
from mutations import places
from pages import KEY, ORIGIN, PAGE
from planted import all_spellings, cells, found_in, parts, secrets, spellings
from tls import Recorder, recorder
from typing_in import bridge

from bridge import config
from bridge.config import Config
from bridge.http import Sender
from bridge.logs import HIDDEN, Redactor
from bridge.model import WebhookRequest
from bridge.providers import discover
from bridge.store import Store, open_store
from bridge.vendors import discover as discover_vendors
from bridge.web import create_app
from bridge.worker import Worker

PLANTED = secrets()
API_KEY = PLANTED["BRIDGE_API_KEY"]
SERVER = {"Authorization": f"Bearer {API_KEY}"}
# What must be kept as it came, to be verified and processed again.
AS_IT_CAME = {("events", "body")}


@dataclass
class House:
    """Hold a bridge whose every secret is planted, and all that it has said."""

    config: Config
    store: Store
    web: FlaskClient
    worker: Worker
    vendor: Recorder
    provider: Recorder
    log: io.StringIO
    path: Path
    answers: list[str] = field(default_factory=list)
    sent: int = 0

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        answer = self.web.post(path, data=body, headers=headers)
        self.answers.append(f"{answer.status}{answer.headers}{answer.get_data(as_text=True)}")
        assert answer.status_code < 500
        return answer.status_code

    def webhook(self, case: Case, values: Any, name: str = "evt") -> int:
        """Send a provider's event, signed, as one that never came before."""
        self.sent += 1
        ids = {"stripe": "id", "paddle": "event_id"}
        headers = dict(case.request.headers) | {"User-Agent": API_KEY, "X-Odd": API_KEY}
        if case.provider in ids:
            values[ids[case.provider]] = f"{name}_{self.sent}"
        else:
            headers["x-shopify-webhook-id"] = f"{name}_{self.sent}"
        known = self.config.providers[case.provider]
        request = WebhookRequest(headers, json.dumps(values).encode())
        signed = known.sign(request, datetime.now(UTC))
        return self.post(f"/webhooks/{known.route}", signed.body, dict(signed.headers))

    def is_clean(self) -> None:
        """Check that no secret is in the database, in what was logged or in what was answered."""
        for table, column, value in cells(self.path):
            if (table, column) not in AS_IT_CAME:
                assert found_in(value) == set(), f"{table}.{column}: {value[:300]}"
        assert found_in(self.log.getvalue()) == set()
        assert found_in("".join(self.answers)) == set()

    def says_nothing(self, *arguments: str) -> None:
        """Run a command as a person would; whatever comes of it, no secret is printed."""
        result = bridge(*arguments)
        assert result.exit_code in {0, 1, 2}
        assert found_in(result.output + result.stderr) == set(), arguments


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    path = tmp_path / "bridge.db"
    with ExitStack() as stack:
        vendor, provider = (stack.enter_context(recorder()) for _ in range(2))
        given = {
            "DATABASE_URL": f"sqlite:///{path}",
            "BRIDGE_PUBLISHABLE_KEY": KEY,
            "BRIDGE_ALLOWED_ORIGINS": ORIGIN,
            "SHOPIFY_SHOP": "acme.myshopify.com",
            **settings_of(*discover()),
            **VENDOR_SETTINGS,
            **{f"{name}_BASE_URL".upper(): vendor.url for name in discover_vendors()},
            **{
                f"{name}_API_BASE".upper(): provider.url for name in ("stripe", "paddle", "shopify")
            },
            **PLANTED,
            "PADDLE_CLASSIC_PUBLIC_KEY": required("paddle_classic")["public_key"],
        }
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        loaded = config.load()
        store = open_store(loaded.database_url)
        stack.callback(store.close)
        store.migrate()
        log = stack.enter_context(logged(loaded.secrets()))
        worker = Worker(store, loaded, sender=Sender(read_seconds=5))
        stack.callback(worker.close)
        web = create_app(loaded, store).test_client()
        yield House(loaded, store, web, worker, vendor, provider, log, path)


def test_every_secret_there_is_is_planted(house: House) -> None:
    known = {each.name for each in config.known_settings() if each.secret}
    assert known - {"DATABASE_URL"} == set(PLANTED)
    assert found_in(" ".join(all_spellings())) == set(PLANTED)
    for value in PLANTED.values():
        assert set(parts(value)) <= {
            part for each in house.config.secrets() for part in (each, *each.split("\n"))
        }


def test_a_secret_is_found_in_every_spelling() -> None:
    redact = Redactor(PLANTED.values())
    for value in PLANTED.values():
        for part in parts(value):
            for spelt in spellings(part):
                hidden = Redactor([value, *parts(value)])(f"before {spelt} after")
                assert HIDDEN in hidden
                assert found_in(hidden) == set(), spelt
    assert redact("nothing of it") == "nothing of it"


# ── from vendors ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [200, 302, 401, 500])
def test_what_vendors_repeat_of_secrets_is_kept_nowhere(house: House, status: int) -> None:
    said = all_spellings()
    body = json.dumps({"error": said, "message": said[0], "id": said[1]}) + " ".join(said)
    house.vendor.fault = (status, body.encode())
    odd = {"Retry-After": API_KEY, "X-Ratelimit-Reset": API_KEY, "Location": f"/{API_KEY}"}
    house.vendor.headers = odd
    buy(house)
    assert len(house.vendor.asked) >= 4
    house.is_clean()
    look_around(house)


def buy(house: House) -> None:
    """Sell to somebody who came from every vendor."""
    clicks = {name: "click_1" for name in discover_vendors() if name != "tracify"}
    body = {"customer": {"stripe": "cus_TZ3yrniwyYL7T5", "external_id": "user_1"}, "clicks": clicks}
    seen = {"ip": "203.0.113.7", "user_agent": "x", "url": f"{ORIGIN}/?utm_source=x"}
    raw = json.dumps(body | {"context": seen, "occurred_at": "2026-11-02T12:00:00Z"}).encode()
    assert house.post("/leads", raw, SERVER) == 201
    for name in ("invoice_payment.paid", "invoice.paid"):
        case = case_of(f"stripe/{name}")
        assert house.webhook(case, json.loads(case.body)) == 200
    house.worker.drain()


def look_around(house: House) -> None:
    """Run every command that tells something, of all there is."""
    for name in ("events", "conversions", "deliveries"):
        house.says_nothing(name)
        house.says_nothing(name, "--json")
    for row in house.store.events.newest(limit=2):
        house.says_nothing("show", row.key)
        house.says_nothing("show", row.key, "--json")
    for conversion in house.store.orders.newest(limit=1):
        house.says_nothing("explain", conversion.id)
        house.says_nothing("explain", conversion.id, "--json")
    house.says_nothing("doctor")
    house.says_nothing("doctor", "--json")


# ── from providers ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name", ["stripe/invoice.paid", "paddle/transaction.completed", "shopify/orders/paid"]
)
def test_of_a_webhook_that_holds_secrets_only_its_body_does(house: House, name: str) -> None:
    case = case_of(name)
    count = len(list(places(json.loads(case.body))))
    kept = all_spellings()
    planted = 0
    for at in range(0, count, count // 25):
        values = json.loads(case.body)
        where, key = list(places(values))[at]
        if isinstance(where[key], (dict, list)):
            where[key] = {f"{secret} {n}": secret for n, secret in enumerate(kept[at % 9 :: 9])}
        else:
            where[key] = " ".join(kept[at % len(kept) :][:3])
        planted += house.webhook(case, values) == 200
    assert planted > 10
    house.worker.drain()
    house.is_clean()
    raw = [value for table, column, value in cells(house.path) if (table, column) in AS_IT_CAME]
    assert found_in("".join(raw))  # it is replayed as it came
    look_around(house)


def test_events_that_are_called_after_a_secret_are_kept_under_another_name(house: House) -> None:
    for name in ("stripe/invoice.paid", "paddle/transaction.completed", "shopify/orders/paid"):
        case = case_of(name)
        for secret in (API_KEY, PLANTED["STRIPE_API_KEY"], PLANTED["TRACIFY_TOKEN"]):
            values = json.loads(case.body)
            assert house.webhook(case, values, secret) == 200
            if case.provider == "stripe":
                assert house.webhook(case, values | {"type": secret, "account": secret}) == 200
    house.worker.drain()
    assert len(house.store.events.newest()) == house.sent
    house.is_clean()
    look_around(house)


def test_a_click_or_an_id_that_is_a_secret_is_nobodys(house: House) -> None:
    case = case_of("stripe/invoice.paid")
    for name, secret in PLANTED.items():
        values = json.loads(case.body)
        thing = values["data"]["object"]
        thing["metadata"] = {"user_id": parts(secret)[0], "ta_tid": parts(secret)[0]}
        thing["id"] = f"in_{name}"
        assert house.webhook(case, values) == 200
    house.worker.drain()
    keys = {value for table, column, value in cells(house.path) if column == "key"}
    assert not {key for key in keys if HIDDEN in key}
    house.is_clean()


@pytest.mark.parametrize("status", [200, 302, 403, 500])
def test_what_providers_answer_of_secrets_is_kept_nowhere(house: House, status: int) -> None:
    said = all_spellings()
    told = {"message": " ".join(said[::7]), "detail": said[0], "extensions": {"code": said[1]}}
    answer = {"error": told, "errors": [told], "data": {"id": said[2], "order": None, said[3]: 1}}
    house.provider.fault = (status, json.dumps(answer).encode())
    house.provider.headers = {"X-Odd": API_KEY, "Location": f"/{API_KEY}"}
    for name in ("stripe/refund.created", "paddle/adjustment.created", "shopify/refunds/create"):
        case = case_of(name)
        assert house.webhook(case, json.loads(case.body)) == 200
    house.worker.drain()
    assert house.provider.asked
    house.is_clean()
    look_around(house)


# ── from pages, servers and files ────────────────────────────────────────────────────────────────

PLACES = (
    *("customer.external_id", "customer.stripe", "customer.anonymous_id", "customer.email"),
    *("clicks.taapit", "clicks.tapfiliate.coupon", "clicks.tracify.trc_cid", "clicks.nobody"),
    *("context.url", "context.referrer", "context.user_agent", "context.ip"),
    *("occurred_at", "unknown", "customer.unknown"),
)


def with_secret(place: str, secret: str) -> bytes:
    body: dict[str, Any] = {"customer": {"external_id": "user_1"}, "clicks": {"taapit": "tid_1"}}
    inner = body
    *path, last = place.split(".")
    for name in path:
        inner = inner.setdefault(name, {})
    inner[last] = f"{ORIGIN}/?x={secret}&utm_source={secret}" if "u" in last[:2] else secret
    if last == "unknown":
        inner[secret] = 1
    return json.dumps(body).encode()


def test_what_pages_and_servers_send_of_secrets_is_kept_nowhere(house: House) -> None:
    for place in PLACES:
        for value in PLANTED.values():
            for spelt in spellings(parts(value)[0])[::5]:
                raw = with_secret(place, spelt)
                for path, headers in (("/clicks", SERVER), ("/leads", SERVER), ("/clicks", PAGE)):
                    house.post(path, raw, headers | {"Idempotency-Key": spelt[:9] + place})
    house.worker.drain()
    house.is_clean()
    look_around(house)


def test_whoever_sends_a_secret_for_an_id_is_told_so(house: House) -> None:
    for place in ("customer.external_id", "clicks.taapit", "clicks.tapfiliate.coupon"):
        for secret in (API_KEY, PLANTED["TAAPIT_API_KEY"], f"x{PLANTED['STRIPE_API_KEY']}"):
            assert house.post("/clicks", with_secret(place, secret), SERVER) == 422
            assert "holds a secret of your settings" in house.answers[-1]
    assert house.store.customers.count() == {"customers": 0, "clicks": 0}


def test_paths_headers_and_methods_repeat_no_secret(house: House) -> None:
    for value in PLANTED.values():
        for spelt in spellings(parts(value)[0]):
            sent = spelt.encode("ascii", "ignore").decode()
            for path in (f"/{sent}", f"/webhooks/{sent}", f"/clicks?key={sent}&x={sent}"):
                house.post(path, b"{}", {"Origin": f"https://{sent[:40]}.example"})
    headers = {"Authorization": f"Basic {API_KEY}", "X-Publishable-Key": API_KEY}
    for path in ("/clicks", "/leads", "/readyz", "/metrics"):
        house.post(path, API_KEY.encode(), headers)
    house.is_clean()


def test_an_import_repeats_no_secret(house: House, tmp_path: Path) -> None:
    rows = [with_secret(place, parts(secret)[0]) for place in PLACES for secret in PLANTED.values()]
    lines = tmp_path / "clicks.jsonl"
    lines.write_bytes(b"\n".join(rows))
    table = tmp_path / "clicks.csv"
    cell = API_KEY.replace('"', '""')
    table.write_text(f'external_id,taapit,url\n"{cell}",a,b\nu,"{cell}",b\nu,a,"{cell}"\n')
    for path in (lines, table):
        house.says_nothing("clicks", "import", str(path))
        house.says_nothing("clicks", "import", str(path), "--json", "--again")
    house.is_clean()
    look_around(house)


# ── from whoever types ───────────────────────────────────────────────────────────────────────────


def test_no_command_repeats_a_secret_that_is_typed(house: House) -> None:
    for secret in (API_KEY, f"stripe:{PLANTED['TRACIFY_TOKEN']}@taapit"):
        for command in ("show", "explain", "retry", "resolve", "redact", "replay", secret):
            house.says_nothing("--traceback", command, secret)
        house.says_nothing("resolve", secret, "--delivered")
        house.says_nothing("events", "--state", secret)
        house.says_nothing("replay", "invoice.paid", "--to", secret)
        house.says_nothing("replay", "invoice.paid", "--set", secret)
        house.says_nothing("clicks", "import", secret)


@pytest.mark.parametrize("name", ["BRIDGE_API_KEY", "BRIDGE_SECRET_KEY"])
def test_doctor_says_of_a_key_that_it_may_be_guessed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'bridge.db'}")
    advice = f"{name} has fewer than 16 characters, and may be guessed"
    for value, wanted in (("0123456789abcde", True), ("0123456789abcdef", False)):
        monkeypatch.setenv(name, value)
        said = bridge("doctor", "--json").stdout
        assert (advice in said) is wanted
        assert value not in said


def test_settings_that_are_wrong_are_named_without_a_secret(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BRIDGE_ALLOWED_ORIGINS", "STRIPE_API_BASE", "PADDLE_CLASSIC_PUBLIC_KEY"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "none")
            for command in ("events", "doctor", "migrate", "serve", "work"):
                house.says_nothing(command)

"""GET /bridge.js: what is served, how it is cached, and that it knows the configured vendors."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from acme_vendor import Acme, AcmeSettings
from flask.testing import FlaskClient
from kit import VENDOR_SETTINGS
from pages import store
from pydantic import SecretStr

from bridge import config, vendors
from bridge.attribution import NOBODY
from bridge.providers import discover as discover_providers
from bridge.store.sqlite import SqliteStore
from bridge.vendors.base import AnyVendor
from bridge.web import create_app, script

__all__ = ["store"]

BROWSERS = {
    "BRIDGE_PUBLISHABLE_KEY": "pk_made_up_for_tests",
    "BRIDGE_ALLOWED_ORIGINS": "https://shop.example",
}
MOST_BYTES = 3000
HOURLY = "public, max-age=3600, stale-while-revalidate=86400"
FOR_GOOD = "public, max-age=31536000, immutable"


@pytest.fixture
def client(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """A bridge on which every vendor is on."""
    for name, value in {**BROWSERS, **VENDOR_SETTINGS}.items():
        monkeypatch.setenv(name, value)
    return create_app(config.load(), store).test_client()


def configured(monkeypatch: pytest.MonkeyPatch, *wanted: str) -> Mapping[str, AnyVendor]:
    for name, value in VENDOR_SETTINGS.items():
        if name.partition("_")[0].lower() in wanted:
            monkeypatch.setenv(name, value)
    return config.load().vendors


def table_in(served: bytes) -> dict[str, Any]:
    found = re.search(r"var TABLE=(.*);", served.decode())
    assert found
    table: dict[str, Any] = json.loads(found[1])
    return table


# ── how it is served ─────────────────────────────────────────────────────────────────────────────


def test_any_page_may_load_it_and_keep_it(client: FlaskClient) -> None:
    answer = client.get("/bridge.js")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cache-Control"] == HOURLY
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert answer.headers["ETag"].startswith('"')
    assert "Set-Cookie" not in answer.headers


def test_it_is_small_with_every_vendor_on(client: FlaskClient) -> None:
    answer = client.get("/bridge.js", headers={"Accept-Encoding": "gzip"})
    assert set(table_in(gzip.decompress(answer.data))["vendors"]) >= {"taapit", "trackdesk"}
    assert len(answer.data) < MOST_BYTES


def test_it_needs_nothing_that_a_strict_policy_forbids(client: FlaskClient) -> None:
    text = client.get("/bridge.js").text
    assert not re.search(r"\beval\b|new Function|\.innerHTML|\.style\b|createElement", text)
    assert not re.search(r"//\w", text)  # no address of another host
    assert "console" not in text


@pytest.mark.parametrize(
    ("accepted", "zipped"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False), ("", False)],
)
def test_it_comes_zipped_to_those_who_take_that(
    client: FlaskClient, accepted: str, zipped: bool
) -> None:
    plain = client.get("/bridge.js")
    answer = client.get("/bridge.js", headers={"Accept-Encoding": accepted})
    assert answer.headers.get("Content-Encoding") == ("gzip" if zipped else None)
    assert (gzip.decompress(answer.data) if zipped else answer.data) == plain.data
    assert (answer.headers["ETag"] == plain.headers["ETag"]) is not zipped
    assert answer.content_length == len(answer.data)


@pytest.mark.parametrize("accepted", ["gzip", "identity"])
@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_what_has_not_changed_is_not_sent_again(
    client: FlaskClient, accepted: str, form: str
) -> None:
    headers = {"Accept-Encoding": accepted}
    first = client.get("/bridge.js", headers=headers)
    etag = form.format(first.headers["ETag"])
    again = client.get("/bridge.js", headers={**headers, "If-None-Match": etag})
    assert (again.status_code, again.data) == (304, b"")
    for name in ("ETag", "Cache-Control", "Vary"):
        assert again.headers[name] == first.headers[name]


def test_what_has_changed_is_sent(client: FlaskClient) -> None:
    assert client.get("/bridge.js", headers={"If-None-Match": '"old"'}).status_code == 200


def test_head_is_get_without_the_body(client: FlaskClient) -> None:
    got, asked = client.get("/bridge.js"), client.head("/bridge.js")
    assert (asked.status_code, asked.data) == (200, b"")
    first, second = ({**each.headers, "Date": ""} for each in (got, asked))
    assert first == second


def test_other_methods_are_refused(client: FlaskClient) -> None:
    answer = client.post("/bridge.js")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]


def test_without_a_publishable_key_it_says_what_to_set(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = create_app(config.load(), store).test_client().get("/bridge.js")
    assert answer.status_code == 404
    error = answer.get_json()["error"]
    assert error["code"] == "not_configured"
    assert all(name in error["message"] for name in BROWSERS)


# ── the versioned address ────────────────────────────────────────────────────────────────────────


def test_the_tag_holds_an_address_that_is_good_for_ever(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = configured(monkeypatch, *vendors.discover())
    tag = script.tag("https://bridge.example/in/a/folder/", "pk_1", on)
    found = re.fullmatch(
        r'<script src="https://bridge\.example/in/a/folder(/bridge\.js\?v=\w+)" data-key="pk_1">'
        r"</script>",
        tag,
    )
    assert found
    assert client.get(unescape(found[1])).headers["Cache-Control"] == FOR_GOOD


@pytest.mark.parametrize("version", ["", "0", "000000000000"])
def test_any_other_version_is_the_current_one_for_an_hour(
    client: FlaskClient, version: str
) -> None:
    answer = client.get(f"/bridge.js?v={version}")
    assert answer.headers["Cache-Control"] == HOURLY
    assert answer.data == client.get("/bridge.js").data


def test_the_tag_is_html_whatever_the_key_is(monkeypatch: pytest.MonkeyPatch) -> None:
    tag = script.tag("https://bridge.example", '"><script>', configured(monkeypatch))
    assert tag.count("<script") == 1
    assert "&quot;" in tag


def test_other_vendors_make_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    few = script.build(configured(monkeypatch, "taapit"))
    more = script.build(configured(monkeypatch, "taapit", "codeqr"))
    assert few.version != more.version
    assert script.build(configured(monkeypatch, "taapit", "codeqr")).version == more.version


# ── what it knows ────────────────────────────────────────────────────────────────────────────────


def test_it_looks_only_for_what_configured_vendors_use(monkeypatch: pytest.MonkeyPatch) -> None:
    on = configured(monkeypatch, "taapit")
    table = table_in(script.build(on).plain)
    taapit = {
        "name": "taapit_click_id",
        "kind": "click_id",
        "landing": [{"ta_tid": "click_id"}],
        "cookies": ["ta_tid"],
    }
    assert table["vendors"] == {"taapit": taapit}
    assert "campaigns" not in table


def test_campaigns_are_looked_for_where_a_vendor_sees_visitors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on = configured(monkeypatch, "tracify")
    table = table_in(script.build(on).plain)
    assert table["vendors"] == {}
    for query in ("?utm_source=x", "?a=b&utm_medium=y", "?trc_mcmp_id=1"):
        assert re.search(table["campaigns"], query)
    for query in ("?outm_source=x", "?q=utm_source", ""):
        assert not re.search(table["campaigns"], query)


def test_customers_may_be_known_by_every_id_that_the_click_api_takes(client: FlaskClient) -> None:
    ids = table_in(client.get("/bridge.js").data)["ids"]
    assert set(ids) == {"external_id", "email", *discover_providers()}


def test_every_landing_parameter_of_every_vendor_is_looked_for(client: FlaskClient) -> None:
    rows = table_in(client.get("/bridge.js").data)["vendors"]
    for name, vendor in vendors.discover().items():
        row = rows.get(name, {})
        assert row.get("landing", []) == [dict(each) for each in vendor.landing_kinds]
        assert row.get("cookies", []) == list(vendor.cookie_names)
        assert not row or row["name"] == vendor.click_names[0]


class Landing(Acme):
    """Be a sixth vendor whose visitors land with ids."""

    landing_kinds = ({"acme_a": "asset", "acme-b": "click_id"}, {"acme_c": "click_id"})
    landing_prefix = "acme.x_"
    cookie_names = ("acme",)


def test_a_sixth_vendor_needs_no_line_of_the_script() -> None:
    acme = Landing(AcmeSettings(api_key=SecretStr("acme-test-key")))
    table = table_in(script.build({"acme": acme}).plain)
    row = table["vendors"]["acme"]
    assert row["name"] == "acme_click_id"
    assert row["landing"] == list(map(dict, Landing.landing_kinds))
    assert row["cookies"] == ["acme"]
    assert re.search(row["more"], "acme.x_1")
    assert not re.search(row["more"], "acmeax_1")


def test_what_is_no_id_is_the_same_to_the_script_and_to_the_server(client: FlaskClient) -> None:
    pattern = table_in(client.get("/bridge.js").data)["nobody"]
    assert all(re.search(pattern, each) for each in NOBODY)
    assert not any(
        re.search(pattern, each) for each in ("nobody", "01", "-12", "nullified", "xnan")
    )


@pytest.mark.parametrize(
    ("source", "served"),
    [
        (
            'a;  // says why\n\n  // a comment\n  b("https://c");\n',
            'a;  // says why\nb("https://c");\n',
        ),
        ("var a = b ? c : {d: 1};\n", "var a=b?c:{d:1};\n"),
        ("""a = " = " + ' " = ' + - -b;\n""", """a=" = " + ' " = ' + - -b;\n"""),
    ],
)
def test_only_what_makes_no_difference_is_left_out(source: str, served: str) -> None:
    assert script.served(source) == served


def test_the_source_has_no_text_over_several_lines() -> None:
    """Leaving out lines and indentation would change it."""
    source = (Path(script.__file__).parent / "static" / "bridge.js").read_text("utf-8")
    assert "`" not in source
    assert not re.search(r"\\$", source, re.MULTILINE)
    assert "/*" not in source.replace("/; */", "")
    assert source.count(script.TABLE) == 1


def test_the_source_has_no_pattern_with_a_space_that_would_be_left_out() -> None:
    source = (Path(script.__file__).parent / "static" / "bridge.js").read_text("utf-8")
    patterns = re.findall(r"(?:[(!]|, )(/(?![/*]).+?/)[.,)]", source)
    assert len(patterns) > 5
    assert all(script.served(each) == each + "\n" for each in patterns)

"""Shopify's package, as it is used to ask: when it is loaded, what it keeps, how it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest
import shopify  # type: ignore[import-untyped]
from cases import case_of
from http_stand_in import closed_url, hanging_url
from shopify_stand_in import PATH, SHOP, TOKEN, api_at, settings

from bridge.errors import ProviderApiError
from bridge.provider_api import base, key_setting, open_api
from bridge.provider_api.shopify import ShopifyApi
from bridge.providers.shopify import Shopify

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
REFERENCE = f"{SHOP}/{json.loads(case_of('shopify/orders/paid').body)['id']}"


def test_the_package_keeps_neither_the_token_nor_the_shop() -> None:
    api_at(closed_url()).close()
    assert "X-Shopify-Access-Token" not in shopify.ShopifyResource.get_headers()
    assert shopify.ShopifyResource.get_site() is None


def test_the_shop_itself_is_asked_where_no_address_is_set() -> None:
    api = ShopifyApi(settings(), TOKEN)
    assert api._graphql.endpoint == f"https://{SHOP}{PATH}"
    api.close()


def test_the_package_is_loaded_only_to_ask() -> None:
    code = (
        "import sys\n"
        "from bridge.provider_api import open_api\n"
        "from bridge.providers.shopify import Shopify, ShopifySettings\n"
        "open_api(Shopify(ShopifySettings(api_secret='x', shop='acme.myshopify.com')))\n"
        "from bridge.cli import main\n"
        "assert all(main.commands.values())\n"
        "assert 'shopify' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_host_that_is_down_is_asked_again() -> None:
    api = api_at(closed_url())
    with pytest.raises(ProviderApiError, match="Shopify did not answer") as raised:
        api.look_up(REFERENCE, SHOP, NOW)
    assert raised.value.retry
    api.close()


def test_a_host_that_hangs_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "READ_SECONDS", 0.05)
    with hanging_url() as url:
        api = api_at(url)
        with pytest.raises(ProviderApiError, match="Shopify did not answer") as raised:
            api.look_up(REFERENCE, SHOP, NOW)
        assert raised.value.retry
        api.close()


# ── who can be asked ─────────────────────────────────────────────────────────────────────────────


def test_only_a_shop_with_a_token_can_be_asked() -> None:
    assert open_api(Shopify(settings())) is None
    with_token = open_api(Shopify(settings(access_token=TOKEN)))
    assert isinstance(with_token, ShopifyApi)
    with_token.close()
    assert key_setting("shopify") == "SHOPIFY_ACCESS_TOKEN and SHOPIFY_SHOP"
    assert key_setting("shopify", Shopify(settings())) == "SHOPIFY_ACCESS_TOKEN"

"""The settings of Shopify: SHOPIFY_… in the environment."""

from __future__ import annotations

import re

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from bridge.plugin import PluginSettings, safe_url
from bridge.providers.base import RotatingSecret

SHOP = re.compile(r"[a-z0-9][a-z0-9-]*\.myshopify\.com")


class ShopifySettings(PluginSettings):
    """Read SHOPIFY_… settings."""

    api_secret: RotatingSecret = Field(
        description="client secret of the app, or the secret shown under Settings > Notifications; "
        "comma-separated while rotating or with both"
    )
    shop: str = Field("", description="the shop, `acme.myshopify.com`; others are refused then")
    access_token: SecretStr | None = Field(
        None, description="Admin API access token, for look-ups of orders that never arrived"
    )
    api_base: str = Field(
        "", description="the shop's address (`https://SHOPIFY_SHOP`), for tests and proxies"
    )

    @field_validator("shop")
    @classmethod
    def _is_a_shop(cls, shop: str) -> str:
        domain = shop.lower().removeprefix("https://").removesuffix("/")
        if domain and not SHOP.fullmatch(domain):
            raise ValueError("must be the shop's own domain, like acme.myshopify.com")
        return domain

    @field_validator("access_token")
    @classmethod
    def _has_a_shop(cls, token: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        # A shop that is wrong itself is named already.
        if token and token.get_secret_value() and info.data.get("shop") == "":
            raise ValueError("needs the shop it is for: set SHOPIFY_SHOP")
        return token

    @field_validator("api_base")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        return safe_url(url)

    @property
    def address(self) -> str:
        """Return where the shop is asked, or "" where no shop is set."""
        return self.api_base or (f"https://{self.shop}" if self.shop else "")

"""The settings of Stripe: STRIPE_… in the environment."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from bridge.plugin import PluginSettings, safe_url
from bridge.providers.base import RotatingSecret


class StripeSettings(PluginSettings):
    """Read STRIPE_… settings."""

    webhook_secret: RotatingSecret = Field(
        description="signing secret of the endpoint (`whsec_…`); comma-separated while rotating"
    )
    api_key: SecretStr | None = Field(
        None, description="API key, for look-ups of what a webhook left out"
    )
    count_payment_intents: bool = Field(
        False, description="`1`: bare payment intents are sales too, unless an invoice claims them"
    )
    api_base: str = Field(
        "https://api.stripe.com", description="Stripe's address, for tests and proxies"
    )

    @field_validator("api_base")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        return safe_url(url)

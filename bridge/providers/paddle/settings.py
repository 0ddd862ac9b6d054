"""The settings of Paddle: PADDLE_… in the environment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator

from bridge.plugin import PluginSettings, safe_url
from bridge.providers.base import RotatingSecret

API_URLS = {"live": "https://api.paddle.com", "sandbox": "https://sandbox-api.paddle.com"}


class PaddleSettings(PluginSettings):
    """Read PADDLE_… settings."""

    webhook_secret: RotatingSecret = Field(
        description="secret of the notification destination (`pdl_ntfset_…`); comma-separated "
        "while rotating"
    )
    api_key: SecretStr | None = Field(
        None, description="API key, for look-ups of what a webhook left out"
    )
    environment: Literal["live", "sandbox"] = Field(
        "live", description="`sandbox`: everything that comes is test traffic"
    )
    tolerance_seconds: int = Field(
        300, ge=1, description="how old, or how far in the future, a signature may be"
    )
    count_chargeback_warnings: bool = Field(
        False, description="`1`: a chargeback warning takes back its amount, as a chargeback does"
    )
    api_base: str = Field(
        "", description="Paddle's address, for tests and proxies (default: by environment)"
    )

    @field_validator("api_base")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        return safe_url(url)

    @property
    def api_url(self) -> str:
        """Return where Paddle's API is asked."""
        return self.api_base or API_URLS[self.environment]

"""The settings: read once from the environment (and `.env` in development), then passed on.

Every plugin declares its own; one with none of its settings is off, one half set is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args
from urllib.parse import unquote

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from bridge import providers, vendors
from bridge.errors import ConfigError
from bridge.plugin import PluginSettings
from bridge.providers.base import AnyProvider
from bridge.vendors.base import AnyVendor

ENVIRONMENT = SettingsConfigDict(
    env_file=".env",
    env_ignore_empty=True,
    extra="ignore",
    frozen=True,
    str_strip_whitespace=True,
)
# As browsers send it, but for a slash at its end and the port that goes without saying.
ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?/?")
USUAL_PORTS = {("http", ":80"), ("https", ":443")}
# In each of these places; better something that is none than not all of one.
PASSWORDS_IN_URL = (
    re.compile(r"([?&](?:ssl)?password=)([^&#]+)"),
    re.compile(r"(?<=://)([^:/]*:)(.+)(?=@)"),
)
# Where these stand in a password as they are, others take a part of it for a host or a port.
TORN_AT = re.compile(r"[/?#@]")
SHORTEST_PIECE = 4
M = TypeVar("M", bound=BaseModel)


class BridgeSettings(BaseSettings):
    """Hold the bridge's own settings: field `api_key` is read from BRIDGE_API_KEY."""

    model_config = ENVIRONMENT | SettingsConfigDict(env_prefix="BRIDGE_")

    database_url: SecretStr = Field(
        SecretStr("sqlite:///bridge.db"),
        alias="DATABASE_URL",
        description="where the ledger is kept: `sqlite:///file` or "
        "`postgres://user:password@host/database`, with `?sslmode=require` and the like",
    )
    database_pool: int = Field(
        4,
        ge=1,
        description="PostgreSQL: connections of a web process, or of a worker, at most; a worker "
        "takes two more to be woken (both together: 10, and twice that while they are replaced)",
    )
    database_listen: bool = Field(
        True,
        description="PostgreSQL: `0` behind a pooler that lends a connection for a transaction: "
        "workers look for work every second instead of being woken",
    )
    web_concurrency: int = Field(
        1,
        ge=1,
        alias="WEB_CONCURRENCY",
        description="web processes of `serve` and `web`; some platforms set it. SQLite has one, "
        "whatever it says; on PostgreSQL each takes `BRIDGE_DATABASE_POOL` connections",
    )
    api_key: SecretStr | None = Field(None, description="key of the click API, for your server")
    publishable_key: str | None = Field(
        None, description="key of the click API, for browsers; anybody may know it"
    )
    allowed_origins: str = Field(
        "",
        description="whose pages may call the click API: `https://shop.example`, comma-separated",
    )
    clicks_per_minute: int = Field(
        60, ge=1, description="how many clicks of browsers one address may send a minute"
    )
    trusted_proxies: int = Field(
        0,
        ge=0,
        description="how many proxies of yours stand before the bridge (Heroku, Render: `1`): "
        "the visitor's address is what they say it is",
    )
    leads: Literal["api", "provider"] = Field(
        "api",
        description="who makes leads: `api`: `POST /leads` alone; `provider`: also a customer made "
        "at Stripe or Paddle who carries a click id",
    )
    secret_key: SecretStr | None = Field(
        None,
        description="keys the hashes of e-mail addresses and encrypts those that are kept; "
        "comma-separated while rotating, the new one first",
    )
    retention_days: int = Field(
        90,
        ge=1,
        description="e-mail addresses kept for a vendor, and visits, go after so many days",
    )
    test_events: Literal["skip", "deliver"] = Field(
        "skip",
        description="test traffic: `skip` keeps and shows it, `deliver` sends it too",
    )
    amount_basis: Literal["net", "total"] = Field(
        "net",
        description="`net`: paid minus tax and shipping; `total`: paid",
    )
    attribution: Literal["last", "first"] = Field(
        "last", description="which click is credited: `last` or `first`"
    )
    attribution_days: int = Field(90, ge=1, description="look-back window in days")
    recurring: Literal["all", "first"] = Field(
        "all",
        description="which payments of a subscription are credited: `all` or `first`",
    )
    external_id_keys: str = Field(
        "user_id,external_id",
        description="metadata names that hold your own customer id",
    )
    dry_run: bool = Field(False, description="`1`: plan and record every call, send none")

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, text: str) -> str:
        return ",".join(map(_as_browsers_write_it, comma_separated(text)))

    @model_validator(mode="after")
    def _browsers_are_known(self) -> BridgeSettings:
        if self.publishable_key and not self.origins():
            raise ValueError("BRIDGE_PUBLISHABLE_KEY is set: also set BRIDGE_ALLOWED_ORIGINS")
        secrets = [self.api_key.get_secret_value()] if self.api_key else []
        if self.publishable_key in [*secrets, *self.secret_keys()]:
            raise ValueError(
                "BRIDGE_PUBLISHABLE_KEY is a secret key, too: it stands in your pages, so make up "
                "another"
            )
        return self

    def origins(self) -> list[str]:
        """Return the origins whose pages may call the click API, as browsers write them."""
        return comma_separated(self.allowed_origins)

    def secret_keys(self) -> list[str]:
        """Return the secret keys, the one in use first."""
        return comma_separated(self.secret_key.get_secret_value()) if self.secret_key else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Describe one setting, for `bridge doctor` and the README."""

    name: str
    owner: str
    meaning: str
    default: str
    required: bool
    secret: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Hold all settings, and the plugins they switch on."""

    settings: BridgeSettings
    providers: Mapping[str, AnyProvider] = field(default_factory=dict)
    vendors: Mapping[str, AnyVendor] = field(default_factory=dict)

    @property
    def plugins(self) -> frozenset[str]:
        """Return the names of the providers and vendors that are switched on."""
        return frozenset({*self.providers, *self.vendors})

    @property
    def database_url(self) -> str:
        """Return DATABASE_URL, which may hold a password."""
        return self.settings.database_url.get_secret_value()

    @property
    def on_sqlite(self) -> bool:
        """Tell whether the ledger is a file, on the disk of one machine."""
        return self.database_url.startswith("sqlite:")

    def secrets(self) -> Iterator[str]:
        """Yield every configured secret value, so that it can be kept out of records."""
        plugins: list[Any] = [*self.providers.values(), *self.vendors.values()]
        for model in (self.settings, *(plugin.settings for plugin in plugins)):
            for name in type(model).model_fields:
                value = getattr(model, name)
                if isinstance(value, SecretStr) and name != "database_url":
                    yield from _spellings(value.get_secret_value())
        yield from passwords_in(self.database_url)

    def value_of(self, setting: Setting) -> str:
        """Return a setting's value as it may be shown: secrets masked, "" when it is not set."""
        model: BaseModel | None = self.settings
        if setting.owner != "bridge":
            plugin = self.providers.get(setting.owner) or self.vendors.get(setting.owner)
            model = plugin.settings if plugin else None
        for name, info in type(model).model_fields.items() if model else ():
            if env_name(info, name, setting.owner) == setting.name:
                return _shown(getattr(model, name))
        return ""


def passwords_in(url: str) -> Iterator[str]:
    """Yield the passwords in an address of a database, as they stand there and as they are."""
    for place in PASSWORDS_IN_URL:
        for found in place.finditer(url):
            for each in (found[2], *_pieces(found[2])):
                yield from (each, unquote(each))


def _pieces(password: str) -> Iterator[str]:
    """Yield what becomes of a password with signs that should have been escaped."""
    if TORN_AT.search(password):
        pieces = (*TORN_AT.split(password), *re.split(r"[/?#@:,&=]", password))
        yield from (each for each in pieces if len(each) >= SHORTEST_PIECE)


def load() -> Config:
    """Read all settings; raise ConfigError that names every setting that is missing or wrong."""
    faults: list[str] = []
    found_providers = dict(_switched_on(providers.discover(), faults))
    found_vendors = dict(_switched_on(vendors.discover(), faults))
    try:
        settings = _read(BridgeSettings, "bridge")
    except ConfigError as error:
        faults.insert(0, str(error))
    else:
        faults += _unkept(settings, found_vendors)
    if faults:
        raise ConfigError("; ".join(faults))
    return Config(settings=settings, providers=found_providers, vendors=found_vendors)


def _unkept(settings: BridgeSettings, found: Mapping[str, AnyVendor]) -> Iterator[str]:
    """Yield what is missing to keep the e-mail addresses that vendors are to be told."""
    wanting = [f"{name.upper()}_SEND_EMAIL" for name, each in found.items() if each.wants_email]
    if wanting and not settings.secret_keys():
        yield f"{_and(wanting)}: also set BRIDGE_SECRET_KEY, under which addresses are encrypted"


def known_settings() -> list[Setting]:
    """Return every setting there is, configured or not, in the order the README lists them."""
    owners: list[tuple[str, type[BaseModel]]] = [("bridge", BridgeSettings)]
    plugins: list[type[Any]] = [*providers.discover().values(), *vendors.discover().values()]
    owners += [(plugin.name, plugin.settings_type) for plugin in plugins]
    return [
        Setting(
            name=env_name(info, name, owner),
            owner=owner,
            meaning=info.description or "",
            default="" if info.is_required() else _shown(info.default),
            required=info.is_required(),
            secret=SecretStr in (info.annotation, *get_args(info.annotation)),
        )
        for owner, model in owners
        for name, info in model.model_fields.items()
    ]


def env_name(info: FieldInfo, field_name: str, owner: str) -> str:
    """Return the environment variable that a field is read from."""
    return info.alias or f"{owner}_{field_name}".upper()


def comma_separated(text: str) -> list[str]:
    """Return the parts of a setting that holds several."""
    return [each.strip() for each in text.split(",") if each.strip()]


def _as_browsers_write_it(origin: str) -> str:
    found = ORIGIN.fullmatch(origin.lower())
    if found is None:
        raise ValueError(
            f"{origin[:80]!r} is no origin (write it as browsers do: https://shop.example, with no "
            "path and no *, and a name with other letters as https://xn--…)"
        )
    scheme, host, port = found[1], found[2], found[3] or ""
    return f"{scheme}://{host}{'' if (scheme, port) in USUAL_PORTS else port}"


P = TypeVar("P", AnyProvider, AnyVendor)


def _switched_on(plugins: Mapping[str, type[P]], faults: list[str]) -> Iterator[tuple[str, P]]:
    """Yield the plugins that are configured; add to `faults` what is wrong with the others."""
    for name, plugin in plugins.items():
        try:
            settings = _read_plugin(plugin.settings_type, name)
        except ConfigError as error:
            faults.append(str(error))
            continue
        if settings is not None:
            yield name, plugin(settings)


def _read_plugin(model: type[PluginSettings], name: str) -> PluginSettings | None:
    """Read a plugin's settings; None when none of them is set."""
    environment = ENVIRONMENT | SettingsConfigDict(env_prefix=f"{name}_".upper())
    reader = type(model.__name__, (model, BaseSettings), {"model_config": environment})
    try:
        settings: PluginSettings = reader()
    except ValidationError as error:
        if not any(_was_given(each, model) for each in error.errors()):
            return None
        raise _explained(error, name) from None
    return settings if settings.model_fields_set else None


def _was_given(problem: ErrorDetails, model: type[BaseModel]) -> bool:
    """Tell whether a problem shows that any field of a model was set; `.env` holds others too."""
    return problem["type"] != "missing" or not model.model_fields.keys().isdisjoint(
        problem["input"]
    )


def _read(model: type[M], name: str) -> M:
    try:
        return model()
    except ValidationError as error:
        raise _explained(error, name) from None


def _explained(error: ValidationError, name: str) -> ConfigError:
    """Say which settings are missing or wrong, without their values."""
    missing, wrong = [], []
    for each in error.errors(include_input=False):
        where = str(each["loc"][0]) if each["loc"] else ""
        variable = where if where.isupper() else f"{name}_{where}".upper()
        if not where:
            wrong.append(each["msg"].removeprefix("Value error, "))
        elif each["type"] == "missing":
            missing.append(variable)
        else:
            wrong.append(f"{variable}: {each['msg'].removeprefix('Value error, ')}")
    if missing:
        wrong.insert(0, f"{name} is half configured: also set {_and(missing)}")
    return ConfigError("; ".join(wrong))


def _and(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _spellings(secret: str) -> Iterator[str]:
    """Yield a secret, and each of several that are comma-separated while rotating."""
    yield secret
    yield from comma_separated(secret)


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return _masked(value.get_secret_value())
    return str(int(value)) if isinstance(value, bool) else str(value)


def _masked(secret: str) -> str:
    """Show enough of a secret to tell two apart, and never more than a quarter of it."""
    if secret.startswith(("sqlite:", "postgres:", "postgresql:")):
        for place in PASSWORDS_IN_URL:
            secret = place.sub(r"\1***", secret)
        return secret
    shown = min(4, len(secret) // 4)
    return f"{secret[:shown]}…" if shown else "…"

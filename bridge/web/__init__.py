"""The web: what providers, merchants' servers and platforms call. Flask lives only here."""

from __future__ import annotations

from functools import partial

from flask import Flask, Response, request
from werkzeug.middleware.proxy_fix import ProxyFix

from bridge import config as settings
from bridge import logs
from bridge.config import Config
from bridge.store import WEB_PATIENCE, Store, open_store_of
from bridge.web import clicks, health, metrics, script, webhooks
from bridge.web.browsers import RateLimit
from bridge.web.refusals import answer_to
from bridge.web.state import MAX_BODY, State

# The script is the same for everybody, and made of nothing that is secret.
SAID = frozenset({"application/json", "text/plain"})


def create_app(config: Config | None = None, store: Store | None = None) -> Flask:
    """Build the web application; settings and store come from the environment unless given."""
    config = config or settings.load()
    store = store or open_store_of(config, WEB_PATIENCE)
    app = Flask("bridge", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    # A redirect counts as a failure with every provider, so no address is ever corrected by one.
    app.url_map.strict_slashes = app.url_map.merge_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    rate_limit = RateLimit(config.settings.clicks_per_minute)
    app.extensions["bridge"] = State(config=config, store=store, rate_limit=rate_limit)
    _trust_proxies(app, config.settings.trusted_proxies)
    for area in (webhooks, clicks, health, metrics, script):
        app.register_blueprint(area.area)
    app.after_request(partial(_without_secrets, logs.Redactor(config.secrets())))
    app.register_error_handler(Exception, _answer_to)
    return app


def _trust_proxies(app: Flask, count: int) -> None:
    """Take a visitor's address from what so many proxies of the merchant's say it is."""
    if count:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=count, x_proto=count, x_host=0, x_port=0, x_prefix=0
        )


def _without_secrets(redact: logs.Redactor, answer: Response) -> Response:
    """Take out of an answer what it repeats of the merchant's secrets."""
    if answer.mimetype in SAID and redact(said := answer.get_data(as_text=True)) != said:
        answer.set_data(redact(said))
    return answer


def _answer_to(error: Exception) -> Response:
    return answer_to(error, request.path)

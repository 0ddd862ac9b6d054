"""replay: send fixture files as their provider would, or process stored events again."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import requests
from rich.progress import Progress

from bridge import config as settings
from bridge import providers
from bridge.cli.fixture_changes import change, parse_value
from bridge.cli.fixture_files import FixtureFile, collect, find
from bridge.cli.output import (
    Column,
    console,
    print_json,
    print_line,
    print_table,
    say,
    some,
)
from bridge.cli.session import Plain, as_json, opened
from bridge.config import Config
from bridge.errors import BridgeError, ConfigError, NotFoundError
from bridge.providers.base import AnyProvider
from bridge.store.rows import EventRow, EventState

TIMEOUT_SECONDS = 30
ANSWERS = (Column("sent"), Column("status", right=True), Column("answer", below=True))


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("--to", "url", help="Where to post  [default: the server on this machine]")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="PATH=VALUE",
    help="Set a value first: data.object.amount_paid=9900, data.object.lines.data.0.amount=1; "
    "of a form sale_gross=10.00.",
)
@click.option(
    "--fresh-ids", is_flag=True, help="New ids and times: the same customer buys again, now."
)
@click.option("--state", type=click.Choice(["failed"]), help="All stored events in this state.")
@as_json
def replay(
    paths: tuple[str, ...],
    url: str | None,
    changes: tuple[str, ...],
    fresh_ids: bool,
    state: str | None,
    json_: bool,
) -> None:
    """Sign fixture files and post them as their provider would.

    PATH is a file, a folder, or the name of a fixture that comes with bridge (invoice.paid,
    orders/paid); exit code 1 if any was refused. The ID of a stored event in its place has that
    event processed again.
    """
    if bool(paths) == bool(state):
        raise click.UsageError("name fixture files, folders or stored events (or give --state)")
    ids = [path for path in paths if _is_id(path)]
    if state or ids:
        if len(ids) < len(paths) or url or changes or fresh_ids:
            alone = "stored events go alone: no files, --to, --set or --fresh-ids"
            raise click.UsageError(f"there is no fixture {ids[0]!r}, and {alone}" if ids else alone)
        _process_again(ids, state)
        return
    files = change(
        collect(paths, providers.discover()),
        [parse_value(each) for each in changes],
        fresh=secrets.token_hex(8) if fresh_ids else "",
        now=datetime.now(UTC) if fresh_ids else None,
    )
    answers: list[Plain] = []
    try:
        answers += post(files, settings.load(), url or _here())
    finally:
        _print_answers(answers, json_)
    if any(answer["status"] != 200 for answer in answers):
        raise click.exceptions.Exit(1)


def post(files: Sequence[FixtureFile], config: Config, url: str) -> Iterator[Plain]:
    """Sign and post files in order; give the answer to each; raise BridgeError if none comes."""
    wanted = [(file, _signer(file, config)) for file in files]
    silent = len(files) < 2 or not console.is_terminal
    with (
        Progress(console=console, transient=True, disable=silent) as progress,
        requests.Session() as session,
    ):
        # A proxy of this machine's must not come between, nor a .netrc add to what is sent.
        session.trust_env = False
        for file, provider in progress.track(wanted, description="posting"):
            yield _post(session, url, file, provider)


def _here() -> str:
    return f"http://127.0.0.1:{os.environ.get('PORT') or 8000}"


def _is_id(path: str) -> bool:
    """Tell an id from what may be a mistyped path.

    An event's id has no dots and no slashes, its key ("shopify:acme.myshopify.com/…") a colon.
    """
    if Path(path).exists() or find(path):
        return False
    return ":" in path or not set(path) & set("./\\")


def _signer(file: FixtureFile, config: Config) -> AnyProvider:
    provider = config.providers.get(file.provider)
    if provider is None:
        required = (
            each.name
            for each in settings.known_settings()
            if each.owner == file.provider and each.required
        )
        raise ConfigError(
            f"{file.path} cannot be signed: {file.provider} is not configured "
            f"(set {' and '.join(required)})"
        )
    return provider


def _post(session: requests.Session, url: str, file: FixtureFile, provider: AnyProvider) -> Plain:
    address = f"{url.rstrip('/')}/webhooks/{provider.route}"
    request = provider.sign(file.request, datetime.now(UTC))
    try:
        answer = session.post(
            address,
            data=request.body,
            headers=dict(request.headers),
            timeout=TIMEOUT_SECONDS,
            allow_redirects=False,
        )
    except (requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema, ValueError):
        raise click.BadParameter(f"{url!r} is no http:// address", param_hint="--to") from None
    except requests.RequestException:
        raise BridgeError(
            f"{address} does not answer (is `bridge serve` running there? else say --to URL)"
        ) from None
    return {"file": file.name, "status": answer.status_code, "answer": _said(answer)}


def _said(answer: requests.Response) -> str:
    try:
        said = answer.json()
        return str(said.get("status") or said["error"]["message"])
    except (ValueError, KeyError, AttributeError, TypeError):
        return " ".join(answer.text.split())[:200]


def _print_answers(answers: list[Plain], json_: bool) -> None:
    if json_:
        print_json(answers)
        return
    if not answers:
        return
    print_table(ANSWERS, [(each["file"], each["status"], each["answer"]) for each in answers])
    if len(answers) > 1:
        kinds = Counter(each["answer"] if each["status"] == 200 else "refused" for each in answers)
        counts = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
        print_line(f"{some(len(answers), 'webhook')} sent: {counts}", style="bold")


def _process_again(ids: list[str], state: str | None) -> None:
    """Put stored events back to be processed: after an upgrade, or a mended setting."""
    with opened() as session:
        rows: list[EventRow] = session.store.events.newest(state, 100_000) if state else []
        for id in ids:
            found = session.store.events.find(id)
            if not found:
                raise NotFoundError(
                    f"no stored event and no fixture is called {id!r} (see `bridge events`)"
                )
            rows += found
        ignored = [row for row in rows if row.state is EventState.IGNORED]
        redacted = [row for row in rows if row.redacted]
        again = [row for row in rows if row.state is not EventState.IGNORED and not row.redacted]
        with session.store.atomic():
            for row in again:
                session.store.events.mark(row.key, EventState.RECEIVED)
        session.store.ring()
    say(f"{some(len(again), 'event')} will be processed again")
    if ignored:
        say(f"{some(len(ignored), 'event')} will not: nothing about money is in it")
    if redacted:
        whose = "its body was" if len(redacted) == 1 else "their bodies were"
        say(f"{some(len(redacted), 'event')} will not: {whose} redacted")

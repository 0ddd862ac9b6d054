"""replay: send fixture files as their provider would, or process stored events again."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import click
import requests
from rich.progress import Progress

from bridge import config as settings
from bridge import providers
from bridge.cli.fixture_files import FixtureFile, change, collect, parse_setting
from bridge.cli.session import Plain, as_json, console, opened, print_json, print_table
from bridge.config import Config
from bridge.errors import BridgeError, ConfigError
from bridge.store.rows import EventRow, EventState

TIMEOUT_SECONDS = 30


@click.command()
@click.argument("paths", nargs=-1)
@click.option("--to", "url", default=None, help="Where to post [default: the local server].")
@click.option("--set", "changes", multiple=True, metavar="PATH=VALUE", help="Set a value first.")
@click.option("--fresh-ids", is_flag=True, help="New ids and times, as if it all happened now.")
@click.option("--state", type=click.Choice(["failed"]), help="Process stored events again.")
@as_json
def replay(
    paths: tuple[str, ...],
    url: str | None,
    changes: tuple[str, ...],
    fresh_ids: bool,
    state: str | None,
    json_: bool,
) -> None:
    """Sign fixture files (PATHS: files or folders) and post them; or process events again by ID.

    Exit code 1 if any was refused.
    """
    if state or (paths and all(_is_event(path) for path in paths)):
        _process_again(paths, state)
        return
    if not paths:
        raise click.UsageError("name fixture files, folders or stored events")
    config = settings.load()
    files = change(
        collect(paths, providers.discover()),
        [parse_setting(each) for each in changes],
        fresh=secrets.token_hex(8) if fresh_ids else "",
        now=int(datetime.now(UTC).timestamp()),
    )
    answers = post(files, config, url or f"http://127.0.0.1:{os.environ.get('PORT', '8000')}")
    _print_answers(answers, json_)
    if any(answer["status"] != 200 for answer in answers):
        raise click.exceptions.Exit(1)


def post(files: Iterable[FixtureFile], config: Config, url: str) -> list[Plain]:
    """Sign and post files in order; return the answer to each; raise BridgeError if none comes."""
    files = list(files)
    answers = []
    with (
        Progress(console=console, transient=True, disable=len(files) < 2) as progress,
        requests.Session() as session,
    ):
        for file in progress.track(files, description="posting"):
            provider = config.providers.get(file.provider)
            if provider is None:
                raise ConfigError(
                    f"{file.path} cannot be signed: {file.provider} is not configured "
                    f"(set {file.provider.upper()}_WEBHOOK_SECRET)"
                )
            headers = {
                "Content-Type": "application/json; charset=utf-8",
                **provider.sign(file.body, datetime.now(UTC)),
            }
            address = f"{url.rstrip('/')}/webhooks/{provider.route}"
            answers.append(_post(session, address, file, headers))
    return answers


def _post(
    session: requests.Session, address: str, file: FixtureFile, headers: dict[str, str]
) -> Plain:
    try:
        answer = session.post(
            address,
            data=file.body.encode(),
            headers=headers,
            timeout=TIMEOUT_SECONDS,
            allow_redirects=False,
        )
    except requests.RequestException as error:
        raise BridgeError(
            f"{address} does not answer (is `bridge serve` running? else give --to): "
            f"{type(error).__name__}"
        ) from None
    return {"file": _name(file.path), "status": answer.status_code, "answer": _said(answer)}


def _said(answer: requests.Response) -> str:
    try:
        said = answer.json()
        return str(said.get("status") or said["error"]["message"])
    except (ValueError, KeyError, AttributeError, TypeError):
        return " ".join(answer.text.split())[:200]


def _name(path: Path) -> str:
    return path.parent.name if path.name == "body.json" else path.name


def _print_answers(answers: list[Plain], json_: bool) -> None:
    if json_:
        print_json(answers)
        return
    rows = [(each["file"], each["status"], each["answer"]) for each in answers]
    print_table(["sent", "status", "answer"], rows, "nothing was sent")


def _is_event(path: str) -> bool:
    return path.startswith(("evt_", "fetched_")) and not Path(path).exists()


def _process_again(ids: tuple[str, ...], state: str | None) -> None:
    """Put stored events back to be processed: after an upgrade, or a mended setting."""
    with opened() as session:
        rows: list[EventRow] = session.store.events.newest(state, 100_000) if state else []
        for id in ids:
            found = session.store.events.find(id)
            if not found:
                raise BridgeError(f"no stored event has the id {id!r} (see `bridge events`)")
            rows += found
        for row in rows:
            if row.state is not EventState.IGNORED:
                session.store.events.mark(row.key, EventState.RECEIVED)
        session.store.ring()
    click.echo(f"{len(rows)} event{'' if len(rows) == 1 else 's'} will be processed again")

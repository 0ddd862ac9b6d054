"""clicks import: store what brought customers before the bridge was there to hear of it."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import Progress

from bridge import logs
from bridge.capture import Capture, Reader, UnfitError
from bridge.cli.click_files import ENDINGS, ClickFile, Row, reason_of
from bridge.cli.output import print_json, print_line, say, some
from bridge.cli.session import Plain, Session, as_json, opened
from bridge.codec import dumps, iso, loads
from bridge.errors import BridgeError
from bridge.intake import Intake
from bridge.store.rows import Said

# Webhooks wait while so many are stored; fewer would write the same pages more often.
BATCH = 1000
MOST_REASONS, MOST_LINES = 20, 5
OTHER_REASONS = "other reasons"


@dataclass
class Refusal:
    """Hold how many rows were refused for one reason, and the lines of the first of them."""

    rows: int = 0
    lines: list[int] = field(default_factory=list)


@dataclass
class Report:
    """Hold what became of the rows so far: stored with them, to go on from there."""

    rows: int = 0
    taken: int = 0
    known: int = 0
    joined: int = 0
    refused: int = 0
    reasons: dict[str, Refusal] = field(default_factory=dict)
    finished_at: str = ""

    @classmethod
    def read(cls, text: str) -> Report:
        """Read what was stored."""
        plain = loads(text) if text else {}
        reasons = {name: Refusal(**each) for name, each in plain.pop("reasons", {}).items()}
        return cls(**plain, reasons=reasons)

    def write(self) -> str:
        """Write it down, to be stored."""
        return dumps(asdict(self))

    def refuse(self, row: Row, reason: str) -> None:
        """Count a refused row."""
        full = len(self.reasons) >= MOST_REASONS and reason not in self.reasons
        refusal = self.reasons.setdefault(OTHER_REASONS if full else reason, Refusal())
        refusal.rows += 1
        refusal.lines = [*refusal.lines, row.line][:MOST_LINES]
        self.refused += 1


@click.group()
def clicks() -> None:
    """Store clicks from a file: see `bridge clicks import`."""


@clicks.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Read and check all of it; store nothing.")
@click.option(
    "--refused",
    type=click.Path(path_type=Path),
    help="A new file for the refused rows, with the reasons: mend it, and import it.",
)
@click.option("--again", is_flag=True, help="Once more, though it was imported already.")
@as_json
def import_(file: Path, dry_run: bool, refused: Path | None, again: bool, json_: bool) -> None:
    """Store the clicks in a FILE, and credit the orders that waited for them.

    FILE is .jsonl (each line the body of a POST /clicks) or .csv, whose first line names the
    columns: external_id, email, anonymous_id, stripe, paddle, …; vendors (taapit, or a kind as
    tapfiliate.coupon); ip, user_agent, url, referrer; occurred_at with its zone. Run it again
    where it was interrupted, and it goes on from there. Exit code 1 if any row was refused.
    """
    if file.suffix.lower() not in ENDINGS:
        raise click.BadParameter(f"must end in {' or '.join(ENDINGS)}", param_hint="FILE")
    with opened(bulk=True, deciding=True) as session, file.open("rb") as content:
        job = Import(session, file, content, again=again)
        already = bool(job.report.finished_at) and not dry_run
        if not already:
            with _mending(refused, resumed=job.report.rows > 0) as mending:
                (job.check if dry_run else job.run)(mending)
    _print_report(job.report, json_, Plain(file=job.name, dry_run=dry_run, already=already))
    if job.report.refused:
        counted = f"{job.report.refused:,} of {some(job.report.rows, 'row')}"
        raise BridgeError(f"{counted} of {job.name} were refused")


class Import:
    """Import one file, batch by batch."""

    def __init__(
        self, session: Session, path: Path, content: BufferedReader, *, again: bool
    ) -> None:
        self.name = _shown(path.name)
        self._store = session.store
        self._intake = Intake(session.store, session.config)
        key = self._intake.vault.hash_key
        self._reader = Reader(
            vendors=session.config.vendors, email_secret=key, keep_out=self._intake.keep_out
        )
        self._content = content
        # A digest without a key would tell whether somebody's file is this one.
        digest = hashlib.file_digest(content, "sha256").digest()
        self._fact = f"import {hmac.new(key, digest, hashlib.sha256).hexdigest()[:32]}"
        self._size = content.tell()
        content.seek(0)
        self._file = ClickFile(path, content)
        self._stored = session.store.facts.get(self._fact)
        self.report = Report.read(self._stored)
        if again and self.report.finished_at:
            self.report = Report()

    def check(self, mending: Mending) -> None:
        """Read all rows and store nothing."""
        self.report = Report()
        for batch in self._batches():
            captures = self._read(batch, datetime.now(UTC), mending)
            self.report.taken += len(captures)

    def run(self, mending: Mending) -> None:
        """Store all rows that are not stored yet."""
        try:
            for batch in self._batches():
                # Read before the database is locked, so that others get their turn meanwhile.
                now = datetime.now(UTC)
                captures = self._read(batch, now, mending)
                self._take(captures, now, finished=len(batch) < BATCH)
        except KeyboardInterrupt:
            done = Report.read(self._stored).rows
            say(f"{some(done, 'row')} done; run it again to go on from there", err=True)
            raise

    def _batches(self) -> Iterator[list[Row]]:
        """Yield the rows that are left in batches; the last one is short, perhaps empty."""
        rows = islice(self._file.rows(), self.report.rows, None)
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task(self.name, total=self._size)
            while True:
                batch = list(islice(rows, BATCH))
                yield batch
                bar.update(task, completed=self._content.tell())
                if len(batch) < BATCH:
                    return

    def _read(self, batch: Sequence[Row], now: datetime, mending: Mending) -> list[Capture]:
        captures: list[Capture] = []
        for row in batch:
            self.report.rows += 1
            try:
                capture = self._reader.read(row.read(), now)
                captures.append(replace(capture, url=""))  # visits of long ago are not told of
            except UnfitError as error:
                reason = logs.InUse.redact(reason_of(error))
                self.report.refuse(row, reason)
                mending.add(self._file.refused(row, reason), self._file.head())
        return captures

    def _take(self, captures: Sequence[Capture], now: datetime, *, finished: bool) -> None:
        """Store a batch, and how far it is, in one transaction."""
        report, said = self.report, Said(source=f"import {self.name}", at=now)
        with self._store.atomic():
            if self._store.facts.get(self._fact) != self._stored:
                raise BridgeError(f"{self.name} is being imported by another process")
            for capture in captures:
                taken = self._intake.take_within(capture, said, now)
                report.taken += taken.news
                report.known += not taken.news
                report.joined += taken.joined
            report.finished_at = iso(now) if finished else ""
            stored = report.write()
            self._store.facts.put(self._fact, stored)
            self._store.ring()
        self._stored = stored


class Mending:
    """Write refused rows to a file of their own, which is made with the first of them."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def add(self, row: bytes, head: bytes) -> None:
        """Add a row; above the first of them stands the head."""
        if self._path is None:
            return
        if self._file is None:
            # What it holds is personal: for its owner alone.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._file = os.fdopen(os.open(self._path, flags, 0o600), "wb")
            if not self._path.stat().st_size:
                self._file.write(head)
        self._file.write(row)

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()


@contextmanager
def _mending(path: Path | None, *, resumed: bool) -> Iterator[Mending]:
    if path is not None and path.exists() and not resumed:
        raise click.BadParameter(f"{path} is there already", param_hint="--refused")
    mending = Mending(path)
    try:
        yield mending
    finally:
        mending.close()


def _shown(name: str) -> str:
    """Return a file's name as text that any database and terminal takes."""
    text = os.fsencode(name).decode("utf-8", "replace")
    return "".join(each if each.isprintable() else "?" for each in text)


def _print_report(report: Report, json_: bool, about: Plain) -> None:
    if json_:
        reasons = [{"reason": name, **asdict(each)} for name, each in report.reasons.items()]
        print_json(about | asdict(report) | {"reasons": reasons})
        return
    if about["already"]:
        when = report.finished_at[:16].replace("T", " ")
        print_line(f"{about['file']} was imported already ({when}); --again does it once more")
    print_line(_counted(report, dry_run=about["dry_run"]))
    for name, each in sorted(report.reasons.items(), key=lambda item: -item[1].rows):
        lines = ", ".join(map(str, each.lines)) + (", …" if each.rows > len(each.lines) else "")
        print_line(f"{each.rows:,}: {name} (line {lines})", indent=2)


def _counted(report: Report, *, dry_run: bool) -> str:
    taken = "would be taken" if dry_run else "taken"
    counts = [f"{report.taken:,} {taken}"]
    counts += [f"{report.known:,} known already"] if report.known else []
    counts += [f"{report.refused:,} refused"] if report.refused else []
    counts += [f"known customers joined by {report.joined:,} of them"] if report.joined else []
    return f"{report.rows:,} {'row' if report.rows == 1 else 'rows'}: {', '.join(counts)}"

"""The long form of the fault harness: python -m tests.chaos --minutes 10

Storm after storm passes over a real bridge until the time is up, each from a seed that is printed;
then one order's life is stopped at every commit boundary. It ends with 1 where anything is not
clean, and says what, and with which seed it happens again.

    python -m tests.chaos --storms 1 --failing tapfiliate --to-the-end

has 20 processes killed during 2,000 webhooks of 400 orders, with a vendor that fails a third of its
calls. Several web and worker processes side by side need PostgreSQL (see tests/postgres.py):

    python -m tests.chaos --storms 1 --database postgres --webs 2 --workers 2 --kills 50
"""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# The modules beside this one import each other by their bare names, as pytest has them do.
sys.path.insert(0, str(Path(__file__).resolve().parent))

import click
import postgres
from chaos_audit import KINDS, VENDORS
from chaos_boundaries import LIVES, Case, enumerate_boundaries
from chaos_storm import POSTGRES, SQLITE, Plan, Report, storm
from rich.console import Console
from rich.table import Table

ALL = "all"
MOST_SHOWN = 50


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0), default=10, show_default=True)
@click.option("--storms", type=click.IntRange(min=0), help="So many, however long they take.")
@click.option("--seed", type=int, help="Of the first storm; each further one has the next.")
@click.option("--orders", type=click.IntRange(min=1), default=400, show_default=True)
@click.option("--webhooks", type=click.IntRange(min=1), default=2000, show_default=True)
@click.option("--kills", type=click.IntRange(min=0), default=20, show_default=True)
@click.option(
    "--failing",
    type=click.Choice([*VENDORS, ALL]),
    multiple=True,
    default=[ALL],
    show_default=True,
    help="Vendors that misbehave.",
)
@click.option("--share", type=click.FloatRange(0, 1), default=1 / 3, help="Of their calls.")
@click.option("--to-the-end", is_flag=True, help="They do so until all is told.")
@click.option("--boundaries/--no-boundaries", default=True, show_default=True)
@click.option("--database", type=click.Choice([SQLITE, POSTGRES]), default=SQLITE)
@click.option("--webs", type=click.IntRange(min=0), default=0, help="In place of `bridge serve`.")
@click.option("--workers", type=click.IntRange(min=0), default=0, help="Likewise.")
@click.option("--outages", type=click.IntRange(min=0), default=0, help="Of PostgreSQL's server.")
@click.option("--quiet", is_flag=True, help="Say nothing while a storm lasts.")
def main(
    minutes: float,
    storms: int | None,
    seed: int | None,
    orders: int,
    webhooks: int,
    kills: int,
    failing: tuple[str, ...],
    share: float,
    to_the_end: bool,
    boundaries: bool,
    database: str,
    webs: int,
    workers: int,
    outages: int,
    quiet: bool,
) -> None:
    """Let storms pass over a bridge, then stop it at every commit boundary."""
    if bool(webs) != bool(workers) or (webs and database == SQLITE):
        raise click.UsageError("--webs and --workers go together, and need --database postgres")
    if outages and (database == SQLITE or postgres.GIVEN):
        raise click.UsageError("--outages needs --database postgres, and a server of our own")
    console = Console(highlight=False, soft_wrap=True, width=110)
    first = secrets.randbelow(1_000_000) if seed is None else seed
    plan = Plan(
        seed=first,
        orders=orders,
        webhooks=webhooks,
        kills=kills,
        failing=VENDORS if ALL in failing else failing,
        share=share,
        hangs=True,
        to_the_end=to_the_end,
        database=database,
        webs=webs,
        workers=workers,
        outages=outages,
    )
    deadline = time.monotonic() + 60 * minutes
    clean = True
    for each in _seeds(first, storms, deadline):
        clean &= _storm(Plan(**{**vars(plan), "seed": each}), console, quiet=quiet)
    if boundaries:
        clean &= _stop_everywhere(console)
    console.print("all clean" if clean else "NOT clean")
    raise SystemExit(0 if clean else 1)


def _seeds(first: int, storms: int | None, deadline: float) -> Iterator[int]:
    """Return the seeds of so many storms, or of as many as begin before the time is up."""
    seed = first
    while seed - first < storms if storms is not None else time.monotonic() < deadline:
        yield seed
        seed += 1


# ── storms ───────────────────────────────────────────────────────────────────────────────────────


def _storm(plan: Plan, console: Console, *, quiet: bool) -> bool:
    console.print(f"storm {plan.seed} (again with --seed {plan.seed} --storms 1)")
    with tempfile.TemporaryDirectory(prefix="bridge-chaos-") as folder:
        report = storm(plan, Path(folder), (lambda _: None) if quiet else console.print)
    console.print(_summary(report))
    audit = report.audit
    if audit.unknown:
        console.print(f"for a person to decide: {', '.join(audit.unknown)}")
    for finding in sorted(audit.findings)[:MOST_SHOWN]:
        console.print(f"seed {plan.seed}: {finding}")
    return audit.clean


def _summary(report: Report) -> Table:
    plan, kills = report.plan, ", ".join(f"{n}x {what}" for what, n in report.kills.items())
    table = Table(
        title=f"{report.webhooks:,} webhooks of {plan.orders:,} orders, "
        f"{report.kills.total()} SIGKILLs ({kills or 'none'}), {plan.outages} outages, "
        f"{report.starts} starts, {report.seconds:.0f} s",
        title_justify="left",
    )
    for name in ("", "calls", "faults met", "sales held", *KINDS, "unknown"):
        table.add_column(name, justify="right" if name else "left")
    unknown = Counter(each.rpartition("@")[2] for each in report.audit.unknown)
    for vendor in VENDORS:
        found = report.audit.count(vendor)
        met = sum(report.met[vendor].values())
        counts = (report.calls[vendor], met, report.held[vendor])
        table.add_row(vendor, *map(str, (*counts, *map(found.__getitem__, KINDS), unknown[vendor])))
    own = report.audit.count("bridge")
    table.add_row("bridge", "", "", "", *(str(own[kind]) for kind in KINDS), "")
    return table


# ── boundaries ───────────────────────────────────────────────────────────────────────────────────


def _stop_everywhere(console: Console) -> bool:
    table = Table(title="commit boundaries of one order's life", title_justify="left")
    for name in ("life", "stopped at", "clean", "unknown, then resolved"):
        table.add_column(name, justify="left" if name == "life" else "right")
    cases: list[Case] = []
    for life in LIVES:
        lived = enumerate_boundaries(life)
        cases += lived
        stops = [each for each in lived if each.stopped]
        clean = sum(each.clean for each in stops)
        table.add_row(life, *map(str, (len(stops), clean, sum(bool(c.unknown) for c in stops))))
    console.print(table)
    for each in cases:
        if not each.clean:
            console.print(str(each))
    return all(each.clean for each in cases)


if __name__ == "__main__":
    main()

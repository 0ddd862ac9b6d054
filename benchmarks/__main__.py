"""Measure, print the table, and write it to a file: python -m benchmarks"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks import stage
from benchmarks.acknowledging import acknowledge
from benchmarks.delivering import deliver
from benchmarks.figures import FULL, QUICK, TINY, Figure, Figures, Scale
from benchmarks.full import full
from benchmarks.idling import idle
from benchmarks.on_postgres import postgres
from benchmarks.remembering import memory

BENCHMARKS: dict[str, Callable[[Scale, Path], Figures]] = {
    each.__name__: each for each in (acknowledge, deliver, idle, full, memory, postgres)
}
SCALES = {"full": FULL, "quick": QUICK, "tiny": TINY}
SYNCS = 200


@click.command(context_settings={"show_default": True})
@click.option("--only", type=click.Choice(list(BENCHMARKS)), multiple=True, help="Just these.")
@click.option("--quick", "scale", flag_value="quick", help="Less of everything, in 3 minutes.")
@click.option("--tiny", "scale", flag_value="tiny", hidden=True)
@click.option("--full", "scale", flag_value="full", default="full", hidden=True)
@click.option(
    "--json", "path", type=click.Path(path_type=Path), help="Write the figures here, too."
)
@click.option("--keep", is_flag=True, help="Keep the full store for the next time.")
@click.option("--folder", type=click.Path(path_type=Path, exists=True), help="Disk to measure on.")
def main(
    *, only: tuple[str, ...], scale: str, path: Path | None, folder: Path | None, keep: bool
) -> None:
    """Measure the bridge side by side with an empty view and a handler written by hand."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # with all that was started
    stage.Trial.on = scale == "tiny"
    benchmarks = BENCHMARKS | {"full": partial(full, keep=keep)}
    found: dict[str, list[Figure]] = {}
    broken: dict[str, str] = {}
    with _place(folder) as place:
        here = _here(place)
        for name in only or BENCHMARKS:
            began = time.monotonic()
            (place / name).mkdir()
            try:
                _gather(benchmarks[name](SCALES[scale], place / name), found.setdefault(name, []))
            except stage.BrokenOffError as error:
                broken[name] = str(error)
            _say(f"{name}: {broken.get(name, 'done')}, {time.monotonic() - began:.0f} s")
            if path:  # whatever becomes of the rest
                _write(path, {"machine": here, "scale": scale}, found)
    _print(found, here)
    if broken:
        raise click.ClickException("; ".join(f"{name}: {said}" for name, said in broken.items()))


def _gather(figures: Figures, found: list[Figure]) -> None:
    for each in figures:
        _say(f"  {each.name}: {each.said}")
        found.append(each)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _write(path: Path, about: dict[str, object], found: dict[str, list[Figure]]) -> None:
    figures = {name: [each.plain() for each in some] for name, some in found.items()}
    path.write_text(json.dumps(about | {"figures": figures}, indent=1), "utf-8")


def _print(found: dict[str, list[Figure]], here: dict[str, str]) -> None:
    table = Table("", "measured", "wanted", "met")
    for name, figures in found.items():
        table.add_row(f"[bold]{name}[/]")
        for each in figures:
            met = "" if each.met is None else "yes" if each.met else "[red]no[/]"
            table.add_row(f"  {each.name}", each.said, each.wanted, met)
    console = Console()
    console.print(table)
    console.print(" · ".join(f"{key}: {value}" for key, value in here.items()))


@contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bridge-benchmarks-", dir=folder) as name:
        yield Path(name)


def _here(folder: Path) -> dict[str, str]:
    """Return what the figures depend on."""
    return {
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processors": str(len(os.sched_getaffinity(0))),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "syncs of the disk": f"{_syncs(folder):,.0f}/s",
        "python": platform.python_version(),
        "by hand": "gunicorn" if stage.has_gunicorn() else "granian",
    }


def _syncs(folder: Path) -> float:
    with (folder / "syncs").open("wb", buffering=0) as file:
        began = time.monotonic()
        for _ in range(SYNCS):
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
        return SYNCS / (time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())

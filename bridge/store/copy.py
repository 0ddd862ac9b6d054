"""Copying everything from one database to another, and proof that all of it has arrived.

All tables that the database tells of, those that others refer to first; each in the order of its
primary key, some hundred rows at a time, so that memory stays flat. With each batch the target
keeps how far it has come, in one transaction: whatever kills us, the next run goes on from there.
While it lasts both sides are shut (`moves.py`), so that neither changes. Deliveries keep their
leases: what was being sent is taken up at the target by the rules for a worker that was killed.

Then both sides are read once more, and count for count, sum for sum compared; a row's sum does not
depend on the database. PostgreSQL keeps no NUL in a text and no half character: there, and only
there, they become U+FFFD, as with all that bridge writes to it, and each such row is reported.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain, islice

from bridge.codec import dump
from bridge.errors import StoreError
from bridge.store.dialect import POSTGRES
from bridge.store.moves import (
    CAME_FROM,
    OWN_FACTS,
    Mark,
    Move,
    Side,
    Stage,
    agree,
    arrive,
    leave,
    mark_of,
    require_going_on,
    settle,
)
from bridge.store.rows import Row
from bridge.store.shut import let_in
from bridge.store.tables import Table, tables_of

ROWS_AT_ONCE, BATCHES_AT_ONCE = 200, 50
MODULUS = 2**256
BROKEN = "\ufffd"
# Told what is being done, and how many rows that was just now.
Watch = Callable[[str, int], None]
Note = Callable[[Table, Row, Row], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """Hold how many rows a table has, and the sum of theirs, in whatever order they come."""

    rows: int = 0
    total: int = 0

    def __str__(self) -> str:
        return f"{self.total:064x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Hold what a table is at the source and at the target."""

    table: str
    source: Sum
    target: Sum

    @property
    def same(self) -> bool:
        return self.source == self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Hold what came of a move; `changed` names the rows with texts that could not stay as is."""

    stage: Stage  # at which it began
    at: str
    tables: Sequence[Compared]
    changed: Sequence[str]

    @property
    def same(self) -> bool:
        return all(each.same for each in self.tables)


def size_of(source: Side) -> int:
    """Return how many rows are to be copied, compared, or both."""
    return sum(_count(source, table) for table in tables_of(source))


def move(
    source: Side,
    target: Side,
    watch: Watch,
    *,
    rows: int = ROWS_AT_ONCE,
    batches: int = BATCHES_AT_ONCE,
) -> Report:
    """Move everything, or go on with it; where all is there already, only compare.

    Raises StoreError where it cannot be. After a comparison that fails nothing is opened, and the
    next run copies all anew. So many rows are read at once, so many batches written in one
    transaction.
    """
    return _Mover(source, target, watch, rows, batches).run()


@dataclass
class _Mover:
    source: Side
    target: Side
    watch: Watch
    rows: int
    batches: int
    tables: Sequence[Table] = ()
    changed: list[str] = field(default_factory=list)

    def run(self) -> Report:
        self.tables = self._tables_of_both()
        agreed = agree(self.source, self.target)
        if agreed.stage in {Stage.NEW, Stage.SHUT, Stage.COPYING}:
            self._copy(self._begin(agreed))
        report = self._compare(agreed)
        if agreed.stage is not Stage.DONE:
            self._end(agreed, report)
        return report

    def _tables_of_both(self) -> Sequence[Table]:
        """Return the tables, which both must have alike: nothing is to be left behind."""
        ours, theirs = tables_of(self.source), tables_of(self.target)
        odd = {(each.name, each.columns) for each in ours} ^ {
            (each.name, each.columns) for each in theirs
        }
        if odd:
            names = ", ".join(sorted({name for name, _ in odd}))
            raise StoreError(
                f"{self.source.where} and {self.target.where} differ in the tables {names}: use "
                "the bridge that made them, or give those of other programs another schema"
            )
        return theirs

    # ── copying ──

    def _begin(self, agreed: Move) -> Mark:
        if agreed.stage is Stage.NEW:
            leave(self.source, self.target, agreed)
            self.watch("shutting", 0)
        if agreed.stage in {Stage.NEW, Stage.SHUT}:
            return arrive(self.source, self.target, agreed)
        return self._mark_of(agreed)

    def _mark_of(self, agreed: Move) -> Mark:
        mark = mark_of(self.target, CAME_FROM)
        if not mark or mark.token != agreed.token or mark.done:
            raise self._another()
        return mark

    def _another(self) -> StoreError:
        return StoreError(f"another `bridge migrate` copies into {self.target.where}")

    def _copy(self, mark: Mark) -> None:
        self.watch("copying", 0)
        for table in self.tables[mark.tables :]:
            batches = _batches(self.source, table, mark.after, self.rows)
            for first in batches:
                mark = self._write(table, chain([first], islice(batches, self.batches - 1)), mark)
            mark = self._keep(mark, replace(mark, tables=mark.tables + 1, after=()))
        self._number_on()

    def _write(self, table: Table, batches: Iterable[list[Row]], mark: Mark) -> Mark:
        """Write some batches of a table in one transaction, with the mark of how far that is."""
        last = Row()
        with let_in(self.target):
            self._require(mark)
            for some in batches:
                _insert(self.target, table, _kept_rows(some, self._plain))
                last = some[-1]
                self.watch(f"copying {table.name}", len(some))
            after = tuple(last[name] for name in table.key)
            return self._keep(mark, replace(mark, after=after))

    def _keep(self, mark: Mark, further: Mark) -> Mark:
        """Keep how far it has come; raise StoreError where that is not what we know."""
        with let_in(self.target):
            self._require(mark)
            self.target.facts.put(CAME_FROM, dump(further))
        return further

    def _require(self, mark: Mark) -> None:
        if mark_of(self.target, CAME_FROM) != mark:
            raise self._another()

    def _number_on(self) -> None:
        """Have PostgreSQL number its rows on from where the others end; SQLite does by itself."""
        for table in self.tables if self.target.dialect is POSTGRES else ():
            for column in table.counted:
                self.target.query(
                    f"""SELECT setval(pg_get_serial_sequence('"{table.name}"', '{column}'),
                            (SELECT max("{column}") FROM "{table.name}"))"""  # noqa: S608
                )

    @property
    def _plain(self) -> bool:
        """Tell whether texts are kept as PostgreSQL can."""
        return self.target.dialect is POSTGRES

    # ── comparing ──

    def _compare(self, agreed: Move) -> Report:
        tables = []
        for table in self.tables:
            source = self._sum(self.source, table, self._note)
            if source.rows != _count(self.source, table):
                require_going_on(self.source, agreed)
                raise StoreError(f"{self.source.where}: not every row of {table.name} can be read")
            target = self._sum(self.target, table)
            tables.append(Compared(table=table.name, source=source, target=target))
        return Report(stage=agreed.stage, at=agreed.at, tables=tables, changed=self.changed)

    def _sum(self, side: Side, table: Table, note: Note | None = None) -> Sum:
        count, total = 0, 0
        for some in _batches(side, table, (), self.rows):
            for row in some:
                written = _encode(list(row.values()))
                if _is_suspect(written):
                    kept = _as_kept(row, self._plain)
                    written = _encode(list(kept.values()))
                    if note and kept != row:
                        note(table, row, kept)
                total += int.from_bytes(hashlib.sha256(written.encode()).digest())
            count += len(some)
            self.watch(f"comparing {table.name}", len(some))
        return Sum(rows=count, total=total % MODULUS)

    def _note(self, table: Table, row: Row, kept: Row) -> None:
        """Note a row with texts that cannot be kept as they are, and where they are."""
        named = [str(row[name]) for name in table.key]
        if table.name == "events":
            named.append(row["key"])
        broken = ", ".join(name for name in table.columns if kept[name] != row[name])
        self.changed.append(f"{table.name} {' '.join(named)}: {broken}")

    def _end(self, agreed: Move, report: Report) -> None:
        mark = self._mark_of(agreed)
        require_going_on(self.source, agreed)
        if not report.same:
            self._keep(mark, replace(mark, token=""))  # of no move any more: the next copies anew
            return
        self.watch("ending", 0)
        leave(self.source, self.target, agreed, done=True)
        self.watch("opening", 0)
        settle(self.target, mark)
        if self.target.dialect is POSTGRES:
            self.target.execute(f"ANALYZE {', '.join(each.name for each in self.tables)}")


def _batches(
    side: Side, table: Table, after: Sequence[str | int], limit: int
) -> Iterator[list[Row]]:
    """Go through a table in the order of its key, from after a row on."""
    key, last = ", ".join(_quoted(table.key)), list(after)
    while True:
        params = {f"key{at}": value for at, value in enumerate(last)}
        beyond = f"({key}) > ({', '.join(f':{name}' for name in params)})" if last else "1 = 1"
        some = _select(
            side, table, f"WHERE {beyond}{_not_own(table)} ORDER BY {key} LIMIT {limit}", params
        )
        if some:
            yield some
        if len(some) < limit:
            return
        last = [some[-1][name] for name in table.key]


def _select(side: Side, table: Table, rest: str, params: Mapping[str, object]) -> list[Row]:
    """Return rows; bytes that are no text come as half characters, so that they are noticed."""
    name, columns = _quoted([table.name])[0], ", ".join(_quoted(table.columns))
    try:
        return side.query(f"SELECT {columns} FROM {name} {rest}", params)  # noqa: S608
    except StoreError as error:
        if side.dialect is POSTGRES or "decode" not in str(error):
            raise
    raw = (f'CAST("{each}" AS BLOB) AS "{each}"' for each in table.columns)
    rows = side.query(f"SELECT {', '.join(raw)} FROM {name} {rest}", params)  # noqa: S608
    return [{each: _read(row[each], each in table.texts) for each in row} for row in rows]


def _read(raw: bytes | None, text: bool) -> str | int | None:
    if raw is None:
        return None
    return raw.decode("utf-8", "surrogateescape") if text else int(raw)


def _insert(target: Side, table: Table, rows: Sequence[Row]) -> None:
    params = {f"{name}_{at}": value for at, row in enumerate(rows) for name, value in row.items()}
    if target.execute(_inserting(table, len(rows)), params) != len(rows):
        raise StoreError(
            f"{target.where}: rows of {table.name} are there already, or become the same where "
            "texts cannot be kept as they are"
        )


@lru_cache
def _inserting(table: Table, count: int) -> str:
    places = (f"({', '.join(f':{name}_{at}' for name in table.columns)})" for at in range(count))
    columns = ", ".join(_quoted(table.columns))
    return (
        f'INSERT INTO "{table.name}" ({columns}) VALUES {", ".join(places)} ON CONFLICT DO NOTHING'  # noqa: S608
    )


def _count(side: Side, table: Table) -> int:
    sql = f'SELECT count(*) AS n FROM "{table.name}" WHERE 1 = 1{_not_own(table)}'  # noqa: S608
    return int(side.query(sql)[0]["n"])


def _not_own(table: Table) -> str:
    """Leave out what a database keeps of itself."""
    if table.name != "facts":
        return ""
    return f" AND name NOT IN ({', '.join(repr(each) for each in sorted(OWN_FACTS))})"


def _quoted(names: Iterable[str]) -> list[str]:
    return [f'"{name}"' for name in names]


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────

# Only ASCII, so that whatever is odd in a text stands in it as an escape.
_encode = json.JSONEncoder(separators=(",", ":")).encode


def _is_suspect(written: str) -> bool:
    """Tell whether JSON may hold a NUL or half a character; to look closer takes long."""
    return "\\u0000" in written or "\\ud" in written


def _kept_rows(rows: Sequence[Row], plain: bool) -> Sequence[Row]:
    if not _is_suspect(_encode([list(row.values()) for row in rows])):
        return rows
    return [_as_kept(row, plain) for row in rows]


def _as_kept(row: Row, plain: bool) -> Row:
    return {name: _kept(value, plain) for name, value in row.items()}


def _kept(value: object, plain: bool) -> object:
    """Return a value as the target keeps it; `plain`: without NUL."""
    if not isinstance(value, str):
        return value
    if plain:
        value = value.replace("\0", BROKEN)
    return value.encode("utf-8", "replace").decode()

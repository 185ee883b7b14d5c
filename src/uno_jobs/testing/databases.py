"""Databases for tests: made from a template that was migrated once, in some 20 ms each, and dropped at the end."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from uno_jobs.storage.urls import plain_url

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

TEMPLATE_SECONDS: Final = 10.0


class Databases:
    """Makes databases on one server; from synchronous code or, blocking for a moment, from an event loop's.

    Args:
        url: The server, with a role that may create databases.
        migrate: Called once with the URL of the template, on a thread without an event loop.
    """

    def __init__(self, url: str, migrate: Callable[[str], None]) -> None:
        self._url = plain_url(url)
        self._migrate = migrate
        self._prefix = f"uno_jobs_test_{os.getpid()}_{secrets.token_hex(3)}"
        self._template: str | None = None
        self._made = 0
        self._server: _Server | None = None

    @contextmanager
    def migrated(self) -> Generator[str]:
        """Make a database with the schema in it; yields its URL."""
        if self._template is None:
            self._template = self._make_template()
        with self._database(f'TEMPLATE "{self._template}" STRATEGY file_copy') as url:
            yield url

    @contextmanager
    def empty(self) -> Generator[str]:
        """Make an empty database; yields its URL."""
        with self._database("TEMPLATE template0") as url:
            yield url

    def close(self) -> None:
        """Drop the template and let go of the server."""
        if self._template is not None:
            self._drop(self._template)
            self._template = None
        if self._server is not None:
            self._server.close()
            self._server = None

    def url_of(self, database: str) -> str:
        """Return the URL of a database of this server."""
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{database}"))

    def _make_template(self) -> str:
        name = f"{self._prefix}_template"
        self._sql(f'CREATE DATABASE "{name}" TEMPLATE template0')
        try:
            _on_a_thread(lambda: self._migrate(self.url_of(name)))
        except BaseException:
            self._drop(name)
            raise
        return name

    @contextmanager
    def _database(self, how: str) -> Generator[str]:
        self._made += 1
        name = f"{self._prefix}_{self._made}"
        give_up = time.monotonic() + TEMPLATE_SECONDS
        while True:
            try:
                self._sql(f'CREATE DATABASE "{name}" {how}')
                break
            except asyncpg.ObjectInUseError:  # an autovacuum worker, say, is in the template at the moment
                if time.monotonic() > give_up:
                    raise
        try:
            yield self.url_of(name)
        finally:
            self._drop(name)

    def _drop(self, name: str) -> None:
        self._sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _sql(self, statement: str) -> None:
        if self._server is None:
            self._server = _Server(self._url)
        self._server.execute(statement)


class _Server:
    """One connection to the server for all that is made and dropped: to open one takes as long as to make a database.

    It lives on a thread with a loop of its own, so that whoever asks may have one running.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._thread = ThreadPoolExecutor(1)
        self._runner = asyncio.Runner()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    def execute(self, statement: str) -> None:
        """Execute a statement that cannot be in a transaction."""
        self._thread.submit(lambda: self._runner.run(self._execute(statement))).result()

    def close(self) -> None:
        """Close the connection."""
        self._thread.submit(self._close).result()
        self._thread.shutdown()

    async def _execute(self, statement: str) -> None:
        connection = self._connection
        if connection is None or not await _answers(connection):
            connection = self._connection = await asyncpg.connect(self._url)
        await connection.execute(statement)

    def _close(self) -> None:
        if self._connection is not None:
            self._runner.run(self._connection.close())
        self._runner.close()


async def _answers(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
    """Whether a connection is as it was: a long test has time for a restart or a proxy to cut it."""
    try:
        await connection.execute("SELECT 1")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
        return False
    return True


def _on_a_thread(what: Callable[[], None]) -> None:
    """Run *what* where no event loop runs, whatever runs here."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(what).result()

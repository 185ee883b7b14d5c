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
        """Drop the template."""
        if self._template is not None:
            self._drop(self._template)
            self._template = None

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
        async def run() -> None:
            connection = await asyncpg.connect(self._url)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        _on_a_thread(lambda: asyncio.run(run()))


def _on_a_thread(what: Callable[[], None]) -> None:
    """Run *what* where no event loop runs, whatever runs here."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(what).result()

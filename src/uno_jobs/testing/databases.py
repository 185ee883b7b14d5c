"""Databases for tests: made from a template that was migrated once, in some 20 ms each, and dropped at the end."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from uno_jobs.storage.urls import plain_url

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class Databases:
    """Makes databases on one server.

    Args:
        url: The server, with a role that may create databases.
        migrate: Called once with the URL of the template.
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
            template = f"{self._prefix}_template"
            self._sql(f'CREATE DATABASE "{template}"')
            self._migrate(self.url_of(template))
            self._template = template
        with self._database(f'TEMPLATE "{self._template}" STRATEGY file_copy') as url:
            yield url

    @contextmanager
    def empty(self) -> Generator[str]:
        """Make an empty database; yields its URL."""
        with self._database("") as url:
            yield url

    def close(self) -> None:
        """Drop the template."""
        if self._template is not None:
            self._sql(f'DROP DATABASE IF EXISTS "{self._template}" WITH (FORCE)')
            self._template = None

    def url_of(self, database: str) -> str:
        """Return the URL of a database of this server."""
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{database}"))

    @contextmanager
    def _database(self, how: str) -> Generator[str]:
        self._made += 1
        name = f"{self._prefix}_{self._made}"
        self._sql(f'CREATE DATABASE "{name}" {how}')
        try:
            yield self.url_of(name)
        finally:
            self._sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _sql(self, statement: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(self._url)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(run())

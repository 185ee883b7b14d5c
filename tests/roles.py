"""The roles in a test's database, under names of the test's own: roles belong to the whole server."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from uno_jobs.storage.roles import NAMES, roles_sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PASSWORD = "secret"


class Roles:
    """The roles' names, and URLs to log in with as each."""

    def __init__(self, url: str) -> None:
        self._url = url
        token = secrets.token_hex(4)
        self.names = {role: f"test {token} {role}" for role in NAMES}

    @property
    def enqueuer(self) -> str:
        return self.url("enqueuer")

    @property
    def worker(self) -> str:
        return self.url("worker")

    @property
    def reader(self) -> str:
        return self.url("reader")

    @property
    def operator(self) -> str:
        return self.url("operator")

    def url(self, role: str) -> str:
        parts = urlsplit(self._url)
        server = parts.netloc.rpartition("@")[2]
        user = self.names[role].replace(" ", "%20")
        return urlunsplit(parts._replace(netloc=f"{user}:{PASSWORD}@{server}"))


@contextlib.asynccontextmanager
async def made(url: str) -> AsyncIterator[Roles]:
    """Make the roles, and let them log in; at the end they are dropped."""
    roles = Roles(url)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(roles_sql(**roles.names))
        for name in roles.names.values():
            await connection.execute(f"ALTER ROLE \"{name}\" LOGIN PASSWORD '{PASSWORD}'")
        yield roles
        for name in roles.names.values():
            await connection.execute(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"')
    finally:
        await connection.close()

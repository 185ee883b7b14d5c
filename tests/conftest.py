"""The server of a test run, and a fresh database for each test that asks for one."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests import roles as roles_
from uno_jobs.embedded.locks import is_held
from uno_jobs.embedded.places import SHARED_STATE
from uno_jobs.errors import ConfigurationError, EmbeddedError
from uno_jobs.testing.databases import Databases
from uno_jobs.testing.servers import URL_VARIABLE, server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_server = ExitStack()

# nohup and the background of a shell have these ignored, and what the tests start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    # The controller of pytest-xdist starts the server; its workers inherit the URL.
    if not hasattr(config, "workerinput") and config.getoption("numprocesses", None):
        before = os.environ.get(URL_VARIABLE)
        try:
            os.environ[URL_VARIABLE] = _server.enter_context(server())
        except (ConfigurationError, EmbeddedError) as error:
            raise pytest.UsageError(str(error)) from error
        if before is None:
            _server.callback(os.environ.pop, URL_VARIABLE)


def pytest_unconfigure(config: pytest.Config) -> None:
    _server.close()
    if not hasattr(config, "workerinput"):
        _remove_data_of_tests()


def _remove_data_of_tests() -> None:
    # As root a folder's server keeps its data elsewhere, so pytest's removal of old folders does not reach them.
    for record in SHARED_STATE.glob("*/folder"):
        folder = Path(record.read_text().strip())
        of_a_test = Path(tempfile.gettempdir()).resolve() in folder.parents and "pytest-" in str(folder)
        if of_a_test and not is_held(record.with_name("server.lock")):
            shutil.rmtree(record.parent, ignore_errors=True)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """URL of the server, as a role that may create databases."""
    with server() as url:
        yield url


@pytest.fixture(scope="session")
def uno_jobs_server_url(server_url: str) -> str:
    """The plugin's tests need no server of their own."""
    return server_url


@pytest.fixture(scope="session")
def databases(server_url: str) -> Iterator[Databases]:
    from uno_jobs.storage.migrations import upgrade

    databases = Databases(server_url, upgrade)
    yield databases
    databases.close()


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """URL of a fresh database with the schema in it."""
    with databases.migrated() as url:
        yield url


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    """URL of a fresh, empty database."""
    with databases.empty() as url:
        yield url


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to ``database_url``."""
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def roles(database_url: str) -> AsyncIterator[roles_.Roles]:
    """The three roles, with rights in ``database_url`` alone."""
    async with roles_.made(database_url) as roles:
        yield roles

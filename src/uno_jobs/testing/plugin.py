"""The pytest plugin: a throwaway database with the schema in it, and queues on it. Loaded by pytest by itself.

Nothing is imported or started until a test asks for a fixture.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from uno_jobs.queue import Queue, SyncQueue
    from uno_jobs.testing.databases import Databases


@pytest.fixture(scope="session")
def uno_jobs_server_url() -> Generator[str]:
    """URL of a PostgreSQL server for the test run; see the guide to testing for how it is chosen."""
    from uno_jobs.testing.servers import server

    with server() as url:
        yield url


@pytest.fixture(scope="session")
def uno_jobs_databases(uno_jobs_server_url: str) -> Generator[Databases]:
    """Makes databases on that server."""
    from uno_jobs.storage.migrations import upgrade
    from uno_jobs.testing.databases import Databases

    databases = Databases(uno_jobs_server_url, upgrade)
    yield databases
    databases.close()


@pytest.fixture
def uno_jobs_database_url(uno_jobs_databases: Databases) -> Generator[str]:
    """URL of a database of this test's own, with the schema in it; dropped at the test's end."""
    with uno_jobs_databases.migrated() as url:
        yield url


@pytest.fixture
def uno_jobs_sync_queue(uno_jobs_database_url: str) -> Generator[SyncQueue]:
    """A SyncQueue on the test's own database; the process's default queue until the test's end."""
    from uno_jobs.queue import SyncQueue
    from uno_jobs.queue.default import configured

    with SyncQueue(uno_jobs_database_url) as queue, configured(queue):
        yield queue


async def uno_jobs_queue(uno_jobs_database_url: str) -> AsyncGenerator[Queue]:
    """A Queue on the test's own database; the process's default queue until the test's end."""
    from uno_jobs.queue import Queue
    from uno_jobs.queue.default import configured

    async with Queue(uno_jobs_database_url) as queue:
        with configured(queue):
            yield queue


def pytest_configure(config: pytest.Config) -> None:
    """Register the asynchronous fixtures, made by whichever plugin runs the tests' event loops."""
    asynchronous = ModuleType(f"{__name__}.asynchronous")
    if config.pluginmanager.hasplugin("asyncio"):
        import pytest_asyncio

        asynchronous.__dict__["uno_jobs_queue"] = pytest_asyncio.fixture(uno_jobs_queue)
    else:
        # anyio's plugin takes asynchronous fixtures as they are.
        asynchronous.__dict__["uno_jobs_queue"] = pytest.fixture(uno_jobs_queue)
    config.pluginmanager.register(asynchronous)

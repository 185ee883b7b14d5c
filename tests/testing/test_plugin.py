"""The pytest plugin, in a project that has done no more than install the package."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

from uno_jobs.queue import Queue, SyncQueue
from uno_jobs.queue.default import configure, configured, get_default_queue, get_default_sync_queue
from uno_jobs.testing.servers import URL_VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

# pytest-asyncio wants it said.
LOOP_SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")

APPLICATION = '''
"""Somebody's application."""
from uno_jobs import task


@task
async def double(number: int) -> int:
    return 2 * number
'''

WITH_A_LOOP = """
import pytest

from shop import double
from uno_jobs.testing import assert_enqueued, run_until_idle

pytestmark = pytest.mark.MARK


async def test_enqueue(uno_jobs_queue):
    handle = await uno_jobs_queue.enqueue(double, args=[21])
    await assert_enqueued(double, args=[21], connection=uno_jobs_queue, count=1)
    assert await run_until_idle(uno_jobs_queue) == {"succeeded": 1}
    assert await handle.result() == 42


async def test_default_queue_in_a_database_of_its_own(uno_jobs_queue):
    await assert_enqueued(double, count=0)
    handle = await double.enqueue(4)
    await run_until_idle()
    assert await handle.result() == 8
"""

WITHOUT = """
from shop import double
from uno_jobs.testing import assert_enqueued_sync, run_until_idle_sync


def test_enqueue(uno_jobs_sync_queue, uno_jobs_database_url):
    assert uno_jobs_sync_queue.database == uno_jobs_database_url
    handle = double.enqueue_sync(21)
    assert_enqueued_sync(double, args=[21])
    assert run_until_idle_sync() == {"succeeded": 1}
    assert handle.result() == 42
"""

CHEAP = """
import sys


def test_nothing_was_imported():
    heavy = {"asyncpg", "pydantic", "alembic", "uno_jobs.worker", "uno_jobs.queue", "uno_jobs.tasks"}
    assert "uno_jobs.testing.plugin" in sys.modules
    assert not heavy & set(sys.modules)
"""


def run_pytest(folder: Path, server_url: str, *options: str, **files: str) -> str:
    for name, content in {"shop": APPLICATION, **files}.items():
        (folder / f"{name}.py").write_text(content, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "UNO_JOBS"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", *options],
        cwd=folder,
        env={**environment, URL_VARIABLE: server_url, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_an_entry_point_of_the_package() -> None:
    (found,) = [one for one in entry_points(group="pytest11") if one.name == "uno_jobs"]
    assert found.value == "uno_jobs.testing.plugin"


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_under_pytest_asyncio(tmp_path: Path, server_url: str, mode: str) -> None:
    code = WITH_A_LOOP.replace("MARK", "asyncio")
    options = ["-o", f"asyncio_mode={mode}", *LOOP_SCOPE]
    out = run_pytest(tmp_path, server_url, *options, test_shop=code, test_sync=WITHOUT)
    assert "3 passed" in out


@pytest.mark.parametrize("options", [("-p", "no:asyncio"), LOOP_SCOPE], ids=["alone", "beside-pytest-asyncio"])
def test_under_anyio(tmp_path: Path, server_url: str, options: tuple[str, ...]) -> None:
    code = WITH_A_LOOP.replace("MARK", "anyio") + ('\n\n@pytest.fixture\ndef anyio_backend():\n    return "asyncio"\n')
    assert "2 passed" in run_pytest(tmp_path, server_url, *options, test_shop=code)


def test_without_any_event_loop(tmp_path: Path, server_url: str) -> None:
    assert "1 passed" in run_pytest(tmp_path, server_url, "-p", "no:asyncio", "-p", "no:anyio", test_sync=WITHOUT)


def test_who_does_not_use_it_pays_nothing(tmp_path: Path) -> None:
    # A server that does not exist is not noticed.
    assert "1 passed" in run_pytest(tmp_path, "postgresql://nowhere.invalid/none", *LOOP_SCOPE, test_cheap=CHEAP)


async def test_here_too(uno_jobs_queue: Queue, uno_jobs_database_url: str) -> None:
    assert get_default_queue() is uno_jobs_queue
    assert uno_jobs_queue.database == uno_jobs_database_url


def test_the_default_queue_is_what_it_was_afterwards() -> None:
    outer, inner = Queue("postgresql://outer"), SyncQueue("postgresql://inner")
    configure(outer)
    try:
        with configured(inner):
            assert get_default_sync_queue() is inner
            assert get_default_queue().database == "postgresql://inner"
        assert get_default_queue() is outer
        assert get_default_sync_queue().database == "postgresql://outer"
    finally:
        configure(None)


def test_here_too_without_a_loop(uno_jobs_sync_queue: SyncQueue) -> None:
    assert get_default_sync_queue() is uno_jobs_sync_queue

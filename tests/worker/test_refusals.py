"""The server is there, and refuses or stalls: no connections left, no room, no writes. Workers wait and go on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.postgres import Postgres
from tests.worker import app
from tests.worker.conftest import LIMIT, Database, running, until_empty
from tests.worker.processes import supervisor
from tests.worker.servers import RUNNING, looking, marked, migrated, put_marking, runs
from uno_jobs import Queue
from uno_jobs.embedded.account import server_account
from uno_jobs.errors import DatabaseFull, DatabaseReadOnly
from uno_jobs.tasks import task

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        server.start()
        yield server


async def wait_logged(caplog: pytest.LogCaptureFixture, *texts: str) -> None:
    """Wait until a worker has said that it was refused for one of these reasons."""
    async with asyncio.timeout(LIMIT):
        while not any(text in str(getattr(record, "error", "")) for record in caplog.records for text in texts):
            await asyncio.sleep(0.01)


async def test_out_of_connections(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @task
    async def waits() -> str:
        started.set()
        await go_on.wait()
        return "done"

    role = database.url.rpartition("/")[2] + "_role"
    owner = await database.connection.fetchval("SELECT current_user")
    await database.connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'refused' IN ROLE \"{owner}\"")
    url = f"postgresql://{role}:refused@{database.url.partition('@')[2]}"
    (id_,) = await database.put(waits)
    try:
        async with running(url) as worker:
            await asyncio.wait_for(started.wait(), LIMIT)
            await database.connection.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
            await database.connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = $1", role
            )
            go_on.set()
            await wait_logged(caplog, "too many connections")
            async with asyncio.timeout(LIMIT):
                while worker.holdings.running:
                    await asyncio.sleep(0.01)
            assert (await database.job(id_))["state"] == "running"  # done, and nobody can be told
            await database.connection.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1")
            await database.wait_for(id_, "succeeded")
    finally:
        await database.connection.execute(f"DROP ROLE {role}")
    assert [one["outcome"] for one in await database.attempts(id_)] == ["succeeded"]


async def test_a_dba_s_defaults_change_nothing(database: Database) -> None:
    @task
    async def noop() -> None: ...

    ids = await database.put(noop, times=50)
    name = database.url.rpartition("/")[2]
    settings = {
        "default_transaction_isolation": "serializable",
        "default_transaction_read_only": "on",
        "statement_timeout": "1",
        "lock_timeout": "1",
        "idle_session_timeout": "1",
        "idle_in_transaction_session_timeout": "1",
        "search_path": "pg_catalog",
    }
    if await database.connection.fetchval("SELECT current_setting('server_version_num')::int") >= 170000:
        settings["transaction_timeout"] = "1"
    for setting, value in settings.items():
        await database.connection.execute(f"ALTER DATABASE \"{name}\" SET {setting} = '{value}'")
    try:
        await until_empty(database.url)
    finally:
        await database.connection.execute(f'ALTER DATABASE "{name}" RESET ALL')
    for id_ in ids:
        assert [one["outcome"] for one in await database.attempts(id_)] == ["succeeded"]


async def test_a_server_that_takes_no_writes(caplog: pytest.LogCaptureFixture) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @task
    async def waits() -> None:
        started.set()
        await go_on.wait()

    with Postgres() as server:
        await asyncio.to_thread(server.start)
        url = await migrated(server, "standby")
        async with looking(url) as database:
            (id_,) = await database.put(waits)
        async with running(url) as worker:
            await asyncio.wait_for(started.wait(), LIMIT)
            await asyncio.to_thread(server.stop)
            (server.data / "standby.signal").touch()  # it comes back as a standby, and that is read-only
            await asyncio.to_thread(server.start)
            go_on.set()
            await wait_logged(caplog, "read-only", "during recovery")
            async with Queue(url) as queue:
                with pytest.raises(DatabaseReadOnly):
                    await queue.enqueue(waits)
            async with asyncio.timeout(LIMIT):
                while worker.holdings.running:
                    await asyncio.sleep(0.01)
            async with looking(url) as database:
                assert (await database.job(id_))["state"] == "running"
            await asyncio.to_thread(server.promote)
            async with looking(url) as database:
                await database.wait_for(id_, "succeeded")
                assert [one["outcome"] for one in await database.attempts(id_)] == ["succeeded"]


@pytest.fixture
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with 40 MB, which the server can reach."""
    if os.geteuid() != 0:
        pytest.skip("a small disk can only be mounted as root")
    account = server_account()
    assert account is not None
    folder = Path(tempfile.mkdtemp(prefix="uno-jobs-small-"))
    folder.chmod(0o711)
    options = f"size=40m,mode=0700,uid={account.uid},gid={account.gid}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


async def test_a_full_disk(server: Postgres, small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @task
    async def fills(size: int) -> str:
        started.set()
        await go_on.wait()
        return os.urandom(size // 2).hex()

    connection = await asyncpg.connect(server.url)
    await connection.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    await connection.execute("CREATE DATABASE full_disk TABLESPACE small")
    url = await migrated(server, "full_disk", create=False)
    try:
        async with looking(url) as database:
            (id_,) = await database.put(fills, 900_000)
            async with running(url) as worker:
                await asyncio.wait_for(started.wait(), LIMIT)
                ballast = small_disk / "ballast"
                with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(8192))
                go_on.set()
                await wait_logged(caplog, "No space left on device")
                async with Queue(url) as queue:
                    with pytest.raises(DatabaseFull):
                        await queue.enqueue(fills, [1], metadata={"large": os.urandom(140_000).hex()})
                assert (await database.job(id_))["state"] == "running"
                assert len(worker.holdings.unsent) == 1
                ballast.unlink()
                await database.wait_for(id_, "succeeded")
                assert [one["outcome"] for one in await database.attempts(id_)] == ["succeeded"]
    finally:
        await connection.execute("DROP DATABASE full_disk WITH (FORCE)")
        await connection.execute("DROP TABLESPACE small")
        await connection.close()


@pytest.mark.chaos
async def test_while_nobody_can_beat_nobody_is_taken_for_dead(server: Postgres, tmp_path: Path) -> None:
    # Reads are answered, and whoever writes a beat waits: here for somebody's lock, else for a standby.
    url = await migrated(server, "stalled")
    async with looking(url) as database, looking(url) as dba, contextlib.AsyncExitStack() as stack:
        healthy = await put_marking(database, range(20), tmp_path, "go")
        for _ in range(2):  # each observes the other, and is full of what it runs
            await stack.enter_async_context(supervisor(url, concurrency=10))
        await database.wait_until(RUNNING, 20)
        lost_host = await stack.enter_async_context(supervisor(url))
        (lost,) = await database.put(app.marks_and_waits, str(tmp_path), 99, "go")
        await marked(tmp_path, 99)
        await dba.connection.execute("BEGIN")
        await dba.connection.execute("LOCK TABLE uno_jobs.workers IN SHARE MODE")
        lost_host.send_signal(signal.SIGKILL)
        await asyncio.sleep(20)  # longer than a beat may stand still
        await dba.connection.execute("COMMIT")
        # That the lost host is found out shows that the others were watched all the while.
        await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.attempts WHERE outcome = 'lost')", within=90)
        (tmp_path / "go").touch()
        for id_ in [*healthy, lost]:
            await database.wait_for(id_, "succeeded")
        assert [one["outcome"] for one in await database.attempts(lost)] == ["lost", "succeeded"]
    assert sorted(runs(tmp_path).elements()) == [*range(20), 99, 99]

"""What the supervisor says in the database of its workers: their beats, its lock, their ends."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import uuid_utils.compat as uuids

from tests.proxy import Proxy
from tests.supervisor.conftest import LIMIT, is_alive, until
from uno_jobs.supervisor.heart import Heart
from uno_jobs.supervisor.rescuer import Rescuer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOLDERS = """
    SELECT k.pid FROM pg_locks k JOIN uno_jobs.workers w ON (k.classid::bigint << 32) | k.objid::bigint = w.lock_key
    WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
      AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Looking:
    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], url: str) -> None:
        self.connection = connection
        self.url = url

    async def wait_until(self, query: str, *args: Any) -> None:
        async with asyncio.timeout(LIMIT):
            while not await self.connection.fetchval(query, *args):
                await asyncio.sleep(0.02)

    async def beats_on(self, worker: str) -> None:
        """Wait until two more beats have come."""
        before = await self.connection.fetchval("SELECT beat FROM uno_jobs.workers WHERE id = $1", uuid.UUID(worker))
        await self.wait_until("SELECT beat >= $2 FROM uno_jobs.workers WHERE id = $1", uuid.UUID(worker), before + 2)

    async def run_job(self, worker: str) -> uuid.UUID:
        """Put a job into the database that this worker is running."""
        (id_,) = ids = [uuids.uuid7()]
        await self.connection.execute(
            "SELECT uno_jobs.enqueue_plain($1, ARRAY['t'], ARRAY['1.0'], ARRAY['default'], ARRAY[5]::smallint[], "
            "ARRAY['[]'], ARRAY['{}'], NULL, NULL, NULL, NULL, true)",
            ids,
        )
        await self.connection.execute(
            "UPDATE uno_jobs.live_jobs SET state = 'running', worker_id = $2, lease = 77, attempt = 1, "
            "started_at = now() WHERE id = $1",
            id_,
            uuid.UUID(worker),
        )
        return id_


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Looking]:
    connection = await asyncpg.connect(database_url)
    yield Looking(connection, database_url)
    await connection.close()


async def test_it_beats_for_all_its_workers_and_holds_the_lock(supervise: Any, database: Looking) -> None:
    supervised = await supervise(processes=2, url=database.url, register=True)
    for worker, _ in await supervised.wait_noted("registered", 2):
        await database.beats_on(worker)
    assert len({row[0] for row in await database.connection.fetch(HOLDERS)}) == 1
    assert await supervised.stop() == 0
    await database.wait_until("SELECT bool_and(state = 'stopped') FROM uno_jobs.workers")
    await database.wait_until(f"SELECT NOT EXISTS ({HOLDERS})")


async def test_a_dead_workers_jobs_are_given_back_at_once_with_the_cause(supervise: Any, database: Looking) -> None:
    supervised = await supervise(url=database.url, register=True)
    ((worker, pid),) = await supervised.wait_noted("registered")
    job = await database.run_job(worker)
    os.kill(int(pid), signal.SIGSEGV)
    await database.wait_until("SELECT state = 'ready' FROM uno_jobs.live_jobs WHERE id = $1", job)
    cause = "its process was killed by SIGSEGV"
    assert await database.connection.fetchval("SELECT error FROM uno_jobs.attempts WHERE job_id = $1", job) == cause
    row = await database.connection.fetchrow("SELECT * FROM uno_jobs.workers WHERE id = $1", uuid.UUID(worker))
    assert row is not None
    assert (row["state"], row["cause"], row["lost_jobs"]) == ("dead", cause, 1)
    (_, (second, _)) = await supervised.wait_noted("registered", 2)
    await database.beats_on(second)
    await supervised.stop()


async def test_a_stopped_process_is_not_said_to_live(supervise: Any, database: Looking) -> None:
    supervised = await supervise(processes=2, url=database.url, register=True)
    (still, pid), (lively, _) = await supervised.wait_noted("registered", 2)
    await database.beats_on(still)
    os.kill(int(pid), signal.SIGSTOP)
    await database.beats_on(lively)
    before = await database.connection.fetchval("SELECT beat FROM uno_jobs.workers WHERE id = $1", uuid.UUID(still))
    await database.beats_on(lively)
    after = await database.connection.fetchval("SELECT beat FROM uno_jobs.workers WHERE id = $1", uuid.UUID(still))
    assert after == before
    os.kill(int(pid), signal.SIGCONT)
    await database.beats_on(still)
    assert await supervised.stop() == 0


async def test_a_worker_that_was_declared_dead_is_killed_and_replaced(supervise: Any, database: Looking) -> None:
    supervised = await supervise(url=database.url, register=True)
    ((worker, pid),) = await supervised.wait_noted("registered")
    await database.connection.execute("SELECT uno_jobs.worker_state($1, 'dead', 'so I say')", uuid.UUID(worker))
    _, (second, _) = await supervised.wait_noted("registered", 2)
    assert not is_alive(int(pid))
    await database.beats_on(second)
    row = await database.connection.fetchrow("SELECT * FROM uno_jobs.workers WHERE id = $1", uuid.UUID(worker))
    assert row is not None
    assert row["cause"] == "so I say"
    await supervised.stop()


async def test_a_lost_connection_is_made_again_and_the_lock_taken_again(supervise: Any, database: Looking) -> None:
    supervised = await supervise(url=database.url, register=True)
    ((worker, _),) = await supervised.wait_noted("registered")
    await database.beats_on(worker)
    (holder,) = [row[0] for row in await database.connection.fetch(HOLDERS)]
    await database.connection.execute("SELECT pg_terminate_backend($1)", holder)
    await database.wait_until(f"SELECT EXISTS ({HOLDERS} AND k.pid <> $1)", holder)
    await database.beats_on(worker)
    await supervised.stop()


async def test_a_silent_network_is_given_up_and_tried_anew(database: Looking, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "uno_jobs.supervisor")
    async with Proxy(database.url) as proxy:
        heart = asyncio.create_task(Heart(proxy.url, "uno_jobs", 5, list, lambda _: None).run())
        await database.wait_until("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 5)")
        proxy.speaking.clear()
        await until(lambda: "lost the database" in caplog.text)
        proxy.speaking.set()
        await until(lambda: "reached the database again" in caplog.text)
        heart.cancel()
        await asyncio.gather(heart, return_exceptions=True)


async def test_a_worker_that_dies_while_the_database_is_away_is_buried_later(supervise: Any, database: Looking) -> None:
    supervised = await supervise(url=database.url, register=True)
    ((worker, pid),) = await supervised.wait_noted("registered")
    job = await database.run_job(worker)
    name = database.url.rpartition("/")[2]
    admin = await asyncpg.connect(database.url.rpartition("/")[0] + "/postgres")
    try:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 "
                            "AND application_name LIKE 'uno-jobs%'", name)  # fmt: skip
        os.kill(int(pid), signal.SIGKILL)
        await until(lambda: not is_alive(int(pid)))
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    finally:
        await admin.close()
    await database.wait_until("SELECT state = 'ready' FROM uno_jobs.live_jobs WHERE id = $1", job)
    await supervised.stop()


async def test_behind_a_pooler_no_lock_is_taken(database: Looking) -> None:
    living = [uuid.uuid4()]
    await database.connection.execute(
        "SELECT uno_jobs.register_worker($1, $1, NULL, 1, 'here', 1, 10, '{default}', '[]')", living[0]
    )
    heart = asyncio.create_task(Heart(database.url, "uno_jobs", None, lambda: living, lambda _: None).run())
    await database.wait_until("SELECT beat > 0 FROM uno_jobs.workers")
    assert not await database.connection.fetch(
        "SELECT FROM pg_locks WHERE locktype = 'advisory' AND database = "
        "(SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    heart.cancel()
    await asyncio.gather(heart, return_exceptions=True)


async def test_what_a_clean_worker_left_is_handed_back_unharmed(database: Looking) -> None:
    worker = uuid.uuid4()
    await database.connection.execute(
        "SELECT uno_jobs.register_worker($1, $1, NULL, 1, 'here', 1, 10, '{default}', '[]')", worker
    )
    job = await database.run_job(str(worker))
    rescuer = Rescuer(database.url, "uno_jobs", 3)
    rescuer.discharge(worker)
    await rescuer.finish(LIMIT)
    row = await database.connection.fetchrow("SELECT state, lost FROM uno_jobs.live_jobs WHERE id = $1", job)
    assert tuple(row or ()) == ("ready", 0)
    assert await database.connection.fetchval("SELECT outcome FROM uno_jobs.attempts") == "handed_back"
    assert await database.connection.fetchval("SELECT state FROM uno_jobs.workers") == "stopped"


async def test_a_row_that_somebody_holds_is_come_back_for(database: Looking) -> None:
    worker = uuid.uuid4()
    await database.connection.execute(
        "SELECT uno_jobs.register_worker($1, $1, NULL, 1, 'here', 1, 10, '{default}', '[]')", worker
    )
    job, other = await database.run_job(str(worker)), await database.run_job(str(worker))
    holder = await asyncpg.connect(database.url)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", job)
    rescuer = Rescuer(database.url, "uno_jobs", 3)
    rescuer.bury(worker, "it died")
    await database.wait_until("SELECT state = 'ready' FROM uno_jobs.live_jobs WHERE id = $1", other)
    await transaction.rollback()
    await holder.close()
    await rescuer.finish(LIMIT)
    rows = await database.connection.fetch("SELECT state, suspect, lost FROM uno_jobs.live_jobs")
    # Two of them: neither was alone, whichever was given back last.
    assert [tuple(row) for row in rows] == [("ready", True, 0)] * 2


async def test_an_end_that_cannot_be_recorded_does_not_hold_up_for_ever(unused_tcp_port: int) -> None:
    rescuer = Rescuer(f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/x", "uno_jobs", 3)
    rescuer.bury(uuid.uuid4(), "it died")
    await asyncio.wait_for(rescuer.finish(0.3), LIMIT)


async def test_a_worker_whose_interpreter_is_held_still_lives(supervise: Any, database: Looking) -> None:
    supervised = await supervise("hog", url=database.url, register=True)
    ((worker, _),) = await supervised.wait_noted("registered")
    # A thread of the worker's own would not get a turn while a regular expression runs.
    await database.beats_on(worker)
    assert not supervised.noted("hogged")
    supervised.process.kill()

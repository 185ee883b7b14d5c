"""``job.then``: what an attempt adds stands or falls with its success."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tests.worker.adding import result_of
from tests.worker.conftest import LIMIT, Database, running, until_empty
from tests.worker.transactions import count
from uno_jobs import Queue
from uno_jobs.context import get_current_job
from uno_jobs.errors import InvalidArguments, InvalidWorkflow, JobAlreadyFinished, JobCancelled, JobFailed
from uno_jobs.tasks import chain, group, task

CHAIN = "SELECT task FROM uno_jobs.job_status WHERE finished_at IS NOT NULL ORDER BY finished_at, started_at"

pytestmark = pytest.mark.usefixtures("sound")


@pytest.mark.parametrize("kind", ["an error", "a retry", "a snooze", "a hand-back"])
async def test_an_attempt_that_does_not_succeed_adds_nothing(database: Database, kind: str) -> None:
    from uno_jobs.errors import Retry, Snooze

    begun = asyncio.Event()

    @task(max_retries=1, retry_delay=0)
    async def adds() -> list:
        job = get_current_job()
        await job.then(added.s(job.attempt))
        if job.attempt == 1:
            match kind:
                case "an error":
                    raise ValueError("no")
                case "a retry":
                    raise Retry(delay=0)
                case "a snooze":
                    raise Snooze(0)
                case _:
                    begun.set()
                    await asyncio.Event().wait()
        return []

    @task
    async def added(seen: list, attempt: int) -> list:
        return [*seen, attempt]

    async with Queue(database.url) as queue:
        handle = await queue.enqueue(chain(adds, added.s(0)))
        if kind == "a hand-back":
            async with running(database.url) as worker:
                await begun.wait()
                worker.drain()
                worker.drain()
            assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.jobs") == 2
        await until_empty(database.url)
        assert await handle.result(timeout=LIMIT) == [2, 0]
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.jobs") == 3


async def test_an_attempt_whose_lease_is_over_adds_nothing(database: Database) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @task
    async def adds() -> list:
        job = get_current_job()
        await job.then(added.s(job.attempt))
        if job.attempt == 1:
            begun.set()
            while not go.is_set():
                try:
                    await go.wait()
                except asyncio.CancelledError:
                    continue
        return []

    @task
    async def added(seen: list, attempt: int) -> list:
        return [*seen, attempt]

    async with Queue(database.url) as queue, running(database.url) as worker:
        handle = await queue.enqueue(chain(adds, added.s(0)))
        await begun.wait()
        await database.connection.execute("SELECT uno_jobs.rescue($1, 'a test', 3)", worker.identity.id)
        assert await handle.result(timeout=LIMIT) == [2, 0]
        go.set()
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.jobs") == 3


async def test_in_a_transaction_it_stands_or_falls_with_the_block(effects: Database) -> None:
    @task
    async def adds() -> None:
        job = get_current_job()
        await job.then(added.s("before"))
        with contextlib.suppress(ZeroDivisionError):
            async with job.transaction("asyncpg") as tx:
                await tx.connection.execute("INSERT INTO effects VALUES ('undone')")
                await job.then(added.s("undone"))
                raise ZeroDivisionError
        async with job.transaction("asyncpg", result=[]) as tx:
            await tx.connection.execute("INSERT INTO effects VALUES ('done')")
            await job.then(added.s("inside"))
        with pytest.raises(JobAlreadyFinished):
            await job.then(added.s("too late"))

    @task
    async def added(seen: list, word: str) -> list:
        return [*seen, word]

    assert await result_of(effects, chain(adds, added.s("end"))) == ["before", "inside", "end"]
    assert await count(effects) == 1


async def test_what_was_added_fails_and_is_retried(database: Database) -> None:
    wrong = True

    @task
    async def adds() -> int:
        get_current_job().then(chain(fails, increment))
        return 1

    @task(max_retries=0)
    async def fails(number: int) -> int:
        if wrong:
            raise ValueError("not yet")
        return number + 1

    @task
    async def increment(number: int) -> int:
        return number + 1

    async with Queue(database.url) as queue:
        handle = await queue.enqueue(chain(adds, increment))
        await until_empty(database.url)
        with pytest.raises(JobFailed, match="not yet") as raised:
            await handle.result()
        wrong = False
        await queue.retry(raised.value.job_id)
        await until_empty(database.url)
        assert await handle.result() == 4


async def test_a_key_that_is_held_fails_the_attempt(database: Database) -> None:
    @task(max_retries=0)
    async def adds() -> None:
        get_current_job().then(other.options(unique_key="k").si())

    @task(queue="elsewhere")
    async def other() -> None: ...

    async with Queue(database.url) as queue:
        holder = await queue.enqueue(other, unique_key="k")
        handle = await queue.enqueue(adds)
        await until_empty(database.url)
        with pytest.raises(JobFailed, match=f"DuplicateJob.*{holder.id}"):
            await handle.result()
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.jobs") == 2


async def test_what_is_wrong_is_said_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from uno_jobs.queue import additions
    from uno_jobs.settings import load_settings

    monkeypatch.setattr(additions, "_settings", lambda: load_settings({"max_workflow_steps": 3}, environment={}))
    said: list[str] = []

    @task
    async def adds() -> int:
        job = get_current_job()
        job.then(step.s(1))
        wrong: Any
        for wrong in ("step", step.si("x"), step.si(), group([step, step])):
            with pytest.raises((InvalidWorkflow, InvalidArguments)) as raised:
                job.then(wrong)
            said.append(str(raised.value))
        job.then(step | step)
        with pytest.raises(InvalidWorkflow, match="more than 3 steps"):
            job.then(step)
        return 1

    @task
    async def step(number: int) -> int:
        return number + 1

    assert await result_of(database, chain(adds, step)) == 5
    assert [text.split(":")[0] for text in said] == [
        "job.then takes a task, a signature (task.s(...)), a chain or a group, not 'step'",
        "task 'step' (version 1.0)", "task 'step' (version 1.0)",
        "the workflow has more than 3 steps, joins included (max_workflow_steps)",
    ]  # fmt: skip
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.outcomes WHERE state = 'succeeded'") == 5


async def test_hooks_cannot_add(database: Database) -> None:
    refused = asyncio.Event()

    @task
    async def adds() -> None: ...

    @adds.on_success
    async def then(job: Any, result: None) -> None:
        with pytest.raises(JobAlreadyFinished):
            job.then(adds)
        refused.set()

    async with Queue(database.url) as queue, running(database.url):
        await queue.enqueue(adds)
        async with asyncio.timeout(LIMIT):
            await refused.wait()


async def test_a_cancelled_workflow_runs_nothing_that_is_added(database: Database) -> None:
    begun, told, ran = asyncio.Event(), asyncio.Event(), []

    @task
    async def adds() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.set()
        get_current_job().then(added)

    @task
    async def added() -> None:
        ran.append(1)

    async with Queue(database.url) as queue, running(database.url):
        handle = await queue.enqueue(chain(adds, added.si()))
        await begun.wait()
        assert await handle.cancel("enough") == "requested"
        await told.wait()
        with pytest.raises(JobCancelled, match="enough"):
            await handle.result(timeout=LIMIT)
        await database.wait_until("SELECT NOT EXISTS (SELECT FROM uno_jobs.live_jobs)")
    rows = await database.connection.fetch("SELECT task, state::text, error FROM uno_jobs.job_status ORDER BY 1, 2")
    assert [tuple(row) for row in rows] == [
        ("added", "cancelled", "enough"), ("added", "cancelled", "enough"), ("adds", "succeeded", None)
    ]  # fmt: skip
    assert not ran
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.workflow_cancellations") == 0


async def test_a_success_with_additions_waits_for_the_database(database: Database) -> None:
    """Its commit is lost with its connection; it is tried again, and the attempt counts once."""

    @task(max_retries=0)
    async def adds() -> int:
        get_current_job().then(added)
        return 1

    @task
    async def added(number: int) -> int:
        return number + 1

    await database.connection.execute("""
        CREATE SEQUENCE tries;
        CREATE FUNCTION public.cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF new.task = 'added' AND nextval('public.tries') <= 2 THEN
                PERFORM pg_terminate_backend(pg_backend_pid());
            END IF;
            RETURN new;
        END $$;
        CREATE TRIGGER cut BEFORE INSERT ON uno_jobs.jobs FOR EACH ROW EXECUTE FUNCTION public.cut()""")
    async with Queue(database.url) as queue, running(database.url):
        await queue.enqueue(adds)
        await database.wait_until("SELECT count(*) = 2 FROM uno_jobs.outcomes WHERE state = 'succeeded'")
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.attempts") == 2
    assert await database.connection.fetchval("SELECT last_value FROM tries") == 3

"""``job.then``: steps that a job adds to its workflow while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any

import pytest

from tests.storage import invariants
from tests.worker import then_app as app
from tests.worker.conftest import LIMIT, Database, running, until_empty
from tests.worker.transactions import count
from uno_jobs import Queue
from uno_jobs.context import get_current_job
from uno_jobs.errors import InvalidArguments, InvalidWorkflow, JobAlreadyFinished, JobCancelled, JobFailed
from uno_jobs.tasks import Task, TaskRegistry, chain, group, task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHAIN = "SELECT task FROM uno_jobs.job_status WHERE finished_at IS NOT NULL ORDER BY finished_at, started_at"


@pytest.fixture(autouse=True)
async def sound(database: Database) -> AsyncIterator[None]:
    yield
    await invariants.check(database.connection, retried_by_hand=True)


async def result_of(database: Database, workflow: Any, **options: Any) -> Any:
    async with Queue(database.url) as queue:
        handle = await queue.enqueue(workflow)
        await until_empty(database.url, **options)
        return await handle.result(timeout=LIMIT)


async def test_what_is_added_stands_in_the_chain(database: Database) -> None:
    """Its result is the next step's previous one, and what it returned is in the flow, after the adder's own."""

    @task
    async def first() -> dict:
        return {"a": "first", "b": "first", "c": "first"}

    @task
    async def adds() -> dict:
        job = get_current_job()
        assert (await job.then(added)).version == 7
        return {"b": "adds", "c": "adds"}

    @task
    async def added(previous: dict, a: str, b: str) -> dict:
        assert previous == {"b": "adds", "c": "adds"}
        return {"c": f"added {a} {b}"}

    @task
    async def last(previous: dict, a: str, b: str, c: str) -> list:
        return [previous, a, b, c]

    @task
    async def after(previous: list, a: str, b: str, c: str) -> list:
        return [*previous, a, b, c]

    got = await result_of(database, chain(first, adds, last, after))
    assert got == [{"c": "added first adds"}, *["first", "adds", "added first adds"] * 2]
    order = [row[0] for row in await database.connection.fetch(CHAIN)]
    assert order == ["first", "adds", "added", "last", "after"]


async def test_a_group_s_list_is_the_previous_result_and_not_in_the_flow(database: Database) -> None:
    @task
    async def adds() -> dict:
        get_current_job().then(group(plus.s(more) for more in range(3)))
        return {"n": 5}

    @task
    async def plus(n: int, more: int) -> int:
        return n + more

    @task
    async def last(numbers: list, n: int) -> list:
        return [numbers, n]

    assert await result_of(database, chain(adds, last)) == [[5, 6, 7], 5]


async def test_several_calls_follow_each_other_and_so_do_what_is_added_by_what_was_added(database: Database) -> None:
    @task
    async def adds() -> list:
        job = get_current_job()
        job.then(note.s("one"))
        await job.then(chain(again, group([note.s("four"), note.s("five")])))
        job.then(flat)
        return []

    @task
    async def again(seen: list) -> list:
        get_current_job().then(note.s("three"))
        return [*seen, "two"]

    @task
    async def note(seen: list, word: str) -> list:
        return [*seen, word]

    @task
    async def flat(lists: list) -> list:
        return lists

    upto = ["one", "two", "three"]
    assert await result_of(database, chain(adds, note.s("end"))) == [[*upto, "four"], [*upto, "five"], "end"]


async def test_a_member_of_a_group_contributes_what_it_has_added(database: Database) -> None:
    @task
    async def plain(number: int) -> int:
        return number

    @task
    async def adds(number: int) -> int:
        get_current_job().then(increment)
        return number

    @task
    async def increment(number: int) -> int:
        return number + 1

    assert await result_of(database, group([plain.s(1), adds.s(1), plain.s(3)])) == [1, 2, 3]
    assert await result_of(database, chain(group([adds.s(5), adds.s(7)]), group([plain, plain]))) == [[6, 8], [6, 8]]


async def test_before_a_group_each_member_finds_what_was_added(database: Database) -> None:
    @task
    async def adds() -> dict:
        get_current_job().then(added)
        return {"n": 1}

    @task
    async def added(n: int) -> dict:
        return {"n": n + 1}

    @task
    async def member(previous: dict, n: int) -> list:
        return [previous, n]

    @task
    async def end(lists: list, n: int) -> list:
        return [*lists, n]

    assert await result_of(database, chain(adds, group([member, member]), end)) == [[{"n": 2}, 2], [{"n": 2}, 2], 2]


async def test_an_empty_group_can_be_added(database: Database) -> None:
    @task
    async def adds() -> dict:
        get_current_job().then(group([]))
        return {"n": 1}

    @task
    async def last(previous: list, n: int) -> list:
        return [previous, n]

    assert await result_of(database, chain(adds, last)) == [[], 1]


async def test_a_job_alone_begins_a_workflow(database: Database) -> None:
    ids = []

    @task
    async def adds() -> int:
        ids.append(await get_current_job().then(added.s("x")))
        return 1

    @task
    async def added(previous: int, word: str) -> dict:
        return {"metadata": get_current_job().metadata, "got": [previous, word]}

    async with Queue(database.url) as queue:
        handle = await queue.enqueue(adds, metadata={"user": 7})
        await until_empty(database.url)
        assert await handle.result() == 1
        assert await queue.get(ids[0]).result() == {"metadata": {"user": 7}, "got": [1, "x"]}
        first, second = (await queue.job(handle.id)).workflow_id, (await queue.job(ids[0])).workflow_id
    assert first is not None
    assert first == second


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


async def test_from_threads_and_children(effects: Database) -> None:
    """Synchronous tasks do the same without awaiting, wherever they run."""
    for value in vars(app).values():
        if isinstance(value, Task) and "config" in vars(value):
            TaskRegistry.current().add(value)
    parts = chain(app.start, app.on_a_thread, app.in_a_child, app.in_a_child_with_a_transaction, app.async_in_a_child)
    assert await result_of(effects, chain(parts, app.note.s("end")), child_processes=2) == [
        "thread", "thread added", "child", "child added", "transaction", "transaction added", "async", "async added",
        "end",
    ]  # fmt: skip
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


@pytest.mark.parametrize("seed", range(3))
async def test_any_nesting_of_additions_flows_as_a_longer_chain_would(database: Database, seed: int) -> None:
    """Random trees of additions: of each name, a step finds what the last step before it gave."""
    chance = random.Random(seed)
    names = iter(range(10_000))

    def tree(depth: int) -> dict[str, Any]:
        adds = [tree(depth - 1) for _ in range(chance.choice([0, 0, 1, 2, 3]) if depth else 0)]
        gives = [key for key in "abc" if chance.random() < 0.4]
        return {"name": f"s{next(names)}", "gives": gives, "adds": adds, "list": chance.random() < 0.2}

    def flat(spec: dict[str, Any]) -> list[dict[str, Any]]:
        return [spec, *(one for added in spec["adds"] for one in flat(added))]

    seen: dict[str, list[str | None]] = {}

    @task
    async def step(*, spec: dict, a: str | None = None, b: str | None = None, c: str | None = None) -> Any:
        seen[spec["name"]] = [a, b, c]
        for added in spec["adds"]:
            get_current_job().then(
                chain(group([nothing.si()]), step.s(spec=added)) if added["list"] else step.s(spec=added)
            )
        return dict.fromkeys(spec["gives"], spec["name"])

    @task
    async def nothing() -> dict:
        return {"a": "nobody's", "b": "nobody's"}

    chains = [[tree(3) for _ in range(4)] for _ in range(12)]
    async with Queue(database.url) as queue:
        for specs in chains:
            await queue.enqueue(chain(step.s(spec=one) for one in specs))
        await until_empty(database.url)
    for specs in chains:
        found: dict[str, str] = {}
        for spec in (one for top in specs for one in flat(top)):
            assert seen[spec["name"]] == [found.get(key) for key in "abc"]
            found |= dict.fromkeys(spec["gives"], spec["name"])
    assert next(names) > 100, "too few to tell"


@pytest.mark.parametrize("where", ["here", "in a child"])
async def test_a_step_that_runs_on_failure_knows_how_its_parents_ended(database: Database, where: str) -> None:
    for one in (app.fails, app.succeeds, app.tells, app.tells_in_a_child):
        TaskRegistry.current().add(one)
    tells = app.tells if where == "here" else app.tells_in_a_child
    members = group([app.succeeds.s(1), app.fails.s(), chain(app.fails, app.succeeds.si(2))])
    async with Queue(database.url) as queue:
        taking = await queue.enqueue(chain(members, tells.options(on_parent_failure="run").s()))
        alone = await queue.enqueue(chain(members, tells.options(on_parent_failure="run").si()))
        others = await queue.enqueue(chain(app.succeeds.s(1), tells))
        await until_empty(database.url, child_processes=1)
        got = await taking.result()
        assert await others.result() == []
        assert await alone.result(timeout=LIMIT)
    assert [one[1:-1] for one in got] == [
        ["succeeds", "succeeded", 1, None],
        ["fails", "failed", None, "ValueError"],
        ["succeeds", "cancelled", None, None],
    ]
    rows = await database.connection.fetch("SELECT id::text FROM uno_jobs.job_status")
    assert {one[0] for one in got} <= {row[0] for row in rows}
    assert [one[-1] for one in got][:2] == [None, "no"]
    assert "failed" in got[2][-1]

"""``job.then``: steps that a job adds to its workflow while it runs."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.worker import then_app as app
from tests.worker.adding import result_of
from tests.worker.conftest import LIMIT, Database, until_empty
from tests.worker.transactions import count
from uno_jobs import Queue
from uno_jobs.context import get_current_job
from uno_jobs.tasks import Task, TaskRegistry, chain, group, task

CHAIN = "SELECT task FROM uno_jobs.job_status WHERE finished_at IS NOT NULL ORDER BY finished_at, started_at"

pytestmark = pytest.mark.usefixtures("sound")


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

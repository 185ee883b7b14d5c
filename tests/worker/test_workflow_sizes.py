"""Large workflows through real workers: what follows starts once, whoever ends last; no product of sizes is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.worker import app
from tests.worker.adding import result_of
from tests.worker.processes import kill, outcomes, supervisor
from uno_jobs import Queue
from uno_jobs.tasks import TaskRegistry, chain, group, task

if TYPE_CHECKING:
    from pathlib import Path

    from tests.worker.conftest import Database

pytestmark = pytest.mark.usefixtures("sound")

PATIENCE = 120.0
"""Seconds: many times what it takes."""
EDGES = "SELECT count(*) FROM uno_jobs.job_edges"
ALL_STARTED_ONCE = """
SELECT bool_and(o.state = 'succeeded' AND o.attempt = (j.task IS NOT NULL)::integer)
FROM uno_jobs.jobs j LEFT JOIN uno_jobs.outcomes o ON o.id = j.id
"""
HOLDER = """
SELECT w.pid FROM uno_jobs.live_jobs l JOIN uno_jobs.workers w ON w.id = l.worker_id
WHERE l.state = 'running' AND l.task = 'marks_and_waits' ORDER BY l.id LIMIT 1
"""


@task
async def plus_one(number: int) -> int:
    return number + 1


@task
async def total(numbers: list[int]) -> int:
    return sum(numbers)


@pytest.fixture(autouse=True)
def known(own_registry: None) -> None:
    for one in (plus_one, total, app.noop, app.marks_and_waits, app.hands_on):
        TaskRegistry.current().add(one)


async def test_ten_thousand_members_on_four_workers_of_which_one_is_killed(database: Database, tmp_path: Path) -> None:
    """Every thousandth waits for the kill, so that the worker holds one when it dies."""
    members = [
        app.noop.s(number) if number % 1000 else app.marks_and_waits.s(str(tmp_path), number, "go")
        for number in range(10_000)
    ]
    async with Queue(database.url) as queue, supervisor(database.url, 4, concurrency=100):
        handle = await queue.enqueue(chain(group(members), app.hands_on))
        await database.wait_until("SELECT count(*) > 3000 FROM uno_jobs.outcomes", within=PATIENCE)
        await database.wait_until(f"SELECT EXISTS ({HOLDER})")
        kill([await database.connection.fetchval(HOLDER)])
        await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.attempts WHERE outcome = 'lost')")
        (tmp_path / "go").touch()
        assert await handle.result(timeout=PATIENCE) == [*range(10_000)]
    assert await outcomes(database, handle.id) == ["succeeded"]


async def test_a_thousand_steps(database: Database) -> None:
    assert await result_of(database, chain(plus_one.s(0), *[plus_one] * 999)) == 1000
    assert await database.connection.fetchval(ALL_STARTED_ONCE)


async def test_a_hundred_chains_of_ten_in_a_group(database: Database) -> None:
    chains = [chain(plus_one.s(100 * first), *[plus_one] * 9) for first in range(100)]
    assert await result_of(database, chain(group(chains), app.hands_on)) == [100 * first + 10 for first in range(100)]
    assert await database.connection.fetchval(ALL_STARTED_ONCE)


async def test_five_thousand_before_five_thousand_meet_in_one_place(database: Database) -> None:
    first = group(plus_one.s(number) for number in range(5000))
    second = group([total, *(plus_one.si(number) for number in range(1, 5000))])
    assert await result_of(database, chain(first, second)) == [sum(range(1, 5001)), *range(2, 5001)]
    assert await database.connection.fetchval(ALL_STARTED_ONCE)
    assert await database.connection.fetchval(EDGES) == 15_000


async def test_diamonds_in_diamonds(database: Database) -> None:
    def diamond(depth: int) -> Any:
        return chain(plus_one, group([diamond(depth - 1)] * 2), total) if depth else plus_one

    def expected(depth: int, number: int) -> int:
        return 2 * expected(depth - 1, number + 1) if depth else number + 1

    assert await result_of(database, chain(app.noop.s(1), diamond(7))) == expected(7, 1)
    assert await database.connection.fetchval(ALL_STARTED_ONCE)


async def test_nested_groups_behind_each_other(database: Database) -> None:
    """Each of nine groups of nine waits for all before it, and hands on what they did."""

    def block(n: int) -> Any:
        return group(group(plus_one.si(9 * row + n + column) for column in range(9)) for row in range(9))

    got = await result_of(database, chain(*(block(n) for n in range(9)), app.hands_on))
    assert got == [[9 * row + 9 + column for column in range(9)] for row in range(9)]
    assert await database.connection.fetchval(ALL_STARTED_ONCE)

"""A job that waits for what will never come is found and put right; what is right is never touched."""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.storage import invariants
from tests.storage.test_workflows import states
from tests.storage.workflows import Node, put_workflow, succeed_adding

if TYPE_CHECKING:
    from uuid import UUID

    from tests.storage.lab import Lab

pytestmark = [pytest.mark.server_versions, pytest.mark.invariants(retried_by_hand=True, side_tables=False)]

FIRST = uuid.UUID(int=0)


async def mend(lab: Lab, limit: int = 1000) -> list[UUID]:
    """Look through everything, and count anew."""
    found: list[UUID] = []
    after: UUID | None = FIRST
    while after is not None:
        row = await lab.one("SELECT reached, mended FROM uno_jobs.mend_waiting($1, $2)", after, limit)
        after = row["reached"]
        found += row["mended"]
    await lab.eye.execute("SELECT uno_jobs.release_pending(1000)")
    return found


async def test_what_waits_for_nobody_is_released(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,))])
    hand = await lab.hand()
    await hand.claim()
    await lab.eye.execute("UPDATE uno_jobs.live_jobs SET pending_parents = 2 WHERE id = $1", ids[1])
    assert await hand.succeed([ids[0]]) == {}
    assert await states(lab, ids) == ["succeeded", "waiting"]
    assert await mend(lab) == [ids[1]]
    assert await states(lab, ids) == ["succeeded", "ready"]
    assert await mend(lab) == []


@pytest.mark.parametrize("count", [1, 7])
async def test_a_wrong_count_is_put_right(lab: Lab, count: int) -> None:
    ids = await put_workflow(lab, [Node(), Node(), Node((0, 1)), Node((2,))])
    await lab.eye.execute("UPDATE uno_jobs.live_jobs SET pending_parents = $2 WHERE id = $1", ids[2], count)
    assert await mend(lab) == [ids[2]]
    await invariants.check(lab.eye)
    assert await mend(lab) == []


async def test_a_child_of_a_failed_parent_that_was_not_told_is_cancelled(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,)), Node((1,))])
    hand = await lab.hand()
    await hand.claim()
    # Its worker believed that nobody waits for it.
    await lab.eye.execute("UPDATE uno_jobs.live_jobs SET has_children = false WHERE id = $1", ids[0])
    assert await hand.end(ids[0], "failed", error="no") == {}
    assert await states(lab, ids) == ["failed", "waiting", "waiting"]
    assert await mend(lab) == [ids[1]]
    assert await states(lab, ids) == ["failed", "cancelled", "cancelled"]


async def test_a_join_that_waits_for_nobody_gives_its_list(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,), join=True), Node((1,))])
    hand = await lab.hand()
    await hand.claim()
    await lab.eye.execute("UPDATE uno_jobs.live_jobs SET has_children = false WHERE id = $1", ids[0])
    assert await hand.succeed([ids[0]], "5") == {}
    assert await mend(lab) == [ids[1]]
    assert await states(lab, ids) == ["succeeded", "succeeded", "ready"]
    assert (await lab.one("SELECT result FROM uno_jobs.outcomes WHERE id = $1", ids[1]))["result"] == "[5]"


async def test_it_looks_a_batch_at_a_time(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), *[Node((0,))] * 25])
    await lab.eye.execute("UPDATE uno_jobs.live_jobs SET pending_parents = 2 WHERE id = ANY ($1)", ids[1:])
    row = await lab.one("SELECT * FROM uno_jobs.mend_waiting($1, 10)", FIRST)
    assert (row["reached"], sorted(row["mended"])) == (sorted(ids)[9], sorted(ids)[1:10])
    assert await mend(lab, 10) == sorted(ids)[10:]


async def test_a_parent_that_is_ending_is_waited_for(lab: Lab) -> None:
    """Damage beside an end under way: counted anew only when that is over."""
    ids = await put_workflow(lab, [Node(), Node(), Node((0, 1))])
    hand = await lab.hand()
    await hand.claim()
    await lab.eye.execute("UPDATE uno_jobs.live_jobs SET pending_parents = 5 WHERE id = $1", ids[2])
    ending = hand.connection.transaction()
    await ending.start()
    assert await hand.succeed([ids[0]]) == {}
    assert await mend(lab) == [ids[2]]
    assert (await lab.one("SELECT pending_parents FROM uno_jobs.live_jobs WHERE id = $1", ids[2]))[0] == 5
    await ending.commit()
    await lab.eye.execute("SELECT uno_jobs.release_pending(1000)")
    assert (await lab.one("SELECT pending_parents FROM uno_jobs.live_jobs WHERE id = $1", ids[2]))[0] == 1


async def test_an_end_that_is_still_to_be_told_is_not_counted_twice(lab: Lab) -> None:
    """Naively the child would start although a parent of it is unfinished."""
    ids = await put_workflow(lab, [Node(), Node(), Node((0, 1))])
    holder = await lab.session()
    held = holder.transaction()
    await held.start()
    # Somebody cancels the child, so that it cannot be told of its parent's end.
    await holder.execute("SELECT uno_jobs.cancel($1)", ids[2])
    await lab.eye.execute('UPDATE uno_jobs.jobs SET step = \'{"anyway": true, "takes": false}\' WHERE id = $1', ids[2])
    await lab.cancel(ids[0])
    assert await lab.eye.fetchval("SELECT array_agg(job_id) FROM uno_jobs.pending_releases") == [ids[0]]
    await held.commit()
    await lab.retry(ids[2])
    for _ in range(2):
        await lab.eye.execute("SELECT uno_jobs.release_pending(1000)")
    live = await lab.live(ids[2])
    assert live is not None
    assert (live["state"], live["pending_parents"]) == ("waiting", 1)


async def test_an_end_that_was_never_told_is_none_once_the_job_is_retried(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node(), Node((0, 1))])
    holder = await lab.session()
    held = holder.transaction()
    await held.start()
    await holder.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", ids[2])
    await lab.cancel(ids[0])
    await held.commit()
    await lab.retry(ids[0])
    await lab.eye.execute("SELECT uno_jobs.release_pending(1000)")
    live = await lab.live(ids[2])
    assert live is not None
    assert (live["state"], live["pending_parents"]) == ("waiting", 2)


async def test_an_end_that_is_still_to_be_told_is_waited_for_by_who_is_revived(lab: Lab) -> None:
    """Naively its count is wrong, unmarked, and once that end is told it starts before the job that was retried."""
    ids = await put_workflow(lab, [Node(), Node(), Node((1,), join=True), Node((0, 2)), Node((2,))])
    hand = await lab.hand()
    await hand.claim()
    assert await hand.end(ids[0], "failed", error="no") == {}
    holder = await lab.session()
    async with holder.transaction():
        await holder.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", ids[4])
        assert await hand.succeed([ids[1]]) == {}
        assert await lab.eye.fetchval("SELECT array_agg(job_id) FROM uno_jobs.pending_releases") == [ids[2]]
        await lab.retry(ids[0])
        row = await lab.one("SELECT mended FROM uno_jobs.mend_waiting($1, 1000)", FIRST)
        assert row["mended"] == []
    for _ in range(2):
        await lab.eye.execute("SELECT uno_jobs.release_pending(1000)")
    assert await states(lab, ids) == ["ready", "succeeded", "succeeded", "waiting", "ready"]
    await invariants.check(lab.eye, retried_by_hand=True)


async def test_ends_that_are_still_to_be_told_are_waited_for_by_who_is_retried(lab: Lab) -> None:
    """Naively both are subtracted from a count without them, and it starts although a parent is unfinished."""
    joins = [Node((1,), join=True), Node((1,), join=True)]
    ids = await put_workflow(lab, [Node(), Node(), *joins, Node((0, 2, 3)), Node((2, 3))])
    hand = await lab.hand()
    await hand.claim()
    await lab.cancel(ids[4])
    holder = await lab.session()
    async with holder.transaction():
        await holder.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", ids[5])
        assert await hand.succeed([ids[1]]) == {}
        await lab.retry(ids[4])
    async with holder.transaction():
        # Its parent is held, so that it cannot be counted for yet.
        await holder.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", ids[0])
        await lab.eye.execute("SELECT uno_jobs.release_pending(1000)")
    assert (await states(lab, ids))[4:] == ["waiting", "ready"]
    await lab.eye.execute("SELECT uno_jobs.release_pending(1000)")
    await invariants.check(lab.eye, retried_by_hand=True)


async def test_what_runs_anyway_waits_for_each_parent_that_is_revived(lab: Lab) -> None:
    """Naively it waits for one of them, and starts although another parent, held all the while, is unfinished."""
    ids = await put_workflow(lab, [Node(), Node((0,)), Node(), Node((0, 1, 2), run_anyway=True)])
    await lab.cancel(ids[0])
    await lab.retry(ids[0])
    hand = await lab.hand()
    holder = await lab.session()
    async with holder.transaction():
        await holder.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", ids[2])
        for id_ in ids[:2]:
            await hand.claim()
            assert await hand.succeed([id_]) == {}
        await lab.eye.execute("SELECT uno_jobs.release_pending(1000)")
        assert await states(lab, ids) == ["succeeded", "succeeded", "ready", "waiting"]
    await lab.eye.execute("SELECT uno_jobs.release_pending(1000)")
    await invariants.check(lab.eye, retried_by_hand=True)


async def test_the_mark_of_what_no_longer_waits_is_forgotten(lab: Lab) -> None:
    """Naively such marks pile up, and a round that looks at a few of them never comes to one that matters."""
    ids = await put_workflow(lab, [Node(), Node(), Node((0, 1))])
    await lab.cancel(ids[0])
    await lab.retry(ids[0])
    await lab.cancel(ids[0])
    assert await lab.eye.fetchval("SELECT array_agg(job_id) FROM uno_jobs.pending_counts") == [ids[2]]
    await lab.eye.execute("SELECT uno_jobs.release_pending(1000)")
    assert await lab.eye.fetchval("SELECT count(*) FROM uno_jobs.pending_counts") == 0


@pytest.mark.parametrize("root", [0, 2])
async def test_a_mark_of_an_earlier_life_is_not_taken_from_who_is_retried(lab: Lab, root: int) -> None:
    """Naively it is forgotten while the retry is under way, and the child waits for one more than it has, for ever."""
    ids = await put_workflow(lab, [Node(), Node(), Node((0, 1))])
    for _ in range(2):
        await lab.cancel(ids[root])
        assert await lab.eye.fetchval("SELECT state FROM uno_jobs.outcomes WHERE id = $1", ids[2]) == "cancelled"
        reviver = await lab.session()
        async with reviver.transaction():
            await reviver.execute("SELECT uno_jobs.retry($1)", ids[root])
            await lab.eye.execute("SELECT uno_jobs.release_pending(1000)")
    await lab.eye.execute("SELECT uno_jobs.release_pending(1000)")
    live = await lab.live(ids[2])
    assert live is not None
    assert (live["state"], live["pending_parents"]) == ("waiting", 2)


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_mended_beside_those_who_work(lab: Lab, seed: int) -> None:
    """Workers that end jobs and add to them, cancels, retries, chores, all at once on random graphs, and a mender."""
    chance = random.Random(seed)
    graphs: list[list[UUID]] = []
    for _ in range(12):
        nodes: list[Node] = []
        for place in range(chance.randint(4, 25)):
            parents = tuple(chance.sample(range(place), chance.randint(0, min(place, 4))))
            nodes.append(Node(parents, join=chance.random() < 0.2, run_anyway=chance.random() < 0.1))
        graphs.append(await put_workflow(lab, nodes))
    every = [id_ for ids in graphs for id_ in ids]
    stop = asyncio.Event()
    mended: list[UUID] = []

    async def work(n: int) -> None:
        mine = random.Random(seed * 100 + n)
        hand = await lab.hand()
        held: list[UUID] = []
        idle = 0
        while idle < 40:
            got = [job["id"] for job in await hand.claim(mine.randint(1, 5))]
            held += got
            idle = 0 if held else idle + 1
            if not held:
                await asyncio.sleep(0.002)
                continue
            id_ = held.pop(mine.randrange(len(held)))
            if mine.random() < 0.2:
                try:
                    async with hand.connection.transaction():
                        added = [Node(), *[Node((0,), join=mine.random() < 0.3)] * mine.randint(0, 2), Node((0,))]
                        added[-1] = Node(tuple(range(max(0, len(added) - 3), len(added) - 1)))
                        await succeed_adding(hand.connection, id_, hand.leases[id_], added)
                except asyncpg.PostgresError as refused:
                    assert refused.sqlstate in {"UJ001", "40P01"}  # noqa: PT017 - it may have been cancelled
                continue
            if mine.random() < 0.1:
                fates = await hand.end(id_, "failed", error="no")
            else:
                fates = await hand.succeed([id_])
            if fates.get(id_) == "locked":
                held.append(id_)

    async def disturb() -> None:
        session = await lab.session()
        mine = random.Random(seed + 7)
        while not stop.is_set():
            async with session.transaction():
                for _ in range(mine.randint(1, 3)):
                    try:
                        async with session.transaction():
                            if mine.random() < 0.3:
                                await session.execute("SELECT uno_jobs.cancel($1)", mine.choice(every))
                            elif mine.random() < 0.05:
                                await session.execute(
                                    "SELECT uno_jobs.cancel_workflow(workflow_id) FROM uno_jobs.jobs WHERE id = $1",
                                    mine.choice(every),
                                )
                            else:
                                await session.execute("SELECT uno_jobs.retry($1)", mine.choice(every))
                    except (asyncpg.ObjectNotInPrerequisiteStateError, asyncpg.SerializationError):
                        pass
                    await asyncio.sleep(0.001)

    async def chores() -> None:
        session = await lab.session()
        while not stop.is_set():
            await session.execute("SELECT uno_jobs.release_pending(10)")
            await session.execute("SELECT uno_jobs.apply_cancellations(10)")
            await asyncio.sleep(0.001)

    async def look() -> None:
        session = await lab.session()
        while not stop.is_set():
            mended.extend(await session.fetchval("SELECT mended FROM uno_jobs.mend_waiting($1, 1000)", FIRST))

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for others in (disturb(), chores(), look()):
            tasks.create_task(others)
        async with asyncio.TaskGroup() as workers:
            for n in range(4):
                workers.create_task(work(n))
        stop.set()
    assert mended == []
    await lab.eye.execute("SELECT uno_jobs.release_pending(1000), uno_jobs.apply_cancellations(1000)")
    await invariants.check(lab.eye, retried_by_hand=True, side_tables=False)

"""EXPLAIN guards: with 200,000 live rows, a dead prefix, a million scheduled jobs, or plans made on an empty table.

What is bounded is pages touched and kinds of plan, never time. The table is filled once for the module; nearly every
test works in a transaction that is rolled back.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import pytest

from tests.storage.lab import Hand, Lab
from tests.storage.plans import explained

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from uno_jobs.testing.databases import Databases

START = datetime(1970, 1, 1, tzinfo=UTC)
READY, DEAD, SCHEDULED, DUE = 200_000, 200_000, 1_000_000, 2_000

FILL = f"""
ALTER TABLE uno_jobs.live_jobs SET (autovacuum_enabled = off);
ALTER TABLE uno_jobs.jobs SET (autovacuum_enabled = off);
INSERT INTO uno_jobs.jobs (id, created_at, priority, task, version, queue, args, kwargs)
SELECT lpad(to_hex(n), 32, '0')::uuid, now(), 5, 't', '1', 'full', '[]', '{{}}' FROM generate_series(1, {READY}) AS n;
INSERT INTO uno_jobs.live_jobs (id, seq, state, priority, task, version, queue)
SELECT lpad(to_hex(n), 32, '0')::uuid, n, 'ready', 5, 't', '1', 'full' FROM generate_series(1, {READY}) AS n;
INSERT INTO uno_jobs.live_jobs (id, seq, state, priority, task, version, queue)
SELECT ('1' || lpad(to_hex(n), 31, '0'))::uuid, n, 'ready', 5, 't', '1', 'dead' FROM generate_series(1, {DEAD}) AS n;
INSERT INTO uno_jobs.live_jobs (id, run_at, state, priority, task, version, queue)
SELECT ('2' || lpad(to_hex(n), 31, '0'))::uuid, now() + (n - {DUE}) * interval '1 minute' - interval '1 second',
       'scheduled', 5, 't', '1', 'full'
FROM generate_series(1, {SCHEDULED}) AS n;
SELECT setval('uno_jobs.ready_seq', 1000000);
ANALYZE uno_jobs.live_jobs, uno_jobs.jobs;
"""

BEHIND_THE_DEAD = """
INSERT INTO uno_jobs.jobs (id, created_at, priority, task, version, queue, args, kwargs)
SELECT ('3' || lpad(to_hex(n), 31, '0'))::uuid, now(), 5, 't', '1', 'dead', '[]', '{}'
FROM generate_series(1, 500) AS n;
INSERT INTO uno_jobs.live_jobs (id, seq, state, priority, task, version, queue)
SELECT ('3' || lpad(to_hex(n), 31, '0'))::uuid, 300000 + n, 'ready', 5, 't', '1', 'dead'
FROM generate_series(1, 500) AS n;
"""


@pytest.fixture(autouse=True)
def sound() -> None:
    """Rows are put in by hand here."""


@pytest.fixture(scope="module")
def full_url(databases: Databases) -> Iterator[str]:
    with databases.migrated() as url:
        asyncio.run(fill(url))
        yield url


async def fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(FILL)
    finally:
        await connection.close()


@pytest.fixture
async def lab(full_url: str) -> AsyncIterator[Lab]:
    lab = await Lab.open(full_url)
    yield lab
    await lab.close()


@pytest.fixture
async def hand(lab: Lab) -> AsyncIterator[Hand]:
    """A worker in a transaction that is rolled back; its statements have been planned."""
    hand = await lab.hand()
    transaction = hand.connection.transaction()
    await transaction.start()
    savepoint = hand.connection.transaction()
    await savepoint.start()
    await work(lab, hand, "full")
    await savepoint.rollback()
    yield hand
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError):
        await transaction.rollback()


async def work(lab: Lab, hand: Hand, queue: str) -> None:
    """One of each."""
    ids = [job["id"] for job in await hand.claim(4, [queue])]
    await hand.succeed(ids[:2])
    await hand.end(ids[2:3], "retried", delay=60)
    await hand.end(ids[3:], "failed", error="x")
    await hand.gateway.promote(1, datetime(2000, 1, 1, tzinfo=UTC))
    await hand.gateway.expire(1)
    await hand.gateway.held(hand.id)
    await lab.put(2, queue=queue, on=hand.connection)
    await lab.put(2, queue=queue, delay=60, on=hand.connection)


async def test_a_claim(hand: Hand) -> None:
    async with explained(hand.connection) as seen:
        jobs = await hand.claim(100, ["full", "empty", "other"])
    assert len(jobs) == 100
    assert seen.offences() == []
    assert "(queue" in seen.index_conditions()["live_jobs_ready"]
    assert "seq" in seen.index_conditions()["live_jobs_ready"]
    assert seen.buffers() < 30 * 100


async def test_the_locks_of_a_claim(lab: Lab) -> None:
    """With 31 partitions it was 77, beyond what is kept in the session's own slots."""
    fresh = await lab.hand()
    # The driver's first look at the types, and the first plans, take locks that are not the claim's.
    for _ in range(2):
        transaction = fresh.connection.transaction()
        await transaction.start()
        assert len(await fresh.claim(10, ["full"])) == 10
        locks = await lab.one(
            "SELECT count(*) AS n FROM pg_locks WHERE pid = $1 AND locktype = 'relation'",
            fresh.connection.get_server_pid(),
        )
        await transaction.rollback()
    assert 5 < locks["n"] <= 15


async def test_a_claim_of_one_costs_little(hand: Hand) -> None:
    """Looking at ten priorities of each of three queues included."""
    async with explained(hand.connection) as seen:
        assert len(await hand.claim(1, ["empty", "full", "other"])) == 1
    assert seen.buffers() < 250


@pytest.mark.parametrize("outcome", ["succeeded", "retried", "failed", "handed_back"])
async def test_finishing(hand: Hand, outcome: str) -> None:
    jobs = await hand.claim(200, ["full"])
    ids = [job["id"] for job in jobs]
    async with explained(hand.connection) as seen:
        if outcome == "succeeded":
            assert await hand.succeed(ids) == {}
        else:
            assert await hand.end(ids, outcome, delay=0, error="x") == {}
    assert seen.offences() == []
    assert seen.buffers() < 40 * len(ids)


async def test_a_look_for_wrong_counts(hand: Hand) -> None:
    """A batch costs what is in it, among however many unfinished jobs."""
    async with explained(hand.connection) as seen:
        reached, wrong = await hand.gateway.mend_waiting(UUID(int=0), 1000)
    assert (reached, wrong) == (UUID(int=1000), [])
    assert seen.offences(sorted_rows=1000) == []
    assert seen.buffers() < 5 * 1000


async def test_a_promotion(hand: Hand) -> None:
    """Hazard 21: the clock bounds the scan of the index."""
    async with explained(hand.connection) as seen:
        done = await hand.gateway.promote(500, START)
    assert done.promoted == 500
    assert done.next_due is not None
    assert seen.offences() == []
    assert "run_at" in seen.index_conditions()["live_jobs_scheduled"]
    assert "statement_timestamp()" in seen.index_conditions()["live_jobs_scheduled"]
    assert seen.buffers() < 25 * 500
    async with explained(hand.connection) as seen:
        assert (await hand.gateway.promote(500, datetime(2100, 1, 1, tzinfo=UTC))).promoted == 0
    assert seen.buffers() < 50


async def test_a_volatile_clock_would_be_asked_for_every_row(hand: Hand) -> None:
    """The test above bites."""
    await hand.connection.execute(
        "CREATE FUNCTION pg_temp.clock() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN now(); END $$"
    )
    for clock, bounded in (("uno_jobs.clock()", True), ("pg_temp.clock()", False)):
        plan = await hand.connection.fetch(
            f"EXPLAIN SELECT id FROM uno_jobs.live_jobs WHERE state = 'scheduled' AND run_at <= {clock}"
            " ORDER BY run_at LIMIT 9"
        )
        assert any("Index Cond" in row[0] and "run_at" in row[0] for row in plan) is bounded


async def test_a_million_scheduled_jobs_cost_a_claim_nothing(hand: Hand) -> None:
    async with explained(hand.connection) as seen:
        assert await hand.claim(100, ["a queue without ready jobs"]) == []
    # Two looks at the index for each of ten priorities: as deep as the index of the ready, whatever is scheduled.
    assert seen.buffers() < 10 * 2 * 6
    assert "live_jobs_scheduled" not in {node.get("Index Name") for node in seen.nodes()}


async def test_expiring(lab: Lab, hand: Hand) -> None:
    # The dead rows of the tests before are not of this one.
    await lab.eye.execute("VACUUM uno_jobs.live_jobs")
    await hand.connection.execute(
        "UPDATE uno_jobs.live_jobs SET expires_at = now() - interval '1 hour' WHERE queue = 'full' AND seq <= 300"
    )
    async with explained(hand.connection) as seen:
        assert await hand.gateway.expire(100) == 100
    assert seen.offences() == []
    assert seen.buffers() < 25 * 100


async def test_what_a_worker_holds(hand: Hand) -> None:
    await hand.claim(100, ["full"])
    async with explained(hand.connection) as seen:
        assert len(await hand.gateway.held(hand.id)) == 100
    assert seen.offences() == []
    assert seen.buffers() < 5 * 100


@pytest.mark.parametrize("delay", [None, 60.0])
async def test_enqueueing(lab: Lab, hand: Hand, delay: float | None) -> None:
    async with explained(hand.connection) as seen:
        await lab.put(1000, queue="full", delay=delay, on=hand.connection)
    assert seen.offences() == []
    assert seen.buffers() < 15 * 1000


async def test_a_rescue(hand: Hand) -> None:
    await hand.register("full")
    await hand.claim(100, ["full"])
    async with explained(hand.connection) as seen:
        assert len(await hand.gateway.rescue(hand.id, "gone", 3)) == 100
    assert seen.offences(sorted_rows=100) == []
    assert seen.buffers() < 50 * 100


async def test_a_dead_prefix_under_an_open_snapshot(lab: Lab) -> None:
    """Hazard 19: 200,000 finished jobs that no vacuum may remove. From a floor a claim walks past none of them."""
    reader, hand = await lab.session(), await lab.hand()
    async with reader.transaction(isolation="repeatable_read", readonly=True):
        await reader.fetchval("SELECT count(*) FROM uno_jobs.queues")
        await lab.eye.execute("DELETE FROM uno_jobs.live_jobs WHERE queue = 'dead' AND seq < 300000")
        await lab.eye.execute(BEHIND_THE_DEAD)
        assert len(await hand.claim(1, ["dead"])) == 1
        floor = hand.reports["dead", 5][0][0]
        assert floor is not None
        async with explained(hand.connection) as seen:
            assert len(await hand.claim(100, ["dead"], floors={("dead", 5): floor})) == 100
        assert seen.offences() == []
        floored = seen.buffers()
        assert floored < 30 * 100
        # The naive claim, from the start of the index, fails that bound.
        async with explained(hand.connection) as naive:
            assert len(await hand.claim(100, ["dead"])) == 100
        assert naive.buffers() > max(floored + 2_500, 30 * 100)
        assert hand.reports["dead", 5][0][1] > 0
        # A promotion has its own floor.
        async with explained(hand.connection) as seen:
            await hand.gateway.promote(1, datetime(2100, 1, 1, tzinfo=UTC))
        assert seen.buffers() < 200


async def test_plans_made_on_an_empty_table_still_use_the_indexes(database_url: str) -> None:
    """Kept plans are not made anew when the table fills faster than it is analysed."""
    lab = await Lab.open(database_url)
    try:
        await lab.eye.execute("ALTER TABLE uno_jobs.live_jobs SET (autovacuum_enabled = off)")
        hand = await lab.hand()
        for _ in range(7):
            await lab.put(4, queue="full", on=hand.connection)
            await work(lab, hand, "full")
        await lab.put(20_000, queue="full")
        await lab.put(5_000, queue="full", delay=3600)
        await lab.put(5_000, queue="full", delay=0, expires=0)
        await lab.eye.execute(
            "UPDATE uno_jobs.live_jobs SET run_at = now() - interval '1 hour' WHERE state = 'scheduled'"
        )
        async with explained(hand.connection) as seen:
            ids = [job["id"] for job in await hand.claim(200, ["full"])]
        assert (len(ids), seen.offences()) == (200, [])
        assert seen.buffers() < 30 * 200
        async with explained(hand.connection) as seen:
            assert await hand.succeed(ids[:100]) == {}
        assert seen.offences() == []
        async with explained(hand.connection) as seen:
            assert await hand.end(ids[100:], "retried", delay=0) == {}
        assert seen.offences() == []
        async with explained(hand.connection) as seen:
            assert (await hand.gateway.promote(100, START)).promoted == 100
        assert seen.offences() == []
        assert seen.buffers() < 60 * 100
        async with explained(hand.connection) as seen:
            assert await hand.gateway.expire(100) == 100
        assert seen.offences() == []
        assert seen.buffers() < 60 * 100
        async with explained(hand.connection) as seen:
            assert await hand.gateway.held(hand.id) == []
        assert seen.offences() == []
    finally:
        await lab.close()


async def test_looking_at_queues(hand: Hand) -> None:
    """Counting all 1.2 million live rows would touch more than 20,000 pages; some here are the dead prefix's."""
    async with explained(hand.connection) as seen:
        rows = await hand.connection.fetch("SELECT * FROM uno_jobs.queue_status")
    assert [one for one in seen.offences(sorted_rows=1_000) if "Join" not in one] == []
    assert seen.buffers() < 15_000
    (full,) = [row for row in rows if row["queue"] == "full"]
    # Above 10,000 they are estimates. Of 400 pages: six standard deviations.
    assert abs(full["ready"] / READY - 1) < 0.5
    assert abs(full["scheduled"] / SCHEDULED - 1) < 0.4
    assert str(full["ready"]).rstrip("0") == str(full["ready"])[:2].rstrip("0")


FINISHED = """
INSERT INTO uno_jobs.jobs (id, created_at, priority, task, version, queue, args, kwargs)
SELECT ('4' || lpad(to_hex(n), 31, '0'))::uuid, now(), 5, 't', '1', 'q' || n % 2, '[]', '{}'
FROM generate_series(1, 60000) AS n;
INSERT INTO uno_jobs.outcomes (id, finished_at, started_at, state, attempt, failures, lost)
SELECT ('4' || lpad(to_hex(n), 31, '0'))::uuid, now() - (60000 - n) * interval '1 ms', now(), 'succeeded', 1, 0, 0
FROM generate_series(1, 60000) AS n;
"""


async def test_looking_at_what_has_ended_lately(hand: Hand) -> None:
    await hand.connection.execute(FINISHED)
    async with explained(hand.connection) as seen:
        rows = await hand.connection.fetch("SELECT * FROM uno_jobs.finished_lately()")
    # To ask each of 60,000 jobs for its queue takes four pages of each.
    assert seen.buffers() < 25_000
    assert {row["queue"] for row in rows} >= {"q0", "q1"}
    assert all(row["estimated"] for row in rows)
    assert abs(sum(row["succeeded"] for row in rows) / 60_000 - 1) < 0.2


async def test_explaining(lab: Lab, hand: Hand) -> None:
    """The last of 200,000 that are ready, with 60,000 ends within the last minute to take the rate from."""
    await hand.register("full", tasks='[{"task": "t", "version": "1"}]')
    await hand.connection.execute(FINISHED)
    (last,) = await lab.put(queue="full", on=hand.connection)
    (scheduled,) = await lab.put(queue="full", delay=60, on=hand.connection)
    for id_, what in ((last, "behind more than 10,000 jobs"), (scheduled, "due in 60 s")):
        async with explained(hand.connection) as seen:
            sentence = await hand.connection.fetchval("SELECT uno_jobs.explain($1)", id_)
        assert what in sentence
        # The ends of the last minute are found by the BRIN index, whose scan is a bitmap's.
        assert set(seen.offences()) <= {"Bitmap Heap Scan of outcomes"}
        assert seen.buffers() < 25_000

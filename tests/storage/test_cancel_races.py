"""``cancel`` in every race with those who move the job at the same time."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg
import pytest

if TYPE_CHECKING:
    from tests.storage.lab import Lab

pytestmark = pytest.mark.server_versions


async def test_a_claim_that_was_first_leaves_the_row_to_its_worker(lab: Lab) -> None:
    """The cancel waits for the claim, then holds no lock on what now runs, although its transaction stays open."""
    (id_,) = await lab.put()
    hand, caller = await lab.hand(), await lab.session()
    claim = hand.connection.transaction()
    await claim.start()
    assert len(await hand.claim()) == 1
    await caller.execute("BEGIN")
    cancel = asyncio.create_task(lab.cancel(id_, "sorry", on=caller))
    await lab.blocked(caller)
    await claim.commit()
    assert await cancel == "requested"
    assert await hand.end(id_, "retried", delay=0) == {}, "the row is locked by the caller"
    await caller.execute("COMMIT")
    # The request came after the attempt's end: it is not to wait for the next one's.
    assert await lab.requests() == {id_: "sorry"}
    assert await lab.apply_cancellations() == 1
    assert await lab.ended(id_) == ("cancelled", "sorry")
    assert await lab.requests() == {}


@pytest.mark.parametrize("commits", [True, False])
async def test_a_cancel_that_was_first_is_passed_over_by_a_claim(lab: Lab, commits: bool) -> None:
    (id_,) = await lab.put()
    hand, caller = await lab.hand(), await lab.session()
    await caller.execute("BEGIN")
    assert await lab.cancel(id_, on=caller) == "cancelled"
    assert await hand.claim() == []
    await caller.execute("COMMIT" if commits else "ROLLBACK")
    assert [job["id"] for job in await hand.claim()] == ([] if commits else [id_])


@pytest.mark.invariants(side_tables=False)  # the requests come when the jobs are over
async def test_a_worker_never_waits_for_a_caller_that_cancels(lab: Lab) -> None:
    """Hazard 5: whatever the worker does with the job goes on while the caller's transaction is open."""
    ids = await lab.put(6)
    hand, caller = await lab.hand(), await lab.session()
    await hand.claim()
    await caller.execute("BEGIN")
    for id_ in ids:
        assert await lab.cancel(id_, on=caller) == "requested"
    async with asyncio.timeout(30):
        assert await hand.succeed([ids[0]]) == {}
        assert await hand.end(ids[1], "failed", error="E") == {}
        assert await hand.end(ids[2], "retried", delay=3600) == {}
        assert await hand.hand_back(ids[3]) == {ids[3]}
        assert await hand.gateway.rescue(hand.id, "killed", 3) == {ids[4], ids[5]}
        await hand.gateway.sweep()
    assert len(await hand.claim(2)) == 2
    await caller.execute("COMMIT")
    # Of three that live and do not run: the scheduled, and one that was given back and is not claimed again.
    assert await lab.apply_cancellations() == 2
    assert await lab.states() == {"succeeded": 1, "failed": 1, "cancelled": 2, "running": 2}
    assert {row[2] for row in await hand.gateway.held(hand.id)} == {True}


async def test_a_chore_passes_over_what_others_hold(lab: Lab) -> None:
    held, free = await lab.put(2, delay=3600)
    for id_ in (held, free):
        await lab.ask_to_cancel(id_)
    caller = await lab.session()
    await caller.execute("BEGIN")
    await caller.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", held)
    async with asyncio.timeout(30):
        assert await lab.apply_cancellations() == 1
    await caller.execute("COMMIT")
    assert await lab.ended(free) == ("cancelled", "cancelled on request")
    assert await lab.apply_cancellations() == 1
    assert await lab.ended(held) == ("cancelled", "cancelled on request")
    assert await lab.apply_cancellations() == 0


async def test_the_chore_is_bounded_and_leaves_what_runs(lab: Lab) -> None:
    hand = await lab.hand()
    (runs,) = await lab.put()
    await hand.claim()
    ids = await lab.put(5)
    for id_ in (runs, *ids, uuid.uuid4()):
        await lab.ask_to_cancel(id_)
    assert [await lab.apply_cancellations(2) for _ in range(4)] == [2, 2, 1, 0]
    assert await lab.states() == {"running": 1, "cancelled": 5}
    assert runs in await lab.requests()


@pytest.mark.parametrize("commits", [True, False])
async def test_two_cancel_the_same_ready_job(lab: Lab, commits: bool) -> None:
    (id_,) = await lab.put()
    one, two = await lab.session(), await lab.session()
    await one.execute("BEGIN")
    await lab.cancel(id_, "one", on=one)
    second = asyncio.create_task(lab.cancel(id_, "two", on=two))
    await lab.blocked(two)
    await one.execute("COMMIT" if commits else "ROLLBACK")
    assert await second == ("finished" if commits else "cancelled")
    assert await lab.ended(id_) == ("cancelled", "one" if commits else "two")


@pytest.mark.parametrize("commits", [True, False])
async def test_two_cancel_the_same_running_job(lab: Lab, commits: bool) -> None:
    (id_,) = await lab.put()
    hand, one, two = await lab.hand(), await lab.session(), await lab.session()
    await hand.claim()
    await one.execute("BEGIN")
    await lab.cancel(id_, "one", on=one)
    second = asyncio.create_task(lab.cancel(id_, "two", on=two))
    await lab.blocked(two)
    await one.execute("COMMIT" if commits else "ROLLBACK")
    assert await second == "requested"
    assert await lab.requests() == {id_: "one" if commits else "two"}


async def test_an_outcome_in_the_making_is_not_waited_for(lab: Lab) -> None:
    """The row of a running job is not touched; a request too late for its end is swept away."""
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    finish = hand.connection.transaction()
    await finish.start()
    await hand.end(id_, "failed", error="E")
    assert await lab.cancel(id_) == "requested"
    await finish.commit()
    assert await lab.ended(id_) == ("failed", "E")
    assert await lab.apply_cancellations() == 0
    await lab.eye.execute("UPDATE uno_jobs.cancel_requests SET requested_at = now() - interval '2 minutes'")
    await hand.gateway.sweep()
    assert await lab.requests() == {}


async def test_a_promotion_in_the_making_is_waited_for(lab: Lab) -> None:
    (id_,) = await lab.put(delay=0.001)
    hand, caller = await lab.hand(), await lab.session()
    await lab.until("SELECT run_at <= clock_timestamp() FROM uno_jobs.live_jobs")
    promotion = hand.connection.transaction()
    await promotion.start()
    assert (await hand.gateway.promote(10, datetime(1970, 1, 1, tzinfo=UTC))).promoted == 1
    cancel = asyncio.create_task(lab.cancel(id_, on=caller))
    await lab.blocked(caller)
    await promotion.commit()
    assert await cancel == "cancelled"
    assert (await lab.ended(id_))[0] == "cancelled"


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_a_caller_whose_snapshot_is_old(lab: Lab, level: str) -> None:
    """Such a caller is told to try again, or leaves a request, for what it saw running."""
    (running,) = await lab.put()
    hand, caller = await lab.hand(), await lab.session()
    await hand.claim()
    ready, claimed = await lab.put(2)
    await caller.execute(f"BEGIN ISOLATION LEVEL {level}")
    await caller.fetch("SELECT FROM uno_jobs.live_jobs")
    (late,) = await lab.put()
    await hand.end(running, "retried", delay=3600)
    await lab.eye.execute("UPDATE uno_jobs.live_jobs SET priority = 1 WHERE id = $1", claimed)
    await lab.eye.execute("UPDATE uno_jobs.jobs SET priority = 1 WHERE id = $1", claimed)
    await hand.claim(1)
    assert await lab.cancel(ready, on=caller) == "cancelled"
    assert await lab.cancel(running, on=caller) == "requested"
    for unseen in (claimed, late):
        await caller.execute("SAVEPOINT s")
        with pytest.raises((asyncpg.SerializationError, asyncpg.NoDataFoundError)) as caught:
            await lab.cancel(unseen, on=caller)
        assert caught.type is (asyncpg.SerializationError if unseen == claimed else asyncpg.NoDataFoundError)
        await caller.execute("ROLLBACK TO s")
    await caller.execute("COMMIT")
    assert await lab.apply_cancellations() == 1
    assert await lab.states() == {"cancelled": 2, "running": 1, "ready": 1}

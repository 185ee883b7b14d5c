"""Retention beside those who move the same jobs: it waits for nobody, and what is revived stays."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.storage.history import forget_rests, prune, put_finished, there
from tests.storage.plans import explained
from tests.storage.recorded import bulk

if TYPE_CHECKING:
    from uuid import UUID

    from tests.storage.lab import Lab

pytestmark = [pytest.mark.server_versions, pytest.mark.invariants(retried_by_hand=True)]


async def put_broken_workflow(lab: Lab) -> list[UUID]:
    """A step that succeeded, one that failed, and one that was cancelled because of that; all long over."""
    workflow = uuid.uuid4()
    ids = [
        *await put_finished(lab, age=60, workflow=workflow),
        *await put_finished(lab, age=59, state="failed", workflow=workflow),
        *await put_finished(lab, age=58, state="cancelled", workflow=workflow),
    ]
    await lab.eye.execute("UPDATE uno_jobs.outcomes SET cancelled_because = $1 WHERE id = $2", ids[1], ids[2])
    await lab.eye.executemany(
        "INSERT INTO uno_jobs.job_edges VALUES ($1, $2, 'chain', 0)", [(ids[0], ids[1]), (ids[1], ids[2])]
    )
    return ids


@pytest.mark.parametrize("ends", ["commit", "rollback"])
async def test_a_retry_that_is_not_committed_keeps_its_workflow(lab: Lab, ends: str) -> None:
    ids = await put_broken_workflow(lab)
    (other,) = await put_finished(lab, age=57, state="failed")
    caller = await lab.session()
    transaction = caller.transaction()
    await transaction.start()
    await lab.retry(ids[1], on=caller)
    # Without a wait, though the caller holds two of the outcomes; and the others' time has come.
    assert await asyncio.wait_for(prune(lab), 30) == 1
    assert await there(lab, [other]) == []
    await (transaction.commit() if ends == "commit" else transaction.rollback())
    await forget_rests(lab)
    assert await prune(lab) == (0 if ends == "commit" else 3)
    if ends == "commit":
        assert await lab.states() == {"succeeded": 1, "ready": 1, "waiting": 1}


async def test_a_retry_that_comes_too_late_finds_nothing(lab: Lab) -> None:
    ids = await put_broken_workflow(lab)
    chore, caller = await lab.session(), await lab.session()
    transaction = chore.transaction()
    await transaction.start()
    assert (await chore.fetchrow("SELECT * FROM uno_jobs.prune(100)"))["removed"] == 3
    retrying = asyncio.create_task(caller.fetchval("SELECT answer FROM uno_jobs.try_retry($1, true)", ids[1]))
    await lab.blocked(caller)
    await transaction.commit()
    assert await retrying == "unknown"
    assert await lab.states() == {}


@pytest.mark.parametrize("ends", ["commit", "rollback"])
async def test_an_enqueue_that_names_the_id_of_a_job_that_is_being_removed(lab: Lab, ends: str) -> None:
    """It is a duplicate of the old job, or a new one with nothing of the old; never neither."""
    (id_,) = await put_finished(lab, age=60)
    chore, caller = await lab.session(), await lab.session()
    transaction = chore.transaction()
    await transaction.start()
    assert (await chore.fetchrow("SELECT * FROM uno_jobs.prune(100)"))["removed"] == 1
    enqueuing = asyncio.create_task(bulk(caller, [id_]))
    await lab.blocked(caller)
    await (transaction.commit() if ends == "commit" else transaction.rollback())
    (row,) = await enqueuing
    assert (row["id"], row["is_duplicate"]) == (id_, ends == "rollback")
    if ends == "commit":
        live = await lab.live(id_)
        assert live is not None
        assert (live["state"], live["attempt"], await lab.attempts(id_)) == ("ready", 0, [])
    await forget_rests(lab)
    assert await prune(lab) == (ends == "rollback")


async def test_what_ended_again_since_the_look_is_kept(lab: Lab) -> None:
    """Between the look and the lock a job may be retried, run and end: its time begins anew."""
    (id_,) = await put_finished(lab, age=60, state="failed")
    hand = await lab.hand()
    await lab.retry(id_)
    await hand.claim(1)
    transaction = hand.connection.transaction()
    await transaction.start()
    # The new outcome is there for nobody yet, the old one is gone.
    await hand.end(id_, "failed", error="again")
    assert await prune(lab) == 0
    await transaction.commit()
    await forget_rests(lab)
    assert await prune(lab) == 0
    assert await there(lab, [id_]) == [id_]


async def test_workers_and_callers_move_jobs_while_they_are_removed(lab: Lab) -> None:
    """Every job is whole or gone, and nobody waits for ever or fails."""
    ids = [id_ for n in range(40) for id_ in await put_finished(lab, 5, age=60 - n / 100, state="failed")]
    caller, chore, second, hand = await lab.session(), await lab.session(), await lab.session(), await lab.hand()
    answers: list[str] = []

    async def retry() -> None:
        for id_ in ids[::3]:
            answers.append(await caller.fetchval("SELECT answer FROM uno_jobs.try_retry($1, true)", id_))

    async def work() -> None:
        while len(answers) < len(ids[::3]):
            jobs = [job["id"] for job in await hand.claim(10)]
            await hand.succeed(jobs)

    async def remove(on: Any) -> None:
        while len(answers) < len(ids[::3]):
            await on.fetchrow("SELECT * FROM uno_jobs.prune(7)")

    async with asyncio.timeout(60):
        await asyncio.gather(retry(), work(), remove(chore), remove(second))
    while jobs := [job["id"] for job in await hand.claim(100)]:
        assert await hand.succeed(jobs) == {}
    assert set(answers) <= {"retried", "unknown"}
    await forget_rests(lab)
    await prune(lab)
    assert await lab.states() == ({"succeeded": answers.count("retried")} if "retried" in answers else {})


FILL = 20_000


async def test_a_step_reads_by_the_indexes_however_much_there_is(lab: Lab) -> None:
    await lab.eye.execute("ALTER TABLE uno_jobs.outcomes SET (autovacuum_enabled = off)")
    # Plans made on empty tables are kept.
    for _ in range(7):
        await lab.eye.execute("SELECT uno_jobs.prune(10)")
    await put_finished(lab, FILL, age=60)
    kept = await put_finished(lab, FILL, age=20, state="failed")
    await put_finished(lab, 1000, age=8, workflow=uuid.uuid4())
    async with explained(lab.eye) as seen:
        row = await lab.one("SELECT * FROM uno_jobs.prune(500)")
    # The walk of 7 days, and that of 30; the lap rests.
    assert (row["walked"], row["removed"]) == (1000, 1000)
    assert seen.offences(sorted_rows=1000) == []
    assert seen.buffers() < 60 * 1000
    await prune(lab, 5000)
    assert await lab.states() == {"failed": FILL}
    await lab.eye.execute("VACUUM uno_jobs.outcomes")
    async with explained(lab.eye) as seen:
        row = await lab.one("SELECT * FROM uno_jobs.prune(500)")
    assert (row["walked"], seen.offences(sorted_rows=10)) == (0, [])
    assert seen.buffers() < 100
    assert len(kept) == FILL

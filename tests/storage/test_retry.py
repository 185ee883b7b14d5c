"""``retry`` by hand: what it does in each state, with unique keys, and in races with those who move the job."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.storage.history import put_finished
from tests.storage.plans import explained
from tests.storage.workflows import Node, put_workflow

if TYPE_CHECKING:
    from uuid import UUID

    from tests.storage.lab import Hand, Lab

# Finished jobs are retried here, so their failures count anew.
pytestmark = [pytest.mark.server_versions, pytest.mark.invariants(retried_by_hand=True)]


async def end(lab: Lab, hand: Hand, id_: UUID, how: str) -> None:
    """Bring a ready job to its end."""
    assert [job["id"] for job in await hand.claim(1)] == [id_]
    await (hand.succeed([id_]) if how == "succeeded" else hand.end(id_, how, error_type="E", error="no"))
    outcome = await lab.outcome(id_)
    assert outcome is not None
    assert outcome["state"] == how


@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_what_ended_badly_begins_anew(lab: Lab, how: str) -> None:
    (id_,) = await lab.put(expires=3600, priority=3, queue="mail")
    hand = await lab.hand()
    await hand.register("mail")
    await hand.claim(1, ["mail"])
    await hand.end(id_, "retried", delay=0)
    await hand.claim(1, ["mail"])
    await hand.gateway.rescue(hand.id, "killed", 3)
    await hand.claim(1, ["mail"])
    await hand.end(id_, how, error="no")
    outcome = await lab.outcome(id_)
    assert outcome is not None
    assert (outcome["attempt"], outcome["failures"], outcome["lost"]) == (3, 1 + (how == "failed"), 1)
    await lab.retry(id_)
    live = await lab.live(id_)
    assert live is not None
    assert (live["state"], live["attempt"], live["failures"], live["lost"], live["suspect"], live["expires_at"]) == (
        *("ready", 3, 0, 0, False),
        None,
    )
    assert (live["task"], live["version"], live["queue"], live["priority"]) == ("t", "1", "mail", 3)
    assert await lab.outcome(id_) is None
    (job,) = await hand.claim(1, ["mail"])
    assert (job["attempt"], job["failures"]) == (4, 0)
    assert await hand.succeed([id_], "1") == {}
    assert await lab.attempts(id_) == ["retried", "lost", how, "succeeded"]


async def test_it_goes_to_the_end_of_its_queue_and_wakes_who_sleeps(lab: Lab) -> None:
    ids = await lab.put(3)
    hand = await lab.hand()
    await end(lab, hand, ids[0], "failed")
    heard: asyncio.Queue[str] = asyncio.Queue()
    session = await lab.session()
    await session.add_listener(await hand.gateway.channel(), lambda *said: heard.put_nowait(said[3]))
    await hand.gateway.mark_hungry(hand.id, ["default"], 60)
    await lab.retry(ids[0], notify=False)
    await lab.eye.execute("SELECT pg_notify((SELECT channel FROM uno_jobs.schema_info), 'end')")
    async with asyncio.timeout(30):
        assert await heard.get() == "end"
    assert [job["id"] for job in await hand.claim()] == [ids[1], ids[2], ids[0]]
    await hand.end(ids[0], "failed", error="E")
    await hand.succeed(ids[1:])
    await lab.retry(ids[0])
    async with asyncio.timeout(30):
        assert await heard.get() == "ready default"


async def test_a_job_cancelled_before_its_start(lab: Lab) -> None:
    (id_,) = await lab.put(delay=3600)
    await lab.cancel(id_)
    await lab.retry(id_)
    hand = await lab.hand()
    (job,) = await hand.claim()
    assert (job["id"], job["attempt"]) == (id_, 1)


@pytest.mark.parametrize("attempt", [0, 1])
async def test_what_is_scheduled_is_due_now(lab: Lab, attempt: int) -> None:
    """Its failures still count: it has not ended."""
    (id_,) = await lab.put(delay=None if attempt else 3600, expires=None if attempt else 7200)
    hand = await lab.hand()
    if attempt:
        await hand.claim()
        await hand.end(id_, "retried", delay=3600)
    before = await lab.live(id_)
    await lab.retry(id_)
    live = await lab.live(id_)
    assert before is not None
    assert live is not None
    assert (live["state"], live["run_at"], live["failures"], live["attempt"]) == ("ready", None, attempt, attempt)
    assert live["expires_at"] == before["expires_at"]
    assert len(await hand.claim()) == 1


@pytest.mark.parametrize("state", ["waiting", "ready", "running", "succeeded"])
async def test_what_has_not_failed_is_refused(lab: Lab, state: str) -> None:
    id_ = (await put_workflow(lab, [Node(), Node((0,))]))[1] if state == "waiting" else (await lab.put())[0]
    hand = await lab.hand()
    if state in ("running", "succeeded"):
        await hand.claim()
    if state == "succeeded":
        await hand.succeed([id_])
    before = await lab.live(id_), await lab.outcome(id_)
    has = "has" if state == "succeeded" else "is"
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match=f"job {id_} {has} {state}: only what failed"):
        await lab.retry(id_)
    assert (await lab.live(id_), await lab.outcome(id_)) == before


async def test_what_is_unknown_is_an_error(lab: Lab) -> None:
    with pytest.raises(asyncpg.NoDataFoundError, match="there is no job"):
        await lab.retry(uuid.uuid4())


async def test_a_request_to_cancel_its_past_does_not_reach_it(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await end(lab, hand, id_, "failed")
    await lab.ask_to_cancel(id_)
    await lab.retry(id_)
    assert await lab.apply_cancellations() == 0
    assert len(await hand.claim()) == 1


async def test_a_rollback_undoes_it(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await end(lab, hand, id_, "failed")
    before = await lab.outcome(id_)
    transaction = lab.eye.transaction()
    await transaction.start()
    await lab.retry(id_)
    await transaction.rollback()
    assert (await lab.live(id_), await lab.outcome(id_)) == (None, before)


# --- unique keys -----------------------------------------------------------------------------------------------------


async def test_it_takes_its_key_again(lab: Lab) -> None:
    hand = await lab.hand()
    first = (await lab.put_unique("k"))["id"]
    await end(lab, hand, first, "failed")
    await lab.retry(first)
    again = await lab.put_unique("k")
    assert (again["id"], again["is_duplicate"]) == (first, True)


async def test_where_another_holds_its_key_nothing_changes(lab: Lab) -> None:
    hand = await lab.hand()
    first = (await lab.put_unique("k"))["id"]
    await end(lab, hand, first, "failed")
    await lab.ask_to_cancel(first)
    holder = (await lab.put_unique("k"))["id"]
    before = await lab.outcome(first)
    with pytest.raises(asyncpg.UniqueViolationError, match=f"job {holder} is unfinished and holds the unique key of"):
        await lab.retry(first)
    # Nor where the caller's transaction goes on, as the one of a queue's caller does.
    row = await lab.one("SELECT * FROM uno_jobs.try_retry($1, true)", first)
    assert tuple(row) == ("held", holder)
    assert (await lab.live(first), await lab.outcome(first), list(await lab.requests())) == (None, before, [first])
    await lab.cancel(holder)
    await lab.retry(first)
    assert await lab.live(first) is not None


@pytest.mark.parametrize("started", [True, False])
async def test_a_key_that_is_free_from_the_first_start_stays_so(lab: Lab, worker: Hand, started: bool) -> None:
    options = json.dumps({"unique": True, "unique_until": "started"})
    await lab.eye.execute(
        "INSERT INTO uno_jobs.task_versions SELECT 't', '1', sort_key, NULL, $1, parameters, schema, now(), now()"
        " FROM uno_jobs.task_versions LIMIT 1",
        options,
    )
    first = (await lab.put_unique("k", until_start=True))["id"]
    if started:
        await end(lab, worker, first, "failed")
    else:
        await lab.cancel(first)
    await lab.retry(first)
    live = await lab.live(first)
    assert live is not None
    assert (live["unique_key"], live["key_until_start"]) == (None if started else "k", True)
    await worker.claim()
    assert (await lab.put_unique("k", until_start=True))["is_duplicate"] is False


@pytest.mark.parametrize("commits", [True, False])
async def test_it_waits_for_one_who_takes_the_key(lab: Lab, commits: bool) -> None:
    hand, other, caller = await lab.hand(), await lab.session(), await lab.session()
    first = (await lab.put_unique("k"))["id"]
    await end(lab, hand, first, "failed")
    await other.execute("BEGIN")
    holder = (await lab.put_unique("k", on=other))["id"]
    retry = asyncio.create_task(caller.fetchrow("SELECT * FROM uno_jobs.try_retry($1, true)", first))
    await lab.blocked(caller)
    await other.execute("COMMIT" if commits else "ROLLBACK")
    assert tuple(await retry) == (("held", holder) if commits else ("retried", None))


async def test_one_who_takes_the_key_waits_for_it(lab: Lab) -> None:
    hand, other, caller = await lab.hand(), await lab.session(), await lab.session()
    first = (await lab.put_unique("k"))["id"]
    await end(lab, hand, first, "failed")
    await caller.execute("BEGIN")
    await lab.retry(first, on=caller)
    enqueue = asyncio.create_task(lab.put_unique("k", on=other))
    await lab.blocked(other)
    await caller.execute("COMMIT")
    row = await enqueue
    assert (row["id"], row["is_duplicate"]) == (first, True)


# --- races -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("commits", [True, False])
async def test_two_retry_the_same_job(lab: Lab, commits: bool) -> None:
    (id_,) = await lab.put()
    hand, one, two = await lab.hand(), await lab.session(), await lab.session()
    await end(lab, hand, id_, "failed")
    await one.execute("BEGIN")
    await lab.retry(id_, on=one)
    second = asyncio.create_task(two.fetchval("SELECT answer FROM uno_jobs.try_retry($1, true)", id_))
    await lab.blocked(two)
    await one.execute("COMMIT" if commits else "ROLLBACK")
    assert await second == ("ready" if commits else "retried")
    assert len(await hand.claim()) == 1


async def test_a_promotion_and_claim_that_were_first_keep_the_row(lab: Lab) -> None:
    """As with cancel: no lock remains on what runs meanwhile, although the caller's transaction stays open."""
    (id_,) = await lab.put(delay=3600)
    hand, caller = await lab.hand(), await lab.session()
    claim = hand.connection.transaction()
    await claim.start()
    await lab.retry(id_, on=hand.connection)
    assert len(await hand.claim()) == 1
    await caller.execute("BEGIN")
    retry = asyncio.create_task(caller.fetchval("SELECT answer FROM uno_jobs.try_retry($1, true)", id_))
    await lab.blocked(caller)
    await claim.commit()
    assert await retry == "running"
    assert await hand.succeed([id_]) == {}, "the row is locked by the caller"
    await caller.execute("COMMIT")


async def test_a_caller_whose_snapshot_is_old_is_told_to_try_again(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand, caller = await lab.hand(), await lab.session()
    await end(lab, hand, id_, "failed")
    await caller.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    await caller.fetch("SELECT FROM uno_jobs.jobs")
    await lab.retry(id_)
    with pytest.raises(asyncpg.SerializationError):
        await lab.retry(id_, on=caller)
    await caller.execute("ROLLBACK")
    assert len(await hand.claim()) == 1


async def test_by_primary_keys_only(lab: Lab) -> None:
    hand = await lab.hand()
    session: Any = await lab.session()
    failed = [(await lab.put())[0] for _ in range(4)]
    for id_ in failed:
        await end(lab, hand, id_, "failed")
    scheduled = (await lab.put(delay=60))[0]
    await lab.retry(failed[0], on=session)  # plans made while the tables are all but empty
    for queue in ("a", "b"):
        await lab.put(20_000, queue=queue)
    await put_finished(lab, 20_000, age=1, state="failed")
    touched: list[int] = []
    for id_ in (scheduled, *failed[1:]):
        async with explained(session) as seen:
            await lab.retry(id_, on=session)
        assert seen.offences(sorted_rows=1) == []
        touched.append(seen.buffers())
    # What one touches counts its planning, and autovacuum may have made it plan anew; not each of them.
    assert min(touched[1:]) < 300

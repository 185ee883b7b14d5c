"""``cancel``: what it does in each state, and in every race with those who move the job at the same time."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.storage import invariants
from tests.storage.plans import explained

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from tests.storage.lab import Lab

pytestmark = pytest.mark.server_versions


@pytest.fixture(autouse=True)
async def sound(database_url: str) -> AsyncIterator[None]:
    """Jobs of these tests end while requests and waiters of theirs are still on the way."""
    yield
    connection = await asyncpg.connect(database_url)
    try:
        await invariants.check(connection, side_tables=False)
    finally:
        await connection.close()


async def ended(lab: Lab, id_: UUID) -> tuple[str, str | None]:
    """Return the state and the error of a job that is over."""
    assert await lab.live(id_) is None
    outcome = await lab.outcome(id_)
    assert outcome is not None
    return outcome["state"], outcome["error"]


class Ear:
    """Hears the schema's channel."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._heard: asyncio.Queue[str] = asyncio.Queue()

    async def open(self) -> Ear:
        session = await self._lab.session()
        channel = await session.fetchval("SELECT channel FROM uno_jobs.schema_info")
        await session.add_listener(channel, lambda *said: self._heard.put_nowait(said[3]))
        return self

    async def so_far(self) -> list[str]:
        """What was said until now: notifications come in the order of commits."""
        await self._lab.eye.execute("SELECT pg_notify((SELECT channel FROM uno_jobs.schema_info), 'end')")
        heard = []
        async with asyncio.timeout(30):
            while (said := await self._heard.get()) != "end":
                heard.append(said)
        return heard


# --- each state ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["waiting", "scheduled", "ready"])
async def test_what_does_not_run_ends_at_once(lab: Lab, state: str) -> None:
    (id_,) = await lab.put(delay=3600 if state == "scheduled" else None)
    if state == "waiting":
        await lab.eye.execute("UPDATE uno_jobs.live_jobs SET state = 'waiting', seq = NULL, pending_parents = 1")
    ear = await Ear(lab).open()
    assert await lab.cancel(id_, "not wanted") == "cancelled"
    assert await ended(lab, id_) == ("cancelled", "not wanted")
    outcome = await lab.outcome(id_)
    assert outcome is not None
    assert (outcome["attempt"], outcome["failures"], outcome["started_at"]) == (0, 0, None)
    assert await ear.so_far() == []
    assert await lab.requests() == {}


async def test_without_a_reason_it_says_so(lab: Lab) -> None:
    (id_,) = await lab.put()
    await lab.cancel(id_)
    assert await ended(lab, id_) == ("cancelled", "cancelled on request")


async def test_a_retry_that_waits_ends_with_its_past(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    (job,) = await hand.claim()
    await hand.gateway.set_progress(id_, hand.leases[id_], 0.5, "half")
    await hand.end(id_, "retried", delay=3600, error_type="E", error="no")
    assert await lab.cancel(id_, "enough") == "cancelled"
    outcome = await lab.outcome(id_)
    assert outcome is not None
    assert (
        outcome["state"],
        outcome["attempt"],
        outcome["failures"],
        outcome["started_at"],
        outcome["error_type"],
    ) == (
        *("cancelled", 1, 1),
        job["started_at"],
        None,
    )
    assert await lab.attempts(id_) == ["retried"]
    assert await lab.eye.fetchval("SELECT count(*) FROM uno_jobs.progress") == 0


async def test_a_running_one_is_asked_to_stop(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    ear = await Ear(lab).open()
    assert await lab.cancel(id_, "first") == "requested"
    assert await lab.cancel(id_, "second") == "requested"
    assert await ear.so_far() == [f"cancel {id_}"] * 2
    assert await lab.requests() == {id_: "first"}
    ((held, _, asked),) = await hand.gateway.held(hand.id)
    assert (held, asked) == (id_, True)
    status = await lab.one("SELECT state::text, cancel_requested_at FROM uno_jobs.job_status")
    asked_at = await lab.eye.fetchval("SELECT requested_at FROM uno_jobs.cancel_requests")
    assert tuple(status) == ("running", asked_at)
    assert await hand.end(id_, "cancelled", error="cancelled on request") == {}
    assert await ended(lab, id_) == ("cancelled", "first")
    assert await lab.requests() == {}
    assert (await lab.one("SELECT cancel_requested_at FROM uno_jobs.job_status"))[0] is None


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "cancelled"])
async def test_what_is_over_stays_as_it_is(lab: Lab, outcome: str) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    await (hand.succeed([id_], "1") if outcome == "succeeded" else hand.end(id_, outcome, error="so it ended"))
    before = await lab.outcome(id_)
    assert await lab.cancel(id_, "too late") == "finished"
    assert await lab.outcome(id_) == before
    assert await lab.requests() == {}


async def test_what_is_unknown_is_an_error(lab: Lab) -> None:
    for id_ in (uuid.uuid4(), None):
        with pytest.raises(asyncpg.NoDataFoundError, match="there is no job"):
            await lab.cancel(id_)  # pyright: ignore[reportArgumentType]
    assert await lab.eye.fetchval("SELECT uno_jobs.try_cancel($1, NULL, true)", uuid.uuid4()) == "unknown"


async def test_a_reason_is_bounded(lab: Lab) -> None:
    (id_,) = await lab.put()
    with pytest.raises(asyncpg.InvalidParameterValueError, match="at most 4000 characters, this one has 4001"):
        await lab.cancel(id_, "x" * 4001)
    assert await lab.cancel(id_, "x" * 4000) == "cancelled"


async def test_those_who_wait_for_the_job_are_told(lab: Lab) -> None:
    ready, other = await lab.put(2)
    await lab.eye.execute(
        "INSERT INTO uno_jobs.result_waiters SELECT $1, gen_random_uuid(), now() + interval '1 minute'"
        " FROM generate_series(1, 2)",
        ready,
    )
    ear = await Ear(lab).open()
    await lab.cancel(other)
    await lab.cancel(ready)
    assert await ear.so_far() == [f"done {ready}"]


async def test_without_notify_it_can_be_prepared(lab: Lab) -> None:
    """PostgreSQL prepares no transaction that has notified."""
    (runs,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    (ready,) = await lab.put()
    await lab.eye.execute(
        "INSERT INTO uno_jobs.result_waiters VALUES ($1, gen_random_uuid(), now() + interval '1 minute')", ready
    )
    ear = await Ear(lab).open()
    assert await lab.cancel(runs, notify=False) == "requested"
    assert await lab.cancel(ready, notify=False) == "cancelled"
    assert await ear.so_far() == []


async def test_a_rollback_undoes_it(lab: Lab) -> None:
    (runs,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    (ready,) = await lab.put()
    ear = await Ear(lab).open()
    transaction = lab.eye.transaction()
    await transaction.start()
    assert await lab.cancel(runs) == "requested"
    assert await lab.cancel(ready) == "cancelled"
    assert await lab.cancel(ready) == "finished"
    await transaction.rollback()
    assert await ear.so_far() == []
    assert await lab.requests() == {}
    assert [job["id"] for job in await hand.claim()] == [ready]


# --- against the outcome ---------------------------------------------------------------------------------------------


async def test_a_success_after_the_request_stands(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    await lab.cancel(id_)
    assert await hand.succeed([id_], "7") == {}
    assert await ended(lab, id_) == ("succeeded", None)
    assert await lab.requests() == {}


@pytest.mark.parametrize("how", ["failed", "retried", "snoozed", "handed_back", "lost"])
async def test_any_other_end_after_the_request_is_a_cancellation(lab: Lab, how: str) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    await lab.cancel(id_, "the customer left")
    if how == "lost":
        assert await hand.gateway.rescue(hand.id, "killed", 3) == {id_}
    elif how == "handed_back":
        assert await hand.hand_back(id_) == {id_}
    else:
        assert await hand.end(id_, how, delay=60, error="late") == {}
    assert await ended(lab, id_) == ("cancelled", "the customer left")
    assert await lab.requests() == {}


# --- races -----------------------------------------------------------------------------------------------------------


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
    assert await ended(lab, id_) == ("cancelled", "sorry")
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
    assert await ended(lab, free) == ("cancelled", "cancelled on request")
    assert await lab.apply_cancellations() == 1
    assert await ended(lab, held) == ("cancelled", "cancelled on request")
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
    assert await ended(lab, id_) == ("cancelled", "one" if commits else "two")


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
    assert await ended(lab, id_) == ("failed", "E")
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
    assert (await ended(lab, id_))[0] == "cancelled"


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


async def test_by_the_primary_key_only(lab: Lab) -> None:
    hand = await lab.hand()
    (first,) = await lab.put()
    await hand.claim()
    ready, scheduled = (await lab.put())[0], (await lab.put(delay=60))[0]
    session: Any = await lab.session()
    await lab.cancel((await lab.put())[0], on=session)  # plans made while the tables are all but empty
    for queue in ("a", "b"):
        await lab.put(20_000, queue=queue)
    async with explained(session) as seen:
        for id_ in (first, ready, scheduled):
            await lab.cancel(id_, on=session)
    assert seen.offences(sorted_rows=1) == []
    assert seen.buffers() < 200
    await lab.ask_to_cancel((await lab.put())[0])
    await lab.apply_cancellations()
    await lab.ask_to_cancel((await lab.put())[0])
    async with explained(lab.eye) as seen:
        assert await lab.apply_cancellations() == 1
    assert seen.offences() == []
    assert seen.buffers() < 200
    async with explained(lab.eye) as seen:
        await lab.eye.execute("DELETE FROM uno_jobs.cancel_requests")
        assert await lab.apply_cancellations() == 0
    assert seen.buffers() < 20, "the look at an empty table is a page"

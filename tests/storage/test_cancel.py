"""``cancel``: what it does in each state, and what becomes of a job that was asked to stop."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.storage.plans import explained
from uno_jobs.moments import moment

if TYPE_CHECKING:
    from tests.storage.lab import Lab

pytestmark = pytest.mark.server_versions


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
    assert await lab.ended(id_) == ("cancelled", "not wanted")
    outcome = await lab.outcome(id_)
    assert outcome is not None
    assert (outcome["attempt"], outcome["failures"], outcome["started_at"]) == (0, 0, None)
    assert await ear.so_far() == []
    assert await lab.requests() == {}


async def test_without_a_reason_it_says_so(lab: Lab) -> None:
    (id_,) = await lab.put()
    await lab.cancel(id_)
    assert await lab.ended(id_) == ("cancelled", "cancelled on request")


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
        moment(job["started_at"]),
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
    assert await lab.ended(id_) == ("cancelled", "first")
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


@pytest.mark.invariants(side_tables=False)  # those who wait are told, and still there
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


@pytest.mark.invariants(side_tables=False)  # who waits for the job is still there
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
    assert await lab.ended(id_) == ("succeeded", None)
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
    assert await lab.ended(id_) == ("cancelled", "the customer left")
    assert await lab.requests() == {}


# --- its plans -------------------------------------------------------------------------------------------------------


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

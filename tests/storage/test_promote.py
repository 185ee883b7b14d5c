"""Scheduled jobs become ready, expired ones are cancelled; nobody's open transaction holds the others up."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from uuid import UUID

    from tests.storage.lab import Lab

pytestmark = pytest.mark.server_versions

START = datetime(1970, 1, 1, tzinfo=UTC)


async def make_due(lab: Lab, *ids: UUID) -> None:
    """Bring jobs' times into the past, the first one's first."""
    await lab.eye.execute(
        "UPDATE uno_jobs.live_jobs l SET run_at = now() - interval '1 hour' + g.place * interval '1 second'"
        " FROM unnest($1::uuid[]) WITH ORDINALITY AS g (id, place) WHERE l.id = g.id",
        ids,
    )


async def test_due_jobs_become_ready_in_the_order_of_their_times(lab: Lab) -> None:
    ids = await lab.put(20, delay=3600)
    queues = ["z", "y", "x"]
    for place, id_ in enumerate(ids):
        await lab.eye.execute("UPDATE uno_jobs.live_jobs SET queue = $2 WHERE id = $1", id_, queues[place % 3])
        await lab.eye.execute("UPDATE uno_jobs.jobs SET queue = $2 WHERE id = $1", id_, queues[place % 3])
    order = ids[::-1]
    await make_due(lab, *order)
    hand = await lab.hand()
    done = await hand.gateway.promote(100, START)
    assert done.promoted == 20
    rows = await lab.eye.fetch("SELECT id, run_at, state FROM uno_jobs.live_jobs ORDER BY seq")
    assert [row["id"] for row in rows] == order
    assert {(row["run_at"], row["state"]) for row in rows} == {(None, "ready")}


async def test_only_what_is_due_and_no_more_than_asked(lab: Lab) -> None:
    ids = await lab.put(5, delay=3600)
    await make_due(lab, *ids[:3])
    hand = await lab.hand()
    first = await hand.gateway.promote(2, START)
    assert first.promoted == 2
    assert first.next_due is not None
    second = await hand.gateway.promote(2, START)
    assert second.promoted == 1
    third = await hand.gateway.promote(2, START)
    assert (third.promoted, third.reached) == (0, None)
    later = await lab.one("SELECT min(run_at) AS due FROM uno_jobs.live_jobs WHERE state = 'scheduled'")
    assert third.next_due == later["due"]
    assert await lab.states() == {"ready": 3, "scheduled": 2}


async def test_nothing_scheduled_is_due_never(lab: Lab) -> None:
    await lab.put()
    hand = await lab.hand()
    done = await hand.gateway.promote(10, START)
    assert (done.promoted, done.reached, done.next_due) == (0, None, None)


async def test_a_floor_passes_over_what_is_older(lab: Lab) -> None:
    ids = await lab.put(3, delay=3600)
    await make_due(lab, *ids)
    hand = await lab.hand()
    done = await hand.gateway.promote(2, START)
    assert done.reached is not None
    await make_due(lab, ids[2])
    await lab.eye.execute("UPDATE uno_jobs.live_jobs SET run_at = run_at - interval '1 day' WHERE state = 'scheduled'")
    assert (await hand.gateway.promote(2, done.reached)).promoted == 0
    assert (await hand.gateway.promote(2, START)).promoted == 1


async def test_an_open_transaction_holds_up_its_own_row_only(lab: Lab) -> None:
    """Hazard 5: a caller deleted one scheduled row and has not committed."""
    ids = await lab.put(5, delay=3600)
    await make_due(lab, *ids)
    hand, caller = await lab.hand(), await lab.session()
    async with caller.transaction():
        await caller.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", ids[0])
        async with asyncio.timeout(30):
            assert (await hand.gateway.promote(100, START)).promoted == 4
    assert (await hand.gateway.promote(100, START)).promoted == 1


async def test_two_promote_at_once(lab: Lab) -> None:
    ids = await lab.put(40, delay=3600)
    await make_due(lab, *ids)
    one, two = await lab.hand(), await lab.hand()
    async with one.connection.transaction():
        first = await one.gateway.promote(15, START)
        second = await two.gateway.promote(100, START)
    assert (first.promoted, second.promoted) == (15, 25)
    assert (await lab.one("SELECT count(DISTINCT seq) AS n FROM uno_jobs.live_jobs"))["n"] == 40


async def test_a_retry_is_promoted_like_any_other(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    await hand.end(id_, "retried", delay=3600)
    await make_due(lab, id_)
    await hand.gateway.promote(10, START)
    (job,) = await hand.claim()
    assert (job["id"], job["attempt"], job["failures"]) == (id_, 2, 1)


async def test_a_delay_counts_from_the_statement(lab: Lab) -> None:
    """Hazard 21: not from the start of the caller's transaction."""
    caller = await lab.session()
    async with caller.transaction():
        begun = await caller.fetchval("SELECT now()")
        await lab.until("SELECT clock_timestamp() > $1::timestamptz + interval '20 ms'", begun)
        (id_,) = await lab.put(delay=10, on=caller)
    row = await lab.one("SELECT created_at, run_at FROM uno_jobs.jobs WHERE id = $1", id_)
    assert row["created_at"] > begun + timedelta(milliseconds=15)
    assert row["run_at"] - row["created_at"] == timedelta(seconds=10)


async def test_a_delay_that_is_over_is_ready_at_once(lab: Lab) -> None:
    (id_,) = await lab.put(delay=0)
    live = await lab.live(id_)
    assert live is not None
    assert (live["state"], live["run_at"]) == ("ready", None)


async def test_expired_jobs_are_cancelled_unless_they_started(lab: Lab) -> None:
    hand = await lab.hand()
    started = (await lab.put(expires=3600))[0]
    await hand.claim()
    late = await lab.put(3, expires=0)
    scheduled = (await lab.put(delay=3600, expires=0))[0]
    fresh = (await lab.put(expires=3600))[0]
    assert await hand.gateway.expire(2) == 2
    assert await hand.gateway.expire(100) == 2
    assert await hand.gateway.expire(100) == 0
    for id_ in [*late, scheduled]:
        outcome = await lab.outcome(id_)
        assert outcome is not None
        assert (outcome["state"], outcome["error"], outcome["attempt"], outcome["started_at"]) == (
            "cancelled",
            "expired before it started",
            0,
            None,
        )
    assert await lab.live(fresh) is not None
    assert await hand.succeed([started]) == {}


async def test_a_retried_job_no_longer_expires(lab: Lab) -> None:
    (id_,) = await lab.put(expires=3600)
    hand = await lab.hand()
    await hand.claim()
    await hand.end(id_, "retried", delay=0)
    live = await lab.live(id_)
    assert live is not None
    assert live["expires_at"] is None


async def test_an_expired_row_that_is_locked_holds_up_nothing(lab: Lab) -> None:
    ids = await lab.put(3, expires=0)
    hand, caller = await lab.hand(), await lab.session()
    async with caller.transaction():
        await caller.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", ids[0])
        async with asyncio.timeout(30):
            assert await hand.gateway.expire(100) == 2
    assert await hand.gateway.expire(100) == 1

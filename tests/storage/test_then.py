"""A job that adds steps at its end (job.then), beside all that others do to its workflow meanwhile (hazard 11)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.storage.test_workflows import states
from tests.storage.workflows import Node, put_workflow, succeed_adding

if TYPE_CHECKING:
    from uuid import UUID

    from tests.storage.lab import Hand, Lab

pytestmark = [pytest.mark.server_versions, pytest.mark.invariants(retried_by_hand=True)]

BOTH_THEN_ONE = [Node(), Node(), Node((0, 1))]
ONE_MORE = [Node(), Node((0,))]


class Adding:
    """A job's end with an addition, in a transaction that is still open."""

    def __init__(self, lab: Lab, hand: Hand, id_: UUID) -> None:
        self._lab, self._hand, self._id = lab, hand, id_
        self.connection: Any = None

    async def begin(self) -> UUID:
        """Do all but commit; returns the job that was added."""
        self.connection = self.connection or await self._lab.session()
        self._transaction = self.connection.transaction()
        await self._transaction.start()
        async with asyncio.timeout(10):
            return (await succeed_adding(self.connection, self._id, self._hand.leases[self._id], ONE_MORE))[-1]

    async def commit(self) -> None:
        await self._transaction.commit()

    async def rollback(self) -> None:
        await self._transaction.rollback()


async def pending(lab: Lab, id_: UUID) -> int | None:
    live = await lab.live(id_)
    return None if live is None else live["pending_parents"]


async def end(hand: Hand, *ids: UUID) -> None:
    await hand.claim()
    assert await hand.succeed(ids) == {}


@pytest.mark.parametrize("sibling_ends", ["before", "inside", "around"])
async def test_a_sibling_that_ends_meanwhile_is_counted_once(lab: Lab, sibling_ends: str) -> None:
    ids = await put_workflow(lab, BOTH_THEN_ONE)
    hand = await lab.hand()
    await hand.claim()
    adding = Adding(lab, hand, ids[0])
    match sibling_ends:
        case "before":
            assert await hand.succeed([ids[1]]) == {}
            added = await adding.begin()
            await adding.commit()
        case "inside":
            added = await adding.begin()
            # Nobody waits: the child's row is not touched by what is added.
            assert await hand.succeed([ids[1]]) == {}
            assert await pending(lab, ids[2]) == 1
            await adding.commit()
        case _:
            ending = hand.connection.transaction()
            await ending.start()
            assert await hand.succeed([ids[1]]) == {}
            added = await adding.begin()
            await adding.commit()
            await ending.commit()
    assert await states(lab, [*ids, added]) == ["succeeded", "succeeded", "waiting", "ready"]
    assert await pending(lab, ids[2]) == 1
    await end(hand, added)
    assert await states(lab, ids) == ["succeeded", "succeeded", "ready"]


async def test_a_sibling_that_fails_meanwhile_ends_the_child_and_its_retry_waits_for_what_was_added(lab: Lab) -> None:
    ids = await put_workflow(lab, BOTH_THEN_ONE)
    hand = await lab.hand()
    await hand.claim()
    adding = Adding(lab, hand, ids[0])
    added = await adding.begin()
    assert await hand.end(ids[1], "failed", error="no") == {}
    await adding.commit()
    assert await states(lab, [*ids, added]) == ["succeeded", "failed", "cancelled", "ready"]
    await lab.retry(ids[1])
    await lab.eye.execute("SELECT uno_jobs.release_pending(10)")
    assert await pending(lab, ids[2]) == 2
    await end(hand, added, ids[1])
    assert await states(lab, ids) == ["succeeded", "succeeded", "ready"]


@pytest.mark.parametrize("first", ["the retry", "the addition"])
async def test_a_retry_that_revives_the_child_meanwhile_counts_what_was_added(lab: Lab, first: str) -> None:
    ids = await put_workflow(lab, BOTH_THEN_ONE)
    hand = await lab.hand()
    await hand.claim()
    assert await hand.end(ids[1], "failed", error="no") == {}
    caller = await lab.session()
    retrying = caller.transaction()
    await retrying.start()
    await lab.retry(ids[1], on=caller)
    adding = Adding(lab, hand, ids[0])
    added = await adding.begin()
    for one in (retrying, adding) if first == "the retry" else (adding, retrying):
        await one.commit()
        await lab.eye.execute("SELECT uno_jobs.release_pending(10)")
    assert await states(lab, [*ids, added]) == ["succeeded", "ready", "waiting", "ready"]
    assert await pending(lab, ids[2]) == 2
    await end(hand, ids[1], added)
    assert await states(lab, ids) == ["succeeded", "succeeded", "ready"]


@pytest.mark.parametrize("lost_first", [True, False])
async def test_the_job_s_own_end_and_its_addition_exclude_each_other(lab: Lab, lost_first: bool) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,))])
    hand = await lab.hand()
    await hand.claim()
    adding = Adding(lab, hand, ids[0])
    if lost_first:
        losing = hand.connection.transaction()
        await losing.start()
        assert await hand.gateway.rescue(hand.id, "a test", 3) == {ids[0]}
        adding.connection = await lab.session()
        begun = asyncio.create_task(adding.begin())
        await lab.blocked(adding.connection)
        await losing.commit()
        with pytest.raises(asyncpg.PostgresError, match="the lease of job") as raised:
            await begun
        assert raised.value.sqlstate == "UJ001"
        await adding.rollback()
        assert await states(lab, ids) == ["ready", "waiting"]
        assert await lab.eye.fetchval("SELECT count(*) FROM uno_jobs.jobs") == 2
        assert await lab.eye.fetchval("SELECT array_agg(parent_id) FROM uno_jobs.job_edges") == [ids[0]]
    else:
        added = await adding.begin()
        assert await hand.gateway.rescue(hand.id, "a test", 3) == set()
        assert await hand.end(ids[0], "failed", error="no") == {ids[0]: "locked"}
        await adding.commit()
        assert await hand.end(ids[0], "failed", error="no") == {ids[0]: "stale"}
        assert await states(lab, [ids[0], added, ids[1]]) == ["succeeded", "ready", "waiting"]


async def test_a_rollback_leaves_all_as_it_was(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,))])
    hand = await lab.hand()
    await hand.claim()
    adding = Adding(lab, hand, ids[0])
    await adding.begin()
    await adding.rollback()
    assert await hand.succeed([ids[0]]) == {}
    assert await states(lab, ids) == ["succeeded", "ready"]
    assert await lab.eye.fetchval("SELECT count(*) FROM uno_jobs.jobs") == 2


@pytest.mark.parametrize("cancelled", ["before", "after", "inside", "around"])
async def test_a_cancelled_workflow_s_additions_are_cancelled(lab: Lab, cancelled: str) -> None:
    """Naively what is added while the workflow is cancelled would be seen by nobody, and run."""
    ids = await put_workflow(lab, [Node(), Node((0,))])
    workflow = await lab.eye.fetchval("SELECT workflow_id FROM uno_jobs.jobs LIMIT 1")
    hand = await lab.hand()
    await hand.claim()
    adding = Adding(lab, hand, ids[0])
    caller = await lab.session()
    cancelling = caller.transaction()
    await cancelling.start()

    async def cancel() -> str:
        return await caller.fetchval("SELECT uno_jobs.cancel_workflow($1, 'enough')", workflow)

    match cancelled:
        case "before":
            assert await cancel() == "requested"
            await cancelling.commit()
            added = await adding.begin()
            await adding.commit()
            assert await lab.ended(added) == ("cancelled", "enough"), "it never could have run"
        case "after":
            added = await adding.begin()
            await adding.commit()
            assert await cancel() == "cancelled"
            await cancelling.commit()
        case "inside":
            added = await adding.begin()
            assert await cancel() == "requested"
            await cancelling.commit()
            await adding.commit()
        case _:
            assert await cancel() == "requested"
            added = await adding.begin()
            await adding.commit()
            await cancelling.commit()
    await lab.apply_cancellations()
    assert await lab.ended(added) == ("cancelled", "enough")
    assert await lab.ended(ids[1]) == ("cancelled", "enough")
    assert await states(lab, ids[:1]) == ["succeeded"]
    assert await lab.eye.fetchval("SELECT count(*) FROM uno_jobs.workflow_cancellations") == 0
    # A request that was committed while the job ended is nobody's any more.
    await lab.eye.execute("DELETE FROM uno_jobs.cancel_requests")


async def test_what_is_added_while_its_workflow_s_cancellation_waits_is_cancelled(lab: Lab) -> None:
    """Naively the job that adds has ended before it is remembered, and what it added is not among what was listed."""
    ids = await put_workflow(lab, [Node(), Node((0,))])
    workflow = await lab.eye.fetchval("SELECT workflow_id FROM uno_jobs.jobs LIMIT 1")
    hand, other, caller = await lab.hand(), await lab.session(), await lab.session()
    await hand.claim()
    holding = other.transaction()
    await holding.start()
    assert await lab.cancel(ids[0], on=other) == "requested"
    cancelling = asyncio.create_task(caller.fetchval("SELECT uno_jobs.cancel_workflow($1, 'enough')", workflow))
    await lab.blocked(caller)
    adding = Adding(lab, hand, ids[0])
    added = await adding.begin()
    await adding.commit()
    await holding.rollback()
    await cancelling
    await lab.apply_cancellations()
    assert await lab.ended(added) == ("cancelled", "enough")
    assert await states(lab, ids) == ["succeeded", "cancelled"]
    assert await lab.eye.fetchval("SELECT count(*) FROM uno_jobs.workflow_cancellations") == 0
    # As above.
    await lab.eye.execute("DELETE FROM uno_jobs.cancel_requests")


async def test_a_job_that_is_retried_after_its_workflow_was_cancelled_may_add(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,))])
    workflow = await lab.eye.fetchval("SELECT workflow_id FROM uno_jobs.jobs LIMIT 1")
    hand = await lab.hand()
    await hand.claim()
    await lab.eye.execute("SELECT uno_jobs.cancel_workflow($1)", workflow)
    assert await hand.end(ids[0], "cancelled") == {}
    await lab.retry(ids[0])
    await hand.claim()
    adding = Adding(lab, hand, ids[0])
    added = await adding.begin()
    await adding.commit()
    await lab.apply_cancellations()
    assert await states(lab, [added]) == ["ready"]


async def test_who_cancels_the_child_holds_up_nobody(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,)), Node((1,))])
    hand = await lab.hand()
    await hand.claim()
    caller = await lab.session()
    cancelling = caller.transaction()
    await cancelling.start()
    await lab.cancel(ids[1], on=caller)
    adding = Adding(lab, hand, ids[0])
    added = await adding.begin()
    await adding.commit()
    await cancelling.commit()
    assert await states(lab, [ids[0], added, *ids[1:]]) == ["succeeded", "ready", "cancelled", "cancelled"]


async def test_two_members_add_at_once(lab: Lab) -> None:
    ids = await put_workflow(lab, BOTH_THEN_ONE)
    hand = await lab.hand()
    await hand.claim()
    one, two = Adding(lab, hand, ids[0]), Adding(lab, hand, ids[1])
    added = [await one.begin(), await two.begin()]
    await two.commit()
    await one.commit()
    assert await pending(lab, ids[2]) == 2
    await end(hand, *added)
    assert await states(lab, ids) == ["succeeded", "succeeded", "ready"]


async def test_an_added_join_gives_its_list_at_once_where_nothing_is_in_it(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,), join=True), Node((1,))])
    hand = await lab.hand()
    await hand.claim()
    async with hand.connection.transaction():
        added = await succeed_adding(hand.connection, ids[0], hand.leases[ids[0]], [Node(), Node((0,), join=True)], "5")
    assert await states(lab, [*ids, *added]) == ["succeeded", "succeeded", "ready", "succeeded"]
    assert await lab.eye.fetchval("SELECT result FROM uno_jobs.outcomes WHERE id = $1", ids[1]) == "[[5]]"

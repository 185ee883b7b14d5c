"""Retries by hand beside parents that fail, and other retries, in the same moment (hazard 11)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.storage.test_workflows import states
from tests.storage.workflows import Node, put_workflow

if TYPE_CHECKING:
    from tests.storage.lab import Lab

pytestmark = [pytest.mark.server_versions, pytest.mark.invariants(retried_by_hand=True)]


async def recount(lab: Lab) -> None:
    await lab.eye.execute("SELECT uno_jobs.release_pending(1000)")


async def test_a_parent_that_fails_while_its_child_is_revived_cancels_it_again(lab: Lab) -> None:
    """Naively it is neither seen to have failed nor waited for, and its child runs."""
    # The fourth and the fifth are there for the revival to wait, between its look for failures and its count.
    ids = await put_workflow(lab, [Node(), Node(), Node((0, 1)), Node(), Node((0, 3), run_anyway=True)])
    hand, holder, caller = await lab.hand(), await lab.session(), await lab.session()
    await hand.claim()
    assert await hand.end(ids[0], "failed", error="no") == {}
    holding = holder.transaction()
    await holding.start()
    await holder.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", ids[4])
    retrying = asyncio.create_task(lab.retry(ids[0], on=caller))
    await lab.blocked(caller)
    assert await hand.end(ids[1], "failed", error="no") == {}
    await holding.rollback()
    await retrying
    await recount(lab)
    await hand.claim()
    assert await hand.succeed([ids[0]]) == {}
    assert (await states(lab, ids))[:3] == ["succeeded", "failed", "cancelled"]


async def test_a_parent_that_fails_while_its_child_is_retried_refuses_that(lab: Lab) -> None:
    """Naively it is looked at twice, and counts neither as failed nor as live."""
    ids = await put_workflow(lab, [Node(), Node((0,))])
    hand, holder, caller = await lab.hand(), await lab.session(), await lab.session()
    await hand.claim()
    await lab.cancel(ids[1])
    holding = holder.transaction()
    await holding.start()
    # Only who counts parents looks there.
    await holder.execute("LOCK TABLE uno_jobs.pending_releases IN ACCESS EXCLUSIVE MODE")
    retrying = asyncio.create_task(lab.retry(ids[1], on=caller))
    await lab.blocked(caller)
    assert await hand.end(ids[0], "failed", error="no") == {}
    await holding.rollback()
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match=f"waits for job {ids[0]}"):
        await retrying
    assert await states(lab, ids) == ["failed", "cancelled"]


@pytest.mark.parametrize("first", [0, 1])
async def test_two_who_retry_one_failed_parent_each_revive_their_child(lab: Lab, first: int) -> None:
    """Naively each sees the other's as still failed, and the child stays cancelled for good."""
    ids = await put_workflow(lab, [Node(), Node(), Node((0, 1)), Node((2,))])
    hand, one, other = await lab.hand(), await lab.session(), await lab.session()
    await hand.claim()
    assert await hand.end(ids[0], "failed", error="no") == {}
    assert await hand.end(ids[1], "failed", error="no") == {}
    retrying = one.transaction()
    await retrying.start()
    await lab.retry(ids[first], on=one)
    second = asyncio.create_task(lab.retry(ids[1 - first], on=other))
    await lab.blocked(other)
    await retrying.commit()
    await second
    await recount(lab)
    assert await states(lab, ids) == ["ready", "ready", "waiting", "waiting"]


@pytest.mark.parametrize("move", ["retry", "cancel"])
async def test_two_who_move_the_same_jobs_in_opposite_order_wait_for_each_other(lab: Lab, move: str) -> None:
    """Naively each waits for what the other has, until PostgreSQL ends one of them."""
    ids = sorted(await lab.put(2))
    if move == "retry":
        hand = await lab.hand()
        await hand.claim()
        assert await hand.end(ids, "failed", error="no") == {}
    one, other = await lab.session(), await lab.session()
    moving = one.transaction()
    await moving.start()
    await one.execute(f"SELECT uno_jobs.{move}($1)", ids[0])
    both = f"SELECT id, answer FROM uno_jobs.{move}_many($1)"
    waiting = asyncio.create_task(other.fetch(both, ids[::-1]))
    await lab.blocked(other)
    await one.execute(f"SELECT uno_jobs.{move}($1)", ids[1])
    await moving.commit()
    answer = "ready" if move == "retry" else "finished"
    assert {row["id"]: row["answer"] for row in await waiting} == dict.fromkeys(ids, answer)

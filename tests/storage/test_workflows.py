"""Workflows in SQL: who is released, cancelled or joined by whose end, and who is never waited for."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.storage.workflows import Node, put_workflow

if TYPE_CHECKING:
    from uuid import UUID

    from tests.storage.lab import Lab

pytestmark = pytest.mark.server_versions


async def states(lab: Lab, ids: list[UUID]) -> list[str]:
    rows = dict(await lab.eye.fetch("SELECT id, state::text FROM uno_jobs.job_status WHERE id = ANY ($1)", ids))
    return [rows[id_] for id_ in ids]


async def test_a_chain_goes_on_step_by_step(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,)), Node((1,))])
    hand = await lab.hand()
    for step, id_ in enumerate(ids):
        assert await states(lab, ids) == ["succeeded"] * step + ["ready"] + ["waiting"] * (2 - step)
        assert [job["id"] for job in await hand.claim()] == [id_]
        assert await hand.succeed([id_], json.dumps(step)) == {}
    assert await states(lab, ids) == ["succeeded"] * 3


async def test_a_join_has_the_results_in_the_order_of_the_group(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node(), Node(), Node((2, 0, 1), join=True), Node((3,)), Node((3,))])
    hand = await lab.hand()
    await hand.claim()
    for place in (1, 2, 0):
        assert await hand.succeed([ids[place]], json.dumps(f"r{place}")) == {}
    outcome = await lab.outcome(ids[3])
    assert outcome is not None
    assert (outcome["state"], json.loads(outcome["result"])) == ("succeeded", ["r2", "r0", "r1"])
    assert {job["id"] for job in await hand.claim()} == set(ids[4:])


async def test_empty_groups_are_over_at_once_at_any_depth(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(join=True), Node((0,), join=True), Node((1,))])
    assert await states(lab, ids) == ["succeeded", "succeeded", "ready"]
    outcomes = [await lab.outcome(id_) for id_ in ids[:2]]
    assert [json.loads(one["result"]) for one in outcomes if one] == [[], [[]]]


async def test_a_failure_ends_all_that_depends_on_it_and_no_sibling(lab: Lab) -> None:
    nodes = [Node(), Node(), Node((0, 1)), Node((2,)), Node((1,))]
    ids = await put_workflow(lab, nodes)
    hand = await lab.hand()
    await hand.claim()
    assert await hand.end(ids[0], "failed", error_type="E", error="no") == {}
    assert await states(lab, ids) == ["failed", "running", "cancelled", "cancelled", "waiting"]
    for id_ in ids[2:4]:
        outcome = await lab.outcome(id_)
        assert outcome is not None
        assert outcome["cancelled_because"] == ids[0]
        assert outcome["error"] == f"job {ids[0]}, which it waited for, failed"
    assert await hand.succeed([ids[1]]) == {}
    assert await states(lab, ids) == ["failed", "succeeded", "cancelled", "cancelled", "ready"]


async def test_run_anyway_waits_for_all_parents_and_then_runs(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node(), Node((0, 1), run_anyway=True), Node((2,))])
    hand = await lab.hand()
    await hand.claim()
    assert await hand.end(ids[0], "failed", error="no") == {}
    assert (await states(lab, ids))[2:] == ["waiting", "waiting"]
    assert await hand.end(ids[1], "cancelled", error="no") == {}
    assert (await states(lab, ids))[2:] == ["ready", "waiting"]


async def test_a_join_before_a_cleaning_up_step_keeps_its_list_with_null_for_what_failed(lab: Lab) -> None:
    ids = await put_workflow(
        lab, [Node(), Node(), Node((0, 1), join=True, run_anyway=True), Node((2,), run_anyway=True), Node((2,))]
    )
    hand = await lab.hand()
    await hand.claim()
    assert await hand.succeed([ids[0]], "1") == {}
    assert await hand.end(ids[1], "failed", error="no") == {}
    outcome = await lab.outcome(ids[2])
    assert outcome is not None
    assert (outcome["state"], json.loads(outcome["result"]), outcome["cancelled_because"]) == (
        "cancelled",
        [1, None],
        ids[1],
    )
    assert (await states(lab, ids))[3:] == ["ready", "cancelled"]


async def test_a_child_that_somebody_holds_leaves_its_parent_for_the_next_round(lab: Lab) -> None:
    """Hazard 5: a caller's open transaction never stops a batch."""
    ids = await put_workflow(lab, [Node(), Node((0,))])
    (other,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    caller = await lab.session()
    for succeeds in (True, False):
        async with caller.transaction():
            await caller.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", ids[1])
            if succeeds:
                assert await hand.succeed([ids[0], other]) == {ids[0]: "locked"}
            else:
                assert await hand.end(ids[0], "failed", error="no") == {ids[0]: "locked"}
                # What does not end the job needs nobody else's row.
                assert await hand.end(ids[0], "retried", delay=0) == {}
                await hand.claim()
    assert await hand.succeed([ids[0]]) == {}
    assert await states(lab, ids) == ["succeeded", "ready"]


async def test_what_cannot_be_reached_further_down_is_reached_later(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,)), Node((1,)), Node((2,))])
    hand = await lab.hand()
    await hand.claim()
    caller = await lab.session()
    async with caller.transaction():
        await caller.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", ids[2])
        assert await hand.end(ids[0], "failed", error="no") == {}
        assert await states(lab, ids) == ["failed", "cancelled", "waiting", "waiting"]
        assert await lab.eye.fetchval("SELECT uno_jobs.release_pending(100)") == 0
    assert await lab.eye.fetchval("SELECT uno_jobs.release_pending(100)") == 1
    assert await states(lab, ids) == ["failed", "cancelled", "cancelled", "cancelled"]
    assert await lab.eye.fetchval("SELECT uno_jobs.release_pending(100)") == 0


async def test_the_end_of_a_long_chain_is_told_in_parts(lab: Lab) -> None:
    """Naively the call takes time for each step: more than it has, and then again and again."""
    ids = await put_workflow(lab, [Node(), *(Node((place,)) for place in range(1_499))])
    hand = await lab.hand()
    await hand.claim()
    assert await hand.end(ids[0], "failed", error="no") == {}
    assert Counter(await states(lab, ids)) == {"failed": 1, "cancelled": 1_000, "waiting": 499}
    assert await lab.eye.fetchval("SELECT uno_jobs.release_pending(100)") == 1
    assert Counter(await states(lab, ids)) == {"failed": 1, "cancelled": 1_499}
    assert await lab.eye.fetchval("SELECT uno_jobs.release_pending(100)") == 0
    because = await lab.eye.fetch("SELECT DISTINCT cancelled_because FROM uno_jobs.outcomes WHERE id <> $1", ids[0])
    assert [row[0] for row in because] == [ids[0]]


async def test_a_step_whose_key_is_taken_refuses_the_whole_workflow(lab: Lab) -> None:
    holder = (await lab.put_unique("k"))["id"]
    with pytest.raises(asyncpg.PostgresError, match=str(holder)) as refused:
        await put_workflow(lab, [Node(), Node((0,), key="k")])
    assert refused.value.sqlstate == "UJ003"
    assert await lab.states() == {"ready": 1}
    assert await lab.eye.fetchval("SELECT count(*) FROM uno_jobs.job_edges") == 0


async def test_an_expired_step_ends_what_waits_for_it(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,))])
    await lab.eye.execute("UPDATE uno_jobs.live_jobs SET expires_at = now() - interval '1 s' WHERE id = $1", ids[0])
    assert await lab.eye.fetchval("SELECT uno_jobs.expire(100)") == 1
    assert await states(lab, ids) == ["cancelled", "cancelled"]


async def test_cancelling_a_step_ends_what_waits_for_it_in_the_callers_transaction(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,)), Node((1,)), Node((2,), run_anyway=True)])
    caller = await lab.session()
    transaction = caller.transaction()
    await transaction.start()
    assert await caller.fetchval("SELECT uno_jobs.cancel($1)", ids[1]) == "cancelled"
    await transaction.rollback()
    assert await states(lab, ids) == ["ready", "waiting", "waiting", "waiting"]
    assert await caller.fetchval("SELECT uno_jobs.cancel($1)", ids[1]) == "cancelled"
    assert await states(lab, ids) == ["ready", "cancelled", "cancelled", "ready"]
    outcome = await lab.outcome(ids[2])
    assert outcome is not None
    assert outcome["error"] == f"job {ids[1]}, which it waited for, was cancelled"


async def test_many_members_finished_by_four_workers_release_their_successor_once(lab: Lab) -> None:
    members = 2000
    ids = await put_workflow(lab, [*(Node() for _ in range(members)), Node(tuple(range(members)))])
    hands = [await lab.hand() for _ in range(4)]

    async def work(hand: Any) -> None:
        while jobs := await hand.claim(97):
            left = [job["id"] for job in jobs if job["id"] != ids[-1]]
            while left:
                left = list(await hand.succeed(left))

    async with asyncio.timeout(60):
        await asyncio.gather(*(work(hand) for hand in hands))
    final = await lab.live(ids[-1])
    assert final is not None
    assert (final["attempt"], final["pending_parents"]) == (1, 0)
    assert await lab.states() == {"succeeded": members, "running": 1}


@pytest.mark.parametrize("seed", range(30))
async def test_any_graph_ends_as_a_model_says(lab: Lab, seed: int) -> None:
    """Random graphs, ends in random order and batches; whether the counts are right is checked after each batch."""
    chance = random.Random(seed)
    nodes: list[Node] = []
    for place in range(chance.randint(2, 25)):
        parents = tuple(chance.sample(range(place), chance.randint(0, min(place, 4))))
        nodes.append(Node(parents, run_anyway=chance.random() < 0.2, join=chance.random() < 0.25))
    ids = await put_workflow(lab, nodes)
    hand = await lab.hand()
    verdicts = {id_: "failed" if chance.random() < 0.2 else "succeeded" for id_ in ids}
    held: list[UUID] = []
    while True:
        held += [job["id"] for job in await hand.claim(chance.randint(1, 5))]
        if not held:
            break
        batch = chance.sample(held, chance.randint(1, len(held)))
        assert await hand.succeed([id_ for id_ in batch if verdicts[id_] == "succeeded"]) == {}
        assert await hand.end([id_ for id_ in batch if verdicts[id_] == "failed"], "failed", error="no") == {}
        held = [id_ for id_ in held if id_ not in batch]

    expected: list[str] = []
    for id_, node in zip(ids, nodes, strict=True):
        fine = all(expected[parent] == "succeeded" for parent in node.parents)
        if not fine and (node.join or not node.run_anyway):
            expected.append("cancelled")
        else:
            expected.append("succeeded" if node.join else verdicts[id_])
    assert await states(lab, ids) == expected

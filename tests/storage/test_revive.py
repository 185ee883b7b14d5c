"""A retry by hand brings back what was cancelled because of the job, whatever its siblings do meanwhile (hazard 11)."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.storage import invariants
from tests.storage.history import put_finished
from tests.storage.plans import explained
from tests.storage.test_workflows import states
from tests.storage.workflows import Node, put_workflow

if TYPE_CHECKING:
    from uuid import UUID

    from tests.storage.lab import Lab

pytestmark = [pytest.mark.server_versions, pytest.mark.invariants(retried_by_hand=True)]


async def retry(lab: Lab, id_: UUID, on: object = None) -> None:
    await (on or lab.eye).execute("SELECT uno_jobs.retry($1)", id_)


async def recount(lab: Lab) -> None:
    await lab.eye.execute("SELECT uno_jobs.release_pending(1000)")


async def test_the_rest_of_a_chain_waits_again(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,)), Node((1,)), Node((2,), run_anyway=True)])
    hand = await lab.hand()
    await hand.claim()
    assert await hand.succeed([ids[0]]) == {}
    await hand.claim()
    assert await hand.end(ids[1], "failed", error="no") == {}
    assert await states(lab, ids) == ["succeeded", "failed", "cancelled", "ready"]
    await retry(lab, ids[1])
    # What ran to clean up does not run again.
    assert await states(lab, ids) == ["succeeded", "ready", "waiting", "ready"]
    for id_ in (ids[1], ids[2]):
        assert id_ in {job["id"] for job in await hand.claim()}
        assert await hand.succeed([id_]) == {}
    assert (await states(lab, ids))[:3] == ["succeeded"] * 3


@pytest.mark.parametrize("sibling_ends", ["before the retry commits", "after the retry commits"])
async def test_a_sibling_that_ends_meanwhile_is_counted_once(lab: Lab, sibling_ends: str) -> None:
    """Naively the child would wait for ever for a parent that had ended unseen."""
    ids = await put_workflow(lab, [Node(), Node(), Node((0, 1))])
    hand = await lab.hand()
    await hand.claim()
    assert await hand.end(ids[0], "failed", error="no") == {}
    caller = await lab.session()
    transaction = caller.transaction()
    await transaction.start()
    await retry(lab, ids[0], on=caller)
    if sibling_ends == "before the retry commits":
        # Nothing that runs is locked by the caller.
        assert await hand.succeed([ids[1]]) == {}
        await transaction.commit()
    else:
        await transaction.commit()
        assert await hand.succeed([ids[1]]) == {}
    await recount(lab)
    assert await states(lab, ids) == ["ready", "succeeded", "waiting"]
    await hand.claim()
    assert await hand.succeed([ids[0]]) == {}
    assert await states(lab, ids) == ["succeeded", "succeeded", "ready"]


async def test_a_count_waits_for_a_parent_that_is_ending(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node(), Node((0, 1))])
    hand = await lab.hand()
    await hand.claim()
    assert await hand.end(ids[0], "failed", error="no") == {}
    ending = hand.connection.transaction()
    await ending.start()
    assert await hand.succeed([ids[1]]) == {}  # sees no child
    await retry(lab, ids[0])
    await recount(lab)
    assert (await lab.one("SELECT count(*) AS n FROM uno_jobs.pending_counts"))["n"] == 1
    await ending.commit()
    await recount(lab)
    live = await lab.live(ids[2])
    assert live is not None
    assert live["pending_parents"] == 1


@pytest.mark.parametrize("join", [False, True])
async def test_what_runs_anyway_and_still_waits_waits_for_the_retried_again(lab: Lab, join: bool) -> None:
    """Naively it would start before the job that was retried has ended, or not be told of that end."""
    ids = await put_workflow(lab, [Node(), Node(), Node(), Node((0, 1, 2), run_anyway=True, join=join)])
    hand = await lab.hand()
    await hand.claim()
    assert await hand.end(ids[0], "failed", error="no") == {}
    await retry(lab, ids[0])
    assert await hand.succeed([ids[1]]) == {}
    await recount(lab)
    assert await hand.succeed([ids[2]]) == {}
    assert (await states(lab, ids))[3] == "waiting"
    await hand.claim()
    assert await hand.succeed([ids[0]]) == {}
    assert (await states(lab, ids))[3] == ("succeeded" if join else "ready")


async def test_another_parent_that_failed_keeps_its_child_cancelled_until_it_is_retried_too(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node(), Node((0, 1)), Node((2,))])
    hand = await lab.hand()
    await hand.claim()
    assert await hand.end(ids[:2], "failed", error="no") == {}
    await retry(lab, ids[0])
    assert await states(lab, ids) == ["ready", "failed", "cancelled", "cancelled"]
    await retry(lab, ids[1])
    await recount(lab)
    assert await states(lab, ids) == ["ready", "ready", "waiting", "waiting"]


async def test_a_join_that_runs_anyway_stays_ended_where_its_parent_stays_cancelled(lab: Lab) -> None:
    """Naively it is revived with nothing to wait for, and waits for ever."""
    ids = await put_workflow(lab, [Node(), Node(), Node((0, 1)), Node((2,), join=True, run_anyway=True), Node((3,))])
    await lab.cancel(ids[0])
    await lab.cancel(ids[1])
    assert await states(lab, ids) == ["cancelled"] * 5
    await retry(lab, ids[0])
    assert await states(lab, ids) == ["ready", "cancelled", "cancelled", "cancelled", "cancelled"]
    await retry(lab, ids[1])
    await recount(lab)
    assert await states(lab, ids) == ["ready", "ready", "waiting", "waiting", "waiting"]


async def test_a_step_whose_parent_failed_is_refused_and_says_which_to_retry(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,)), Node((1,))])
    hand = await lab.hand()
    await hand.claim()
    assert await hand.end(ids[0], "failed", error="no") == {}
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match=f"waits for job {ids[0]}"):
        await retry(lab, ids[2])


async def test_a_key_that_another_job_has_meanwhile_refuses_it_and_changes_nothing(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,), key="k")])
    hand = await lab.hand()
    await hand.claim()
    assert await hand.end(ids[0], "failed", error="no") == {}
    holder = (await lab.put_unique("k"))["id"]
    with pytest.raises(asyncpg.UniqueViolationError, match=str(holder)):
        await retry(lab, ids[0])
    assert await states(lab, ids) == ["failed", "cancelled"]


async def test_a_key_that_is_to_be_freed_at_the_first_start_is_freed_by_the_revived_too(lab: Lab) -> None:
    hand = await lab.hand()
    options = {"unique": True, "unique_until": "started"}
    task = {"task": "t", "version": "1", "sort_key": "1", "options": options, "parameters": [], "schema": {}}
    await hand.register(tasks=json.dumps([task]))
    ids = await put_workflow(lab, [Node(), Node((0,), key="k")])
    await hand.claim()
    assert await hand.end(ids[0], "failed", error="no") == {}
    await retry(lab, ids[0])
    for id_ in ids:
        assert (await lab.put_unique("k"))["id"] == ids[1], "it holds its key while it waits"
        assert [job["id"] for job in await hand.claim()] == [id_]
        if id_ == ids[0]:
            assert await hand.succeed([id_]) == {}
    assert not (await lab.put_unique("k"))["is_duplicate"]


@pytest.mark.parametrize("shape", ["all wait for the first", "a chain", "a chain behind another failure"])
async def test_what_a_revival_reads_grows_with_the_number_of_its_jobs(lab: Lab, shape: str) -> None:
    """Naively each of them is compared with all."""
    count = 500
    parents: list[tuple[int, ...]] = [(place if shape != "all wait for the first" else 0,) for place in range(count)]
    if shape == "a chain behind another failure":
        parents = [(), (0, 1), *((place,) for place in range(2, count))]
    ids = await put_workflow(lab, [Node(), *(Node(one) for one in parents)])
    hand, session = await lab.hand(), await lab.session()
    for id_ in [job["id"] for job in await hand.claim()]:
        assert await hand.end(id_, "failed", error="no") == {}
    await put_finished(lab, 5_000, age=1, state="cancelled")
    await lab.eye.execute("ANALYZE")
    async with explained(session) as seen:
        await retry(lab, ids[0], on=session)
    for node in seen.nodes():
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Join Filter", 0)
        assert (node["Actual Rows"] + removed) * node["Actual Loops"] <= 3 * count, node


@pytest.mark.parametrize("seed", range(30))
async def test_any_graph_succeeds_once_all_failures_are_retried(lab: Lab, seed: int) -> None:
    """Random graphs, ends, cancellations and retries in random order; then everything is retried until it succeeds."""
    chance = random.Random(seed)
    nodes: list[Node] = []
    for place in range(chance.randint(2, 20)):
        parents = tuple(chance.sample(range(place), chance.randint(0, min(place, 4))))
        nodes.append(Node(parents, run_anyway=chance.random() < 0.2, join=chance.random() < 0.25))
    ids = await put_workflow(lab, nodes)
    hand = await lab.hand()
    held: list[UUID] = []
    for round_ in range(400):
        troubled = round_ < 60
        if not await lab.eye.fetchval("SELECT EXISTS (SELECT FROM uno_jobs.outcomes WHERE state <> 'succeeded')"):
            if not troubled and not await lab.eye.fetchval("SELECT EXISTS (SELECT FROM uno_jobs.live_jobs)"):
                break
        elif chance.random() < 0.5:
            wanted = await lab.eye.fetch("SELECT id FROM uno_jobs.outcomes WHERE state <> 'succeeded' ORDER BY id")
            id_ = chance.choice(wanted)["id"]
            try:
                await retry(lab, id_)
            except asyncpg.ObjectNotInPrerequisiteStateError as refused:
                assert "did not succeed" in str(refused)  # noqa: PT017 - only some are refused
        held += [job["id"] for job in await hand.claim(chance.randint(1, 4))]
        if troubled and chance.random() < 0.2:
            await lab.eye.execute("SELECT uno_jobs.cancel($1)", chance.choice(ids))
        if held:
            id_ = held.pop(chance.randrange(len(held)))
            if troubled and chance.random() < 0.3:
                assert await hand.end(id_, "failed", error="no") == {}
            else:
                await hand.succeed([id_])
        if chance.random() < 0.5:
            await recount(lab)
        await invariants.check(lab.eye, retried_by_hand=True, side_tables=False)
    assert set(await states(lab, ids)) == {"succeeded"}


@pytest.mark.parametrize("join", [False, True], ids=["step", "join"])
async def test_what_runs_anyway_waits_again_for_each_parent_that_begins_anew(lab: Lab, join: bool) -> None:
    """Of two, and before anybody has counted; naively it starts while its third parent still runs."""
    ids = await put_workflow(lab, [Node(), Node((0,)), Node(), Node((0, 1, 2), run_anyway=True, join=join)])
    hand = await lab.hand()
    await hand.claim()
    assert await hand.end(ids[0], "failed", error="no") == {}
    await retry(lab, ids[0])
    assert await states(lab, ids) == ["ready", "waiting", "running", "waiting"]
    for id_ in ids[:2]:
        await hand.claim()
        assert await hand.succeed([id_]) == {}
        assert (await states(lab, ids))[3] == "waiting"
    assert await hand.succeed([ids[2]]) == {}
    assert (await states(lab, ids))[3] == ("succeeded" if join else "ready")


async def test_an_end_that_was_never_told_is_not_waited_for_twice(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(), Node(), Node((0, 1), run_anyway=True)])
    hand = await lab.hand()
    await hand.claim()
    await lab.eye.execute("UPDATE uno_jobs.live_jobs SET expires_at = now() - interval '1 s' WHERE id = $1", ids[0])
    assert await hand.hand_back(ids[0]) == {ids[0]}
    holder = await lab.session()
    async with holder.transaction():
        await holder.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", ids[2])
        assert await lab.eye.fetchval("SELECT uno_jobs.expire(10)") == 1
    assert await lab.eye.fetchval("SELECT count(*) FROM uno_jobs.pending_releases") == 1
    await retry(lab, ids[0])
    await recount(lab)
    assert (await lab.live(ids[2]) or {})["pending_parents"] == 2
    assert await hand.succeed([ids[1]]) == {}
    assert await states(lab, ids) == ["ready", "succeeded", "waiting"]
    await hand.claim()
    assert await hand.succeed([ids[0]]) == {}
    assert (await states(lab, ids))[2] == "ready"

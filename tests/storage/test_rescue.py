"""Dead workers: what they ran comes back, who is blamed, and what a worker finds out about itself."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.storage.lab import Lab

pytestmark = pytest.mark.server_versions


async def test_the_jobs_of_a_dead_worker_keep_their_place(lab: Lab) -> None:
    ids = await lab.put(4)
    dead, other = await lab.hand(), await lab.hand()
    await dead.register()
    await dead.claim(3)
    assert await other.gateway.rescue(dead.id, "killed by signal 9", 3) == set(ids[:3])
    assert [job["id"] for job in await other.claim()] == ids
    attempt = await lab.one("SELECT * FROM uno_jobs.attempts WHERE job_id = $1", ids[0])
    assert (attempt["outcome"], attempt["error"], attempt["worker_id"]) == ("lost", "killed by signal 9", dead.id)
    assert await other.gateway.rescue(dead.id, "again", 3) == set()


async def test_a_job_that_kills_its_process_alone_fails_in_the_end(lab: Lab) -> None:
    (id_,) = await lab.put()
    for start in (1, 2, 3):
        hand = await lab.hand()
        await hand.register()
        (job,) = await hand.claim()
        assert (job["attempt"], job["lost"], job["suspect"]) == (start, start - 1, False)
        assert await hand.gateway.rescue(hand.id, "exit code 139", 3) == {id_}
    outcome = await lab.outcome(id_)
    assert outcome is not None
    assert (outcome["state"], outcome["lost"], outcome["attempt"], outcome["failures"]) == ("failed", 3, 3, 0)
    assert (outcome["error_type"], outcome["error"]) == ("WorkerLost", "exit code 139")


async def test_neighbours_are_only_suspect(lab: Lab) -> None:
    """However often they die together, nobody is blamed (hazard 9)."""
    ids = await lab.put(3)
    for _ in range(4):
        hand = await lab.hand()
        await hand.register()
        assert len(await hand.claim()) == 3
        assert await hand.gateway.rescue(hand.id, "killed", 3) == set(ids)
    rows = await lab.eye.fetch("SELECT state, lost, suspect, failures FROM uno_jobs.live_jobs")
    assert [tuple(row) for row in rows] == [("ready", 0, True, 0)] * 3


async def test_the_last_of_many_is_not_taken_for_the_only_one(lab: Lab) -> None:
    """One row was locked during the first rescue; during the second it is the only one left."""
    ids = await lab.put(3)
    dead, other, caller = await lab.hand(), await lab.hand(), await lab.session()
    await dead.register()
    await dead.claim()
    async with caller.transaction():
        await caller.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", ids[2])
        async with asyncio.timeout(30):
            assert await other.gateway.rescue(dead.id, "killed", 1) == set(ids[:2])
    assert await other.gateway.rescue(dead.id, "killed", 1) == {ids[2]}
    live = await lab.live(ids[2])
    assert live is not None
    assert (live["state"], live["lost"], live["suspect"]) == ("ready", 0, True)
    assert (await lab.one("SELECT lost_jobs FROM uno_jobs.worker_status"))["lost_jobs"] == 3


async def test_two_rescuers_at_once_rescue_once(lab: Lab) -> None:
    ids = await lab.put(20)
    dead, one, two = await lab.hand(), await lab.hand(), await lab.hand()
    await dead.register()
    await dead.claim()
    first, second = await asyncio.gather(one.gateway.rescue(dead.id, "x", 3), two.gateway.rescue(dead.id, "x", 3))
    assert first | second == set(ids)
    assert not first & second
    assert (await lab.one("SELECT count(*) AS n FROM uno_jobs.attempts"))["n"] == 20


async def test_an_unknown_worker_blames_nobody(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    assert await hand.gateway.rescue(hand.id, "never registered", 1) == {id_}
    assert await lab.states() == {"ready": 1}


async def test_held_is_what_the_database_believes(lab: Lab) -> None:
    """Hazard 2: a claim whose reply was lost is found by comparing, and handed back unharmed."""
    ids = await lab.put(3)
    hand, other = await lab.hand(), await lab.hand()
    await hand.claim(2)
    assert len(await other.claim(1)) == 1
    assert await other.hand_back(ids[2]) == {ids[2]}
    await other.claim(1, known=["none@1"])
    assert await hand.gateway.held(other.id) == []
    held = await hand.gateway.held(hand.id)
    assert {row["id"]: row["lease"] for row in held} == hand.leases
    assert not any(row["cancel_asked"] for row in held)
    assert await hand.hand_back(*hand.leases) == set(ids[:2])
    assert await hand.gateway.held(hand.id) == []
    assert [(job["id"], job["failures"], job["lost"]) for job in await hand.claim()] == [(id_, 0, 0) for id_ in ids]


async def test_jobs_move_to_the_next_incarnation(lab: Lab) -> None:
    """Hazard 3: after a restart of the server the old leases are worthless under the new id's fence."""
    ids = await lab.put(3)
    hand, caller = await lab.hand(), await lab.session()
    await hand.claim()
    old, new = hand.id, uuid.uuid4()
    leases = [hand.leases[ids[0]], hand.leases[ids[1]], hand.leases[ids[2]] ^ 1]
    async with caller.transaction():
        await caller.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", ids[1])
        assert await hand.gateway.adopt(old, new, ids, leases) == {ids[0]}
    assert await hand.gateway.adopt(new, old, ids, leases) == {ids[0]}
    assert await hand.gateway.adopt(old, new, ids, leases) == set(ids[:2])
    assert await hand.succeed(ids) == {ids[0]: "stale", ids[1]: "stale"}
    hand.id = new
    assert await hand.succeed(ids[:2]) == {}


async def test_beats_and_deaths(lab: Lab) -> None:
    hands = [await lab.hand() for _ in range(3)]
    for hand in hands:
        await hand.register()
    ids = [hand.id for hand in hands]
    gateway = hands[0].gateway
    assert await gateway.beat(ids[:2]) == set()
    assert {row["id"]: row["beat"] for row in await gateway.observe([])} == {ids[0]: 1, ids[1]: 1, ids[2]: 0}
    await gateway.mark_hungry(ids[0], ["default"], 60)
    assert await gateway.worker_state(ids[0], "dead", "silent")
    assert not await gateway.worker_state(ids[0], "stopped")
    assert await gateway.worker_state(ids[1], "draining")
    assert await gateway.worker_state(ids[2], "stopped")
    assert (await lab.one("SELECT count(*) AS n FROM uno_jobs.hungry"))["n"] == 0
    # The dead one learns it, the draining one still beats, the stopped one is no more.
    assert await gateway.beat(ids) == {ids[0]}
    assert {row["id"]: row["beat"] for row in await gateway.observe([])} == {ids[1]: 2}
    rows = await lab.eye.fetch("SELECT id, state, cause, stopped_at IS NOT NULL FROM uno_jobs.worker_status")
    assert {tuple(row) for row in rows} == {
        (ids[0], "dead", "silent", True),
        (ids[1], "draining", None, False),
        (ids[2], "stopped", None, True),
    }


@pytest.mark.parametrize("key", [5, -5, 2**63 - 1, -(2**63), 2**32, -1])
async def test_whether_a_supervisors_lock_is_held(lab: Lab, key: int) -> None:
    hand, supervisor = await lab.hand(), await lab.session()
    await hand.register(lock_key=key)

    async def seen(*suspects: uuid.UUID) -> tuple[bool, bool | None]:
        (row,) = await hand.gateway.observe(suspects)
        return row["holds_lock"], row["locked"]

    assert await seen() == (True, None)
    assert await seen(hand.id) == (True, False)
    await supervisor.execute("SELECT pg_advisory_lock($1)", key)
    assert await seen(hand.id) == (True, True)
    # Two numbers that look alike are another lock.
    await supervisor.execute("SELECT pg_advisory_unlock_all()")
    await supervisor.execute("SELECT pg_advisory_lock(($1::bigint >> 32)::int, ($1::bigint << 32 >> 32)::int)", key)
    assert await seen(hand.id) == (True, False)


async def test_a_chore_has_one_holder_until_its_time_is_over(lab: Lab) -> None:
    one, two = await lab.hand(), await lab.hand()
    assert await one.gateway.take_chore("c", one.id, 60)
    assert not await two.gateway.take_chore("c", two.id, 60)
    assert await two.gateway.take_chore("d", two.id, 60)
    assert await one.gateway.take_chore("c", one.id, 0)
    assert await two.gateway.take_chore("c", two.id, 60)
    assert (await lab.one("SELECT term FROM uno_jobs.chore_leases WHERE chore = 'c'"))["term"] == 2


async def test_workers_that_register_at_once(lab: Lab) -> None:
    tasks = [
        {"task": f"t{n}", "version": "1", "sort_key": "1", "options": {}, "parameters": [], "schema": {}}
        for n in range(30)
    ]
    hands = [await lab.hand() for _ in range(4)]
    await asyncio.gather(
        *(hand.register(tasks=json.dumps(tasks if n % 2 else tasks[::-1])) for n, hand in enumerate(hands))
    )
    assert (await lab.one("SELECT count(*) AS n FROM uno_jobs.task_versions"))["n"] == 30
    assert (await lab.one("SELECT count(*) AS n FROM uno_jobs.worker_status"))["n"] == 4

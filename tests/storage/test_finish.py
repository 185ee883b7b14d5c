"""Recording how attempts ended: fenced by worker and lease, harmless twice, never stopped by one locked row."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.storage.workflows import Node, put_workflow
from uno_jobs.moments import moment

if TYPE_CHECKING:
    from tests.storage.lab import Lab

pytestmark = pytest.mark.server_versions


@pytest.mark.parametrize(("count", "awaited"), [(1, False), (3, False), (3, True)])
async def test_results_that_are_left_out_are_null(lab: Lab, count: int, awaited: bool) -> None:
    nodes = [*[Node()] * count, Node(tuple(range(count)))]
    ids = (await put_workflow(lab, nodes))[:count] if awaited else await lab.put(count)
    hand = await lab.hand()
    await hand.claim()
    given = ["1"][: count - 1]
    assert await hand.gateway.finish(hand.id, ids, [hand.leases[id_] for id_ in ids], given, "[]") == []
    rows = await lab.eye.fetch("SELECT id, result::text FROM uno_jobs.outcomes")
    assert dict(rows) == dict(zip(ids, [*given, *["null"] * count], strict=False))


async def test_a_success_moves_the_job_to_its_outcome(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    (job,) = await hand.claim()
    assert await hand.succeed([id_], '{"n": [1, null]}') == {}
    assert await lab.live(id_) is None
    outcome = await lab.outcome(id_)
    assert outcome is not None
    assert (outcome["state"], outcome["attempt"], outcome["failures"], outcome["lost"]) == ("succeeded", 1, 0, 0)
    assert json.loads(outcome["result"]) == {"n": [1, None]}
    assert outcome["started_at"] == moment(job["started_at"])
    assert outcome["finished_at"] >= outcome["started_at"]
    attempt = await lab.one("SELECT * FROM uno_jobs.attempts")
    assert (attempt["job_id"], attempt["lease"], attempt["worker_id"]) == (id_, hand.leases[id_], hand.id)
    assert (attempt["attempt"], attempt["outcome"], attempt["started_at"]) == (1, "succeeded", outcome["started_at"])


@pytest.mark.parametrize("awaited", [False, True])
async def test_peak_memories_go_with_their_successes(lab: Lab, awaited: bool) -> None:
    """The array of peaks may have gaps, and may end before the others do; also where a step waits for the jobs."""
    ids = (await put_workflow(lab, [*[Node()] * 4, Node((0, 1, 2, 3))]))[:4] if awaited else await lab.put(4)
    hand = await lab.hand()
    await hand.claim()
    leases = [hand.leases[id_] for id_ in ids]
    assert await hand.gateway.finish(hand.id, ids, leases, ["1"] * 4, "[]", [None, 5_000_000_000, 7]) == []
    peaks = {row["job_id"]: row["peak_memory"] for row in await lab.eye.fetch("SELECT * FROM uno_jobs.attempts")}
    assert [peaks[id_] for id_ in ids] == [None, 5_000_000_000, 7, None]


async def test_the_wrong_worker_or_lease_changes_nothing(lab: Lab) -> None:
    ids = await lab.put(2)
    hand, thief = await lab.hand(), await lab.hand()
    await hand.claim()
    before = [await lab.live(id_) for id_ in ids]
    # The right lease from another worker, and the right worker with another lease.
    thief.leases = dict(hand.leases)
    assert await thief.succeed(ids) == dict.fromkeys(ids, "stale")
    assert await thief.end(ids, "failed", error="x") == dict.fromkeys(ids, "stale")
    right, hand.leases = hand.leases, {id_: lease ^ 1 for id_, lease in hand.leases.items()}
    assert await hand.succeed(ids) == dict.fromkeys(ids, "stale")
    assert await hand.end(ids, "retried", delay=1) == dict.fromkeys(ids, "stale")
    assert await hand.hand_back(*ids) == set()
    assert [await lab.live(id_) for id_ in ids] == before
    hand.leases = right
    assert await hand.succeed(ids) == {}


async def test_what_never_ran_is_stale(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    assert await hand.succeed([id_]) == {id_: "stale"}
    assert await lab.states() == {"ready": 1}


@pytest.mark.parametrize("claimed_again", [False, True])
async def test_after_a_rescue_the_late_worker_learns_that_it_is_late(lab: Lab, claimed_again: bool) -> None:
    (id_,) = await lab.put()
    late, rescuer = await lab.hand(), await lab.hand()
    await late.register()
    await late.claim()
    assert await rescuer.gateway.rescue(late.id, "silent", 3) == {id_}
    if claimed_again:
        assert len(await rescuer.claim()) == 1
    before = await lab.live(id_)
    assert await late.succeed([id_]) == {id_: "stale"}
    assert await late.end(id_, "failed", error="x") == {id_: "stale"}
    assert await lab.live(id_) == before
    assert await lab.outcome(id_) is None
    if claimed_again:
        assert await rescuer.succeed([id_]) == {}
        assert await late.succeed([id_]) == {id_: "stale"}
        assert await lab.attempts(id_) == ["lost", "succeeded"]


@pytest.mark.parametrize("outcome", ["failed", "retried", "snoozed", "cancelled", "handed_back"])
async def test_sending_twice_is_harmless(lab: Lab, outcome: str) -> None:
    """The reply to the first may have been lost."""
    ids = await lab.put(4)
    hand = await lab.hand()
    await hand.claim()
    assert await hand.succeed(ids[:2], '"first"') == {}
    assert await hand.end(ids[2:], outcome, delay=60) == {}
    states = await lab.states()
    assert await hand.succeed(ids[:2], '"second"') == {}
    assert await hand.end(ids[2:], outcome, delay=60) == {}
    assert await lab.states() == states
    assert (await lab.one("SELECT count(*) AS n FROM uno_jobs.attempts"))["n"] == 4
    assert (await lab.one("SELECT min(result::text) AS r FROM uno_jobs.outcomes WHERE state = 'succeeded'"))[
        "r"
    ] == '"first"'


async def test_a_retry_turned_into_a_cancellation_may_be_sent_twice_too(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    await lab.ask_to_cancel(id_)
    assert await hand.end(id_, "retried", delay=60) == {}
    assert await hand.end(id_, "retried", delay=60) == {}


async def test_another_end_than_the_recorded_one_is_stale(lab: Lab) -> None:
    """A success after a hand-back was not recorded, and must not be taken for durable."""
    ids = await lab.put(2)
    hand = await lab.hand()
    await hand.claim()
    assert await hand.hand_back(*ids) == set(ids)
    assert await hand.succeed(ids) == dict.fromkeys(ids, "stale")
    assert await lab.states() == {"ready": 2}
    await hand.claim()
    assert await hand.succeed(ids) == {}
    assert await hand.end(ids[0], "failed", error="x") == {ids[0]: "stale"}
    assert await lab.states() == {"succeeded": 2}


async def test_a_locked_row_holds_up_nothing_else(lab: Lab) -> None:
    """Hazard 5: a caller's open transaction has one of the rows."""
    ids = await lab.put(6)
    hand, caller = await lab.hand(), await lab.session()
    await hand.claim()
    async with caller.transaction():
        await caller.execute("SELECT FROM uno_jobs.live_jobs WHERE id = ANY ($1) FOR UPDATE", [ids[1], ids[4]])
        async with asyncio.timeout(30):
            assert await hand.succeed(ids[:3]) == {ids[1]: "locked"}
            assert await hand.end(ids[3:], "retried", delay=60) == {ids[4]: "locked"}
        assert await lab.states() == {"succeeded": 2, "scheduled": 2, "running": 2}
    assert await hand.succeed([ids[1]]) == {}
    assert await hand.end(ids[4], "failed") == {}


async def test_it_waits_for_other_locks_than_those_of_its_jobs(lab: Lab) -> None:
    """The short patience is for the rows of jobs alone: an impatient look at side tables would fail the whole batch."""
    (id_,) = await lab.put(1)
    hand, caller = await lab.hand(), await lab.session()
    await hand.claim()
    assert await lab.cancel(id_) == "requested"
    async with caller.transaction():
        await caller.execute("SELECT FROM uno_jobs.cancel_requests WHERE job_id = $1 FOR UPDATE", id_)
        finishing = asyncio.create_task(hand.succeed([id_]))
        await lab.blocked(hand.connection)
        await lab.until(
            "SELECT clock_timestamp() - query_start > interval '50 milliseconds' FROM pg_stat_activity WHERE pid = $1",
            hand.connection.get_server_pid(),
        )
        assert not finishing.done()
    assert await finishing == {}
    assert await lab.states() == {"succeeded": 1}
    assert await hand.connection.fetchval("SHOW lock_timeout") == "0"


async def test_one_call_takes_successes_and_other_ends(lab: Lab) -> None:
    ids = await lab.put(5)
    hand = await lab.hand()
    await hand.claim()
    others = [
        {"id": str(ids[2]), "lease": hand.leases[ids[2]], "outcome": "failed", "error": "x"},
        {"id": str(ids[3]), "lease": hand.leases[ids[3]], "outcome": "snoozed", "delay": 5},
        {"id": str(ids[4]), "lease": 1, "outcome": "failed", "error": "x"},
    ]
    rows = await hand.gateway.finish(hand.id, ids[:2], [hand.leases[ids[0]], 2], ["1", "2"], json.dumps(others))
    assert {row["id"]: row["fate"] for row in rows} == {ids[1]: "stale", ids[4]: "stale"}
    assert await lab.states() == {"succeeded": 1, "failed": 1, "scheduled": 1, "running": 2}


@pytest.mark.parametrize("result", ['"a\\u0000b"', "NaN", "not JSON"])
async def test_one_result_that_cannot_be_stored_fails_the_batch_as_a_data_error(lab: Lab, result: str) -> None:
    """Hazard 12: by its class the worker knows that it must look for the culprit; nothing was recorded."""
    ids = await lab.put(3)
    hand = await lab.hand()
    await hand.claim()
    with pytest.raises(asyncpg.PostgresError) as refused:
        await hand.gateway.finish(hand.id, ids, [hand.leases[id_] for id_ in ids], ["1", result, "3"], "[]")
    assert str(refused.value.sqlstate)[:2] == "22"
    assert await lab.states() == {"running": 3}
    assert await hand.succeed([ids[0], ids[2]]) == {}
    assert await hand.end(ids[1], "failed", error="cannot be stored") == {}


async def test_nothing_to_record_is_nothing(lab: Lab) -> None:
    hand = await lab.hand()
    assert await hand.gateway.finish(hand.id, [], [], [], "[]") == []


async def test_side_tables_are_tidied_and_waiters_told(lab: Lab) -> None:
    ids = await lab.put(3)
    hand, waiter = await lab.hand(), await lab.session()
    heard: asyncio.Queue[str] = asyncio.Queue()
    await waiter.add_listener(await hand.gateway.channel(), lambda *got: heard.put_nowait(got[3]))
    await hand.claim()
    for id_ in ids[:2]:
        await lab.eye.execute("INSERT INTO uno_jobs.result_waiters VALUES ($1, gen_random_uuid(), now())", id_)
        await lab.eye.execute("INSERT INTO uno_jobs.result_waiters VALUES ($1, gen_random_uuid(), now())", id_)
    await hand.gateway.set_progress(ids[0], hand.leases[ids[0]], 0.5, "half")
    await lab.ask_to_cancel(ids[0])
    assert await hand.succeed([ids[0]]) == {}
    assert await hand.end(ids[1], "failed", error="x") == {}
    assert await hand.succeed([ids[2]]) == {}
    async with asyncio.timeout(30):
        assert [await heard.get(), await heard.get()] == [f"done {ids[0]}", f"done {ids[1]}"]
    for table in ("result_waiters", "progress", "cancel_requests"):
        assert (await lab.one(f"SELECT count(*) AS n FROM uno_jobs.{table}"))["n"] == 0
    assert heard.empty()


async def test_progress_is_fenced(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    await hand.gateway.set_progress(id_, hand.leases[id_], 0.25, "a quarter")
    await hand.gateway.set_progress(id_, hand.leases[id_] ^ 1, 0.75, "somebody else's")
    row = await lab.one("SELECT progress, progress_message FROM uno_jobs.job_status")
    assert tuple(row) == (0.25, "a quarter")


async def test_a_late_outcome_leaves_the_new_attempts_waiters_cancellation_and_progress_alone(lab: Lab) -> None:
    (id_,) = await lab.put()
    late, now = await lab.hand(), await lab.hand()
    await late.claim()
    await late.gateway.rescue(late.id, "a test", 3)
    await now.claim()
    await lab.eye.execute("INSERT INTO uno_jobs.cancel_requests VALUES ($1, uno_jobs.clock())", id_)
    await lab.eye.execute(
        "INSERT INTO uno_jobs.result_waiters VALUES ($1, gen_random_uuid(), uno_jobs.clock() + interval '1 hour')", id_
    )
    await now.gateway.set_progress(id_, now.leases[id_], 0.5, "half")
    side = "SELECT (SELECT count(*) FROM {0}.cancel_requests), (SELECT count(*) FROM {0}.result_waiters), "
    side = (side + "(SELECT count(*) FROM {0}.progress)").format("uno_jobs")
    assert await late.succeed([id_]) == {id_: "stale"}
    assert tuple(await lab.one(side)) == (1, 1, 1)
    assert await now.succeed([id_]) == {}
    assert tuple(await lab.one(side)) == (0, 0, 0)

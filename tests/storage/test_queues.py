"""Pausing, resuming, purging and weighing a queue by SQL, and what claims make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.storage.workflows import Node, put_workflow

if TYPE_CHECKING:
    from tests.storage.lab import Hand, Lab

pytestmark = pytest.mark.server_versions


async def test_a_pause_is_seen_by_the_next_claim_and_what_runs_goes_on(lab: Lab, worker: Hand) -> None:
    first, second = await lab.put(2)
    assert [job["id"] for job in await worker.claim(1)] == [first]
    assert await lab.eye.fetchval("SELECT uno_jobs.pause_queue('default', 'the printer burns')")
    assert await worker.claim() == []
    assert await worker.succeed([first]) == {}
    row = await lab.one("SELECT * FROM uno_jobs.queue_status WHERE queue = 'default'")
    assert (row["ready"], row["pause_reason"]) == (1, "the printer burns")
    assert row["paused_at"] is not None
    assert row["paused_by"] == await lab.eye.fetchval("SELECT session_user")
    # The first pause stands.
    assert not await lab.eye.fetchval("SELECT uno_jobs.pause_queue('default', 'again')")
    assert await lab.eye.fetchval("SELECT pause_reason FROM uno_jobs.queues") == "the printer burns"
    assert await lab.eye.fetchval("SELECT uno_jobs.resume_queue('default')")
    assert not await lab.eye.fetchval("SELECT uno_jobs.resume_queue('default')")
    assert [job["id"] for job in await worker.claim()] == [second]


async def test_a_pause_stands_or_falls_with_its_transaction(lab: Lab, worker: Hand) -> None:
    (id_,) = await lab.put()
    other = await lab.session()
    transaction = other.transaction()
    await transaction.start()
    await other.fetchval("SELECT uno_jobs.pause_queue('default')")
    # It holds nobody up, and is nothing to others before its commit.
    assert [job["id"] for job in await worker.claim()] == [id_]
    await transaction.rollback()
    assert await lab.eye.fetchval("SELECT count(*) FROM uno_jobs.queues") == 0


@pytest.mark.parametrize("state", ["ready", "scheduled", "waiting", "running", "served", "set"])
async def test_what_makes_a_queue_exist(lab: Lab, state: str) -> None:
    hand = await lab.hand()
    if state in ("ready", "running"):
        await lab.put(queue="q")
    if state == "running":
        assert len(await hand.claim(queues=["q"])) == 1
    if state == "scheduled":
        await lab.put(queue="q", delay=3600)
    if state == "waiting":
        await put_workflow(lab, [Node(), Node((0,), queue="q")])
    if state == "served":
        await hand.register("q")
    if state == "set":
        await lab.eye.execute("SELECT uno_jobs.set_queue_weight('q', 2, create_missing => true)")
    assert await lab.eye.fetchval("SELECT uno_jobs.missing_queue('q')") is None
    assert "q" in {row["queue"] for row in await lab.eye.fetch("SELECT * FROM uno_jobs.queue_status")}


@pytest.mark.parametrize(
    "call",
    ["pause_queue('maill')", "resume_queue('maill')", "purge_queue('maill')", "set_queue_weight('maill', 2)"],
)
async def test_a_queue_that_there_is_not_is_refused_by_name(lab: Lab, worker: Hand, call: str) -> None:
    await lab.put(queue="other")
    with pytest.raises(asyncpg.NoDataFoundError, match=r'no queue "maill".*there are: default, mail, other'):
        await lab.eye.execute(f"SELECT uno_jobs.{call}")
    assert await lab.eye.fetchval("SELECT count(*) FROM uno_jobs.queues") == 0


async def test_a_dead_workers_queue_is_none(lab: Lab, worker: Hand) -> None:
    await worker.gateway.worker_state(worker.id, "dead")
    with pytest.raises(asyncpg.NoDataFoundError, match="there is none at all yet"):
        await lab.eye.execute("SELECT uno_jobs.pause_queue('mail')")
    assert await lab.eye.fetchval("SELECT uno_jobs.pause_queue('mail', create_missing => true)")


@pytest.mark.parametrize(
    "call",
    [
        "pause_queue('')",
        "pause_queue(NULL)",
        "pause_queue(repeat('q', 129), create_missing => true)",
        "pause_queue('mail', repeat('x', 4001))",
        "purge_queue('mail', repeat('x', 4001))",
        "set_queue_weight('mail', 0)",
        "set_queue_weight('mail', 101)",
        "set_queue_weight('mail', NULL)",
    ],
)
async def test_bad_values_change_nothing(lab: Lab, worker: Hand, call: str) -> None:
    (id_,) = await lab.put(queue="mail")
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await lab.eye.execute(f"SELECT uno_jobs.{call}")
    assert await lab.eye.fetchval("SELECT count(*) FROM uno_jobs.queues") == 0
    assert await lab.live(id_) is not None


async def test_a_resume_wakes_who_sleeps(lab: Lab, worker: Hand) -> None:
    await lab.eye.execute("SELECT uno_jobs.pause_queue('mail')")
    await worker.gateway.mark_hungry(worker.id, ["mail"], 30.0)
    heard: list[str] = []
    listener = await lab.session()
    channel = await lab.eye.fetchval("SELECT channel FROM uno_jobs.schema_info")
    await listener.add_listener(channel, lambda *said: heard.append(said[-1]))
    await lab.eye.execute("SELECT uno_jobs.resume_queue('mail')")
    await listener.fetchval("SELECT 1")
    assert heard == ["ready mail"]
    await lab.eye.execute("SELECT uno_jobs.pause_queue('mail')")
    await lab.eye.execute("SELECT uno_jobs.resume_queue('mail', notify => false)")
    await listener.fetchval("SELECT 1")
    assert heard == ["ready mail"]


async def test_a_purge_cancels_what_does_not_run_and_keeps_it_to_be_seen(lab: Lab) -> None:
    hand = await lab.hand()
    ids = await lab.put(4, queue="q")
    (late,) = await lab.put(queue="q", delay=3600)
    (elsewhere,) = await lab.put()
    runs, retried = [job["id"] for job in await hand.claim(2, ["q"])]
    assert await hand.end(retried, "retried", delay=60, error="no") == {}
    assert await lab.eye.fetchval("SELECT uno_jobs.purge_queue('q', 'old')") == 4
    for id_ in (retried, late, *ids[2:]):
        assert await lab.ended(id_) == ("cancelled", "its queue was purged: old")
    outcome = await lab.outcome(retried)
    assert outcome is not None
    assert outcome["started_at"] is not None
    assert await hand.succeed([runs]) == {}
    assert await lab.live(elsewhere) is not None
    assert await lab.eye.fetchval("SELECT uno_jobs.purge_queue('default')") == 1
    assert await lab.ended(elsewhere) == ("cancelled", "its queue was purged")


async def test_a_purge_in_batches_leaves_what_came_after_it_began(lab: Lab) -> None:
    old = await lab.put(5, queue="q")
    (scheduled,) = await lab.put(queue="q", delay=3600)
    began = await lab.eye.fetchval("SELECT clock_timestamp()")
    new = await lab.put(2, queue="q")
    got = [await lab.eye.fetchval("SELECT uno_jobs.purge_queue('q', NULL, 4, $1)", began) for _ in range(3)]
    assert got == [4, 2, 0]
    for id_ in (*old, scheduled):
        assert await lab.ended(id_) == ("cancelled", "its queue was purged")
    for id_ in new:
        assert await lab.live(id_) is not None


async def test_a_purge_waits_for_nobody(lab: Lab) -> None:
    mine, theirs = await lab.put(2, queue="q")
    other = await lab.session()
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", theirs)
    await lab.eye.execute("SET lock_timeout = '100ms'")
    assert await lab.eye.fetchval("SELECT uno_jobs.purge_queue('q')") == 1
    assert await lab.ended(mine) == ("cancelled", "its queue was purged")
    await transaction.rollback()
    assert await lab.eye.fetchval("SELECT uno_jobs.purge_queue('q')") == 1


async def test_what_waits_for_a_purged_job_is_cancelled_because_of_it(lab: Lab) -> None:
    first, second, anyway = await put_workflow(
        lab, [Node(queue="q"), Node((0,)), Node((0,), run_anyway=True, queue="tidy")]
    )
    assert await lab.eye.fetchval("SELECT uno_jobs.purge_queue('q')") == 1
    outcome = await lab.outcome(second)
    assert outcome is not None
    assert (outcome["state"], outcome["cancelled_because"]) == ("cancelled", first)
    live = await lab.live(anyway)
    assert live is not None
    assert live["state"] == "ready"


async def shares(lab: Lab, slots: int, claims: int, queues: list[str]) -> dict[str, int]:
    """Return how many jobs of each queue some claims took; the queues take turns, as a worker lets them."""
    hand = await lab.hand()
    await hand.connection.execute("SELECT setseed(0.25)")
    taken = dict.fromkeys(queues, 0)
    for turn in range(claims):
        first = turn % len(queues)
        for job in await hand.claim(slots, queues[first:] + queues[:first]):
            taken[job["queue"]] += 1
    return taken


@pytest.mark.parametrize(("slots", "claims"), [(50, 4), (1, 200)], ids=["many slots", "one by one"])
async def test_weights_are_the_shares_of_queues_that_have_work(lab: Lab, slots: int, claims: int) -> None:
    for queue in ("a", "b", "c"):
        await lab.put(300, queue=queue)
    await lab.eye.execute("SELECT uno_jobs.set_queue_weight('b', 3)")
    taken = await shares(lab, slots, claims, ["a", "b", "c"])
    assert sum(taken.values()) == slots * claims
    # 40, 120 and 40 of 200; one by one it is left to chance, and 30 are more than four standard deviations.
    assert abs(taken["b"] - 120) < 30
    assert min(taken["a"], taken["c"]) > 10


async def test_what_an_empty_queue_leaves_is_shared_by_weight_too(lab: Lab) -> None:
    for queue in ("a", "b"):
        await lab.put(300, queue=queue)
    await lab.eye.execute("SELECT uno_jobs.set_queue_weight('b', 3)")
    await lab.eye.execute("SELECT uno_jobs.set_queue_weight('empty', 90, true)")
    taken = await shares(lab, 100, 3, ["a", "empty", "b"])
    assert sum(taken.values()) == 300
    assert abs(taken["b"] - 225) <= 12


async def test_weights_do_not_lift_limits_and_leave_no_slot_empty(lab: Lab) -> None:
    for queue in ("a", "b"):
        await lab.put(50, queue=queue)
    await lab.eye.execute("SELECT uno_jobs.set_queue_weight('b', 9)")
    hand = await lab.hand()
    got = [job["queue"] for job in await hand.claim(40, ["a", "b"], limits=[40, 5])]
    assert (got.count("a"), got.count("b")) == (35, 5)
    got = [job["queue"] for job in await hand.claim(100, ["a", "b"])]
    assert (got.count("a"), got.count("b")) == (15, 45)

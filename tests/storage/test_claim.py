"""What a claim takes, in which order, and what it says of its scans."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from uno_jobs.moments import moment

if TYPE_CHECKING:
    from tests.storage.lab import Lab

pytestmark = pytest.mark.server_versions


async def test_a_claimed_job_carries_all_that_its_run_needs(lab: Lab) -> None:
    (id_,) = await lab.put(args='[1, "two"]', queue="q", priority=3)
    hand = await lab.hand()
    (job,) = await hand.claim(queues=["q"])
    asked = await lab.one("SELECT * FROM uno_jobs.jobs")
    live = await lab.live(id_)
    assert live is not None
    assert (job["id"], job["queue"], job["priority"], job["task"], job["version"]) == (id_, "q", 3, "t", "1")
    assert (job["args"], job["kwargs"], job["metadata"]) == ('[1, "two"]', "{}", None)
    assert (job["attempt"], job["failures"], job["lost"], job["suspect"]) == (1, 0, 0, False)
    assert (moment(job["created_at"]), job["run_at"], job["workflow_id"]) == (asked["created_at"], None, None)
    assert moment(job["started_at"]) == live["started_at"]
    assert (live["state"], live["worker_id"], live["lease"]) == ("running", hand.id, hand.leases[id_])


async def test_order_is_by_priority_then_by_arrival(lab: Lab) -> None:
    late = await lab.put(3, priority=7)
    early = await lab.put(3, priority=0)
    middle = await lab.put(3, priority=5)
    hand = await lab.hand()
    assert [job["id"] for job in await hand.claim(4)] == [*early, middle[0]]
    assert [job["id"] for job in await hand.claim(4)] == [*middle[1:], *late[:2]]
    assert [job["id"] for job in await hand.claim(4)] == late[2:]
    assert await hand.claim(4) == []


async def test_a_claim_locks_no_more_than_it_returns(lab: Lab) -> None:
    """With an order around the scans a claim locked 150 rows to return 50 (hazard 18)."""
    for queue in ("a", "b"):
        for priority in (1, 5, 7):
            await lab.put(10, queue=queue, priority=priority)
    hand, other = await lab.hand(), await lab.hand()
    async with hand.connection.transaction():
        mine = await hand.claim(14, ["a", "b"])
        theirs = await other.claim(60, ["a", "b"])
        assert len(mine) == 14
        assert len(theirs) == 46
    assert not {job["id"] for job in mine} & {job["id"] for job in theirs}


async def test_queues_share_the_slots(lab: Lab) -> None:
    await lab.put(100, queue="busy")
    await lab.put(1, queue="quiet")
    await lab.put(100, queue="other")
    hand = await lab.hand()
    got = [job["queue"] for job in await hand.claim(10, ["busy", "quiet", "other"])]
    # A third each; what the quiet one leaves goes round.
    assert len(got) == 10
    assert got.count("quiet") == 1
    assert got.count("busy") >= 4
    assert got.count("other") >= 3


async def test_the_first_queue_in_turn_gets_the_only_slot(lab: Lab) -> None:
    await lab.put(10, queue="busy")
    await lab.put(10, queue="quiet")
    hand = await lab.hand()
    assert [job["queue"] for job in await hand.claim(1, ["busy", "quiet"])] == ["busy"]
    assert [job["queue"] for job in await hand.claim(1, ["quiet", "busy"])] == ["quiet"]


async def test_what_empty_queues_leave_goes_to_the_first(lab: Lab) -> None:
    ids = await lab.put(20, queue="a")
    hand = await lab.hand()
    assert [job["id"] for job in await hand.claim(12, ["a", "b", "c"])] == ids[:12]


async def test_limits_of_queues(lab: Lab) -> None:
    await lab.put(20, queue="a")
    await lab.put(20, queue="b")
    hand = await lab.hand()
    got = [job["queue"] for job in await hand.claim(10, ["a", "b"], limits=[2, 100])]
    assert (got.count("a"), got.count("b")) == (2, 8)
    got = [job["queue"] for job in await hand.claim(10, ["a", "b"], limits=[0, 3])]
    assert got == ["b"] * 3


async def test_a_paused_queue_gives_nothing_and_its_share_goes_to_others(lab: Lab) -> None:
    await lab.put(20, queue="a")
    ids = await lab.put(20, queue="b")
    await lab.eye.execute("INSERT INTO uno_jobs.queues (name, paused_at) VALUES ('a', now()), ('b', NULL)")
    hand = await lab.hand()
    assert [job["id"] for job in await hand.claim(10, ["a", "b"])] == ids[:10]
    await lab.eye.execute("UPDATE uno_jobs.queues SET paused_at = NULL WHERE name = 'a'")
    assert {job["queue"] for job in await hand.claim(10, ["a", "b"])} == {"a", "b"}


async def test_an_unknown_version_stays_ready_untouched(lab: Lab) -> None:
    """Such rows at the head of a queue hide nothing that stands behind them."""
    (foreign,) = await lab.put(version="2")
    (stranger,) = await lab.put(task="u")
    (mine,) = await lab.put()
    hand = await lab.hand()
    before = [await lab.live(foreign), await lab.live(stranger)]
    assert [job["id"] for job in await hand.claim(1)] == [mine]
    assert await hand.claim() == []
    assert [await lab.live(foreign), await lab.live(stranger)] == before
    assert [job["id"] for job in await hand.claim(known=["t@2", "u@1"])] == [foreign, stranger]


async def test_an_expired_job_is_not_claimed(lab: Lab) -> None:
    gone, fresh = await lab.put(1, expires=0), await lab.put(1, expires=3600)
    hand = await lab.hand()
    assert [job["id"] for job in await hand.claim()] == fresh
    live = await lab.live(fresh[0])
    assert live is not None
    assert live["expires_at"] is None
    assert await lab.live(gone[0]) is not None


async def test_a_key_that_holds_until_the_start_is_freed_by_the_claim(lab: Lab) -> None:
    first = (await lab.put_unique("k", until_start=True))["id"]
    held = (await lab.put_unique("h"))["id"]
    assert (await lab.put_unique("k", until_start=True))["id"] == first
    hand = await lab.hand()
    await hand.claim()
    second = await lab.put_unique("k", until_start=True)
    assert not second["is_duplicate"]
    assert (await lab.put_unique("h"))["id"] == held
    # A retry of the first does not take the key back.
    assert await hand.end(first, "retried", delay=0) == {}
    assert (await lab.put_unique("k"))["id"] == second["id"]


async def test_a_live_row_without_a_job_is_returned_without_a_task(lab: Lab) -> None:
    """An id without a job fails loudly in the worker; here it must be returned, not dropped."""
    (id_,) = await lab.put(args="[7]")
    await lab.eye.execute(
        "ALTER TABLE uno_jobs.jobs RENAME TO jobs_away; CREATE TABLE uno_jobs.jobs (LIKE uno_jobs.jobs_away)"
    )
    hand = await lab.hand()
    (job,) = await hand.claim()
    await lab.eye.execute("DROP TABLE uno_jobs.jobs; ALTER TABLE uno_jobs.jobs_away RENAME TO jobs")
    assert job["id"] == id_
    assert job["task"] is None
    assert job["args"] is None
    assert await hand.end(id_, "failed", error="no such job") == {}


async def test_no_slots_no_claim(lab: Lab) -> None:
    await lab.put(3)
    hand = await lab.hand()
    assert await hand.claim(0) == []
    assert hand.reports == {}
    assert await lab.states() == {"ready": 3}


async def test_reports_say_how_far_each_priority_was_scanned(lab: Lab) -> None:
    await lab.put(5, priority=1)
    await lab.put(5, priority=5)
    foreign = await lab.put(2, priority=7, version="2")
    hand = await lab.hand()
    jobs = await hand.claim(8)
    seqs = {priority: max(job["seq"] for job in jobs if job["priority"] == priority) for priority in (1, 5)}
    # The first came back short and reached the end of what was there; the second was cut off by the limit.
    assert hand.reports["default", 1][0][0] == seqs[1]
    assert hand.reports["default", 5][0][0] == seqs[5]
    assert ("default", 7) not in hand.reports
    jobs = await hand.claim(8)
    assert len(jobs) == 2
    live = await lab.live(foreign[1])
    assert live is not None
    # What this worker cannot run was passed over, and the report says so.
    assert hand.reports["default", 7][0][0] == live["seq"]
    assert all(us >= 0 for scans in hand.reports.values() for _, us in scans)


async def test_a_scan_from_a_floor_skips_and_a_full_one_finds(lab: Lab) -> None:
    hand = await lab.hand()
    late = await lab.session()
    transaction = late.transaction()
    await transaction.start()
    (behind,) = await lab.put(on=late)
    (ahead,) = await lab.put()
    assert [job["id"] for job in await hand.claim()] == [ahead]
    floor = hand.reports["default", 5][0][0]
    assert floor is not None
    await transaction.commit()
    # Its number was drawn before the floor, its commit came after.
    assert await hand.claim(floors={("default", 5): floor}) == []
    (beyond,) = await lab.put()
    assert [job["id"] for job in await hand.claim(floors={("default", 5): floor})] == [beyond]
    assert [job["id"] for job in await hand.claim()] == [behind]


async def test_a_floor_is_for_one_queue_and_priority(lab: Lab) -> None:
    ids = {(q, p): (await lab.put(queue=q, priority=p))[0] for q in ("a", "b") for p in (0, 5, 9)}
    hand = await lab.hand()
    jobs = await hand.claim(queues=["a", "b"], floors={("b", 0): 2**63 - 1, ("a", 5): 2**63 - 1})
    assert {job["id"] for job in jobs} == set(ids.values()) - {ids["b", 0], ids["a", 5]}


async def test_a_scan_reaches_what_it_passed_over_of_others(lab: Lab) -> None:
    """What another has locked counts as passed; should it come back, a full scan finds it."""
    hand, other = await lab.hand(), await lab.hand()
    await lab.put(5)
    transaction = other.connection.transaction()
    await transaction.start()
    taken = await other.claim(3)
    assert len(await hand.claim()) == 2
    floor = hand.reports["default", 5][0][0]
    await transaction.rollback()
    assert floor is not None
    assert await hand.claim(floors={("default", 5): floor}) == []
    assert [job["id"] for job in await hand.claim()] == [job["id"] for job in taken]

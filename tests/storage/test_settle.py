"""Ends other than success: where the job goes, what is counted, and what a request to cancel makes of them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.storage.lab import Lab

pytestmark = pytest.mark.server_versions


async def test_a_retry_waits_for_its_time_and_counts(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    assert await hand.end(id_, "retried", delay=60, error_type="E", error="no", traceback="trace") == {}
    live = await lab.live(id_)
    assert live is not None
    assert (live["state"], live["attempt"], live["failures"], live["lost"]) == ("scheduled", 1, 1, 0)
    assert (live["worker_id"], live["lease"], live["started_at"], live["seq"]) == (None, None, None, None)
    attempt = await lab.one("SELECT * FROM uno_jobs.attempts")
    assert (attempt["outcome"], attempt["error_type"], attempt["error"], attempt["traceback"]) == (
        "retried",
        "E",
        "no",
        "trace",
    )
    assert live["run_at"] - attempt["finished_at"] == timedelta(seconds=60)


async def test_a_retry_without_delay_goes_to_the_end_of_the_queue(lab: Lab) -> None:
    """Retry and snooze draw a new place, what is handed back keeps its own (hazard 19)."""
    ids = await lab.put(5)
    hand = await lab.hand()
    before = {job["id"]: job["seq"] for job in await hand.claim(4)}
    assert await hand.end(ids[0], "retried", delay=0) == {}
    assert await hand.end(ids[1], "snoozed", delay=0) == {}
    assert await hand.hand_back(ids[2]) == {ids[2]}
    assert await hand.end(ids[3], "handed_back", error="stopping") == {}
    assert [job["id"] for job in await hand.claim()] == [ids[2], ids[3], ids[4], ids[0], ids[1]]
    live = await lab.live(ids[2])
    assert live is not None
    assert live["seq"] == before[ids[2]]


@pytest.mark.parametrize(("outcome", "counted"), [("retried", 1), ("snoozed", 0), ("handed_back", 0), ("lost", 0)])
async def test_only_failures_count_against_retries(lab: Lab, outcome: str, counted: int) -> None:
    """Hazard 28: attempt only grows; handing back, snoozing and losing do not touch failures."""
    (id_,) = await lab.put()
    hand = await lab.hand()
    for start in (1, 2, 3):
        (job,) = await hand.claim()
        assert (job["attempt"], job["failures"]) == (start, counted * (start - 1))
        if outcome == "lost":
            assert await hand.gateway.rescue(hand.id, "gone", 3) == {id_}
        else:
            assert await hand.end(id_, outcome, delay=0) == {}
    live = await lab.live(id_)
    assert live is not None
    assert (live["attempt"], live["failures"]) == (3, 3 * counted)
    assert await lab.attempts(id_) == [outcome] * 3


async def test_a_snooze_waits(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    assert await hand.end(id_, "snoozed", delay=60) == {}
    live = await lab.live(id_)
    assert live is not None
    assert (live["state"], live["seq"], live["failures"]) == ("scheduled", None, 0)


async def test_a_failure_is_final(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    assert await hand.end(id_, "retried", delay=0) == {}
    await hand.claim()
    assert await hand.end(id_, "failed", error_type="app.E", error="no", traceback="t", peak_memory=5) == {}
    outcome = await lab.outcome(id_)
    assert outcome is not None
    assert (outcome["state"], outcome["attempt"], outcome["failures"]) == ("failed", 2, 2)
    assert (outcome["error_type"], outcome["error"], outcome["result"]) == ("app.E", "no", None)
    failed = await lab.one("SELECT * FROM uno_jobs.failed_jobs")
    assert (failed["id"], failed["attempts"], failed["traceback"]) == (id_, 2, "t")


async def test_a_job_may_cancel_itself(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    assert await hand.end(id_, "cancelled", error="not needed") == {}
    outcome = await lab.outcome(id_)
    assert outcome is not None
    assert (outcome["state"], outcome["error"], outcome["failures"]) == ("cancelled", "not needed", 0)
    assert await lab.attempts(id_) == ["cancelled"]


@pytest.mark.parametrize(
    ("outcome", "kept", "failures"),
    [
        ("failed", "failed", 1),
        ("retried", "failed", 1),
        ("snoozed", "snoozed", 0),
        ("handed_back", "handed_back", 0),
        ("cancelled", "cancelled", 0),
    ],
)
async def test_a_request_to_cancel_turns_other_ends_into_cancellation(
    lab: Lab, outcome: str, kept: str, failures: int
) -> None:
    """Hazard 31."""
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    await lab.ask_to_cancel(id_, "no longer wanted")
    assert [row["cancel_asked"] for row in await hand.gateway.held(hand.id)] == [True]
    assert await hand.end(id_, outcome, delay=60, error_type="E", error="x") == {}
    row = await lab.outcome(id_)
    assert row is not None
    assert (row["state"], row["error_type"], row["error"], row["failures"]) == (
        "cancelled",
        None,
        "no longer wanted",
        failures,
    )
    assert await lab.attempts(id_) == [kept]


async def test_a_success_after_a_request_to_cancel_stands(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    await lab.ask_to_cancel(id_)
    assert await hand.succeed([id_], "1") == {}
    assert await lab.states() == {"succeeded": 1}


async def test_a_loss_after_a_request_to_cancel_ends_the_job(lab: Lab) -> None:
    ids = await lab.put(2)
    hand = await lab.hand()
    await hand.register()
    await hand.claim()
    await lab.ask_to_cancel(ids[0])
    assert await hand.gateway.rescue(hand.id, "killed", 3) == set(ids)
    assert await lab.states() == {"cancelled": 1, "ready": 1}
    assert await lab.attempts(ids[0]) == ["lost"]


async def test_a_hand_back_of_a_job_to_be_cancelled_ends_it_and_tells_who_waits(lab: Lab) -> None:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.claim()
    await lab.ask_to_cancel(id_)
    await lab.eye.execute("INSERT INTO uno_jobs.result_waiters VALUES ($1, gen_random_uuid(), now())", id_)
    assert await hand.hand_back(id_) == {id_}
    assert await lab.states() == {"cancelled": 1}
    for table in ("cancel_requests", "result_waiters"):
        assert (await lab.one(f"SELECT count(*) AS n FROM uno_jobs.{table}"))["n"] == 0


async def test_a_hand_back_passes_over_locked_rows(lab: Lab) -> None:
    ids = await lab.put(2)
    hand, caller = await lab.hand(), await lab.session()
    await hand.claim()
    async with caller.transaction():
        await caller.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", ids[0])
        assert await hand.hand_back(*ids) == {ids[1]}
    assert await hand.hand_back(*ids) == {ids[0]}

"""The view ``workflow_status``: what it says of workflows of each shape, at each stage, and what it reads for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.storage.workflows import Node, put_workflow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from tests.storage.lab import Hand, Lab

COUNTS = ("waiting", "scheduled", "ready", "running", "succeeded", "failed", "cancelled")


async def seen(lab: Lab, ids: Sequence[UUID]) -> Any:
    """Return the row of the workflow that these jobs are of."""
    return await lab.one(
        "SELECT s.* FROM uno_jobs.workflow_status s "
        "WHERE s.workflow_id = (SELECT j.workflow_id FROM uno_jobs.jobs j WHERE j.id = $1)",
        ids[0],
    )


async def summary(lab: Lab, ids: Sequence[UUID]) -> tuple[str, dict[str, int], float]:
    """Return the state, the counts that are not 0, and the per cent."""
    row = await seen(lab, ids)
    counts = {name: row[name] for name in COUNTS if row[name]}
    assert sum(counts.values()) == row["jobs"]
    assert (row["finished_at"] is None) == (row["state"] in ("waiting", "running"))
    assert (row["failed_job"] is None) == (row["failed"] == 0)
    return row["state"], counts, row["percent"]


async def test_a_chain_from_the_enqueue_to_the_end(lab: Lab, worker: Hand) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,)), Node((1,))])
    assert await summary(lab, ids) == ("waiting", {"ready": 1, "waiting": 2}, 0)
    assert (await seen(lab, ids))["started_at"] is None
    await worker.claim()
    assert await summary(lab, ids) == ("running", {"running": 1, "waiting": 2}, 0)
    first = (await lab.live(ids[0]))["started_at"]  # type: ignore[index]
    assert (await seen(lab, ids))["started_at"] == first
    await worker.succeed(ids[:1])
    # Nothing runs at this moment, and yet it has begun.
    assert await summary(lab, ids) == ("running", {"succeeded": 1, "ready": 1, "waiting": 1}, 33.3)
    for id_ in ids[1:]:
        await worker.claim()
        await worker.succeed([id_])
    assert await summary(lab, ids) == ("succeeded", {"succeeded": 3}, 100)
    row, last = await seen(lab, ids), await lab.outcome(ids[2])
    assert last is not None
    assert (row["started_at"], row["finished_at"]) == (first, last["finished_at"])
    assert row["created_at"] < first


async def test_joins_are_no_steps_and_yet_part_of_the_workflow(lab: Lab, worker: Hand) -> None:
    nested = [Node(), Node((0,)), Node((0,)), Node((1, 2), join=True), Node((0,)), Node((3, 4), join=True)]
    ids = await put_workflow(lab, nested)
    assert await summary(lab, ids) == ("waiting", {"ready": 1, "waiting": 3}, 0)
    for _ in range(2):
        await worker.succeed([job["id"] for job in await worker.claim()])
    assert await summary(lab, ids) == ("succeeded", {"succeeded": 4}, 100)
    assert (await seen(lab, ids))["jobs"] == 4


async def test_a_group_of_nothing_is_over_at_once(lab: Lab) -> None:
    ids = await put_workflow(lab, [Node(join=True)])
    assert await summary(lab, ids) == ("succeeded", {}, 100)
    assert (await seen(lab, ids))["started_at"] is None
    followed = await put_workflow(lab, [Node(join=True), Node((0,))])
    # The join has ended, but no step has started.
    assert await summary(lab, followed) == ("waiting", {"ready": 1}, 0)


async def test_a_diamond_is_running_while_a_sibling_of_what_failed_is(lab: Lab, worker: Hand) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,)), Node((0,)), Node((1, 2))])
    await worker.claim()
    await worker.succeed(ids[:1])
    await worker.claim()
    await worker.end(ids[1], "failed", error_type="ValueError", error="wrong")
    assert await summary(lab, ids) == ("running", {"succeeded": 1, "failed": 1, "running": 1, "cancelled": 1}, 75)
    row = await seen(lab, ids)
    assert (row["failed_job"], row["failed_task"], row["error_type"], row["error"]) == (
        ids[1], "t", "ValueError", "wrong",
    )  # fmt: skip
    failed = await lab.outcome(ids[1])
    assert failed is not None
    assert row["failed_at"] == failed["finished_at"]
    await worker.succeed([ids[2]])
    assert await summary(lab, ids) == ("failed", {"succeeded": 2, "failed": 1, "cancelled": 1}, 100)


async def test_the_first_failure_is_the_one_that_is_named(lab: Lab, worker: Hand) -> None:
    ids = await put_workflow(lab, [Node(), Node(), Node(), Node((0, 1, 2), join=True)])
    await worker.claim()
    for place in (2, 0, 1):
        await worker.end(ids[place], "failed", error=f"wrong in {place}")
    row = await seen(lab, ids)
    assert (row["state"], row["failed"]) == ("failed", 3)
    assert (row["failed_job"], row["error"]) == (ids[2], "wrong in 2")


async def test_a_step_that_ran_anyway_does_not_hide_the_failure(lab: Lab, worker: Hand) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,), run_anyway=True)])
    await worker.claim()
    await worker.end(ids[0], "failed", error="wrong")
    assert await summary(lab, ids) == ("running", {"failed": 1, "ready": 1}, 50)
    await worker.claim()
    await worker.succeed(ids[1:])
    assert await summary(lab, ids) == ("failed", {"failed": 1, "succeeded": 1}, 100)


async def test_a_cancelled_workflow(lab: Lab, worker: Hand) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,)), Node((1,))])
    await worker.claim()
    await worker.succeed(ids[:1])
    await lab.one("SELECT uno_jobs.cancel_workflow(j.workflow_id) FROM uno_jobs.jobs j WHERE j.id = $1", ids[0])
    assert await summary(lab, ids) == ("cancelled", {"succeeded": 1, "cancelled": 2}, 100)
    row = await seen(lab, ids)
    assert (row["failed_job"], row["failed_task"], row["error"]) == (None, None, None)
    never = await put_workflow(lab, [Node(), Node((0,))])
    await lab.one("SELECT uno_jobs.cancel_workflow(j.workflow_id) FROM uno_jobs.jobs j WHERE j.id = $1", never[0])
    assert await summary(lab, never) == ("cancelled", {"cancelled": 2}, 100)
    assert (await seen(lab, never))["started_at"] is None


@pytest.mark.invariants(retried_by_hand=True)
async def test_a_revived_workflow_runs_again_and_keeps_its_first_start(lab: Lab, worker: Hand) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,)), Node((1,))])
    await worker.claim()
    first = (await lab.live(ids[0]))["started_at"]  # type: ignore[index]
    await worker.end(ids[0], "failed", error="wrong")
    assert (await seen(lab, ids))["state"] == "failed"
    await lab.retry(ids[0])
    # It is ready, as it was before it ever started; but it did.
    assert await summary(lab, ids) == ("running", {"ready": 1, "waiting": 2}, 0)
    assert (await seen(lab, ids))["started_at"] == first
    for id_ in ids:
        await worker.claim()
        assert (await seen(lab, ids))["started_at"] == first
        await worker.succeed([id_])
    assert await summary(lab, ids) == ("succeeded", {"succeeded": 3}, 100)
    assert (await seen(lab, ids))["started_at"] == first


async def test_a_step_that_waits_for_its_retry_has_started(lab: Lab, worker: Hand) -> None:
    ids = await put_workflow(lab, [Node(), Node((0,))])
    await worker.claim()
    first = (await lab.live(ids[0]))["started_at"]  # type: ignore[index]
    await worker.end(ids[0], "retried", delay=60, error="not now")
    assert await summary(lab, ids) == ("running", {"scheduled": 1, "waiting": 1}, 0)
    assert (await seen(lab, ids))["started_at"] == first


async def test_per_cent_is_100_only_when_all_have_ended(lab: Lab, worker: Hand) -> None:
    ids = await put_workflow(lab, [Node() for _ in range(2_001)])
    await worker.succeed([job["id"] for job in await worker.claim(2_000)])
    assert await summary(lab, ids) == ("running", {"succeeded": 2_000, "ready": 1}, 99.9)


async def test_jobs_of_no_workflow_are_in_none(lab: Lab) -> None:
    await lab.put(3)
    assert (await lab.one("SELECT count(*) AS n FROM uno_jobs.workflow_status"))["n"] == 0

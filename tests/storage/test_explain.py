"""``uno_jobs.explain``: one sentence for each place where a job can be, and its bounded cost."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.storage.workflows import Node, put_workflow

if TYPE_CHECKING:
    from uuid import UUID

    from tests.storage.lab import Hand, Lab

pytestmark = pytest.mark.server_versions

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
SOME = r"[\d.]+ s"


async def facts(lab: Lab, id_: UUID) -> dict[str, Any]:
    told = json.loads(await lab.eye.fetchval("SELECT uno_jobs.explain_facts($1)", id_))
    assert told["id"] == str(id_)
    return told


async def why(lab: Lab, id_: UUID, word: str, pattern: str) -> None:
    """Check the word for programs, and the sentence as a whole."""
    import re

    told = await facts(lab, id_)
    assert await lab.eye.fetchval("SELECT uno_jobs.explain($1)", id_) is not None
    assert re.fullmatch(pattern, told["sentence"]), told["sentence"]
    assert told["why"] == word


def known(*pairs: str) -> str:
    """What a worker registers that can run these, each task@version."""
    return json.dumps([dict(zip(("task", "version"), pair.split("@"), strict=True)) for pair in pairs])


def retrying(**options: Any) -> str:
    return json.dumps([
        {"task": "t", "version": "1", "sort_key": "1", "description": None, "schema": {}, "parameters": [],
         "options": {"max_retries": 3, **options}}
    ])  # fmt: skip


async def working(lab: Lab, *queues: str, tasks: str | None = None) -> Hand:
    """A worker of ten slots that lives, and can run the jobs that the lab puts in."""
    hand = await lab.hand()
    await hand.register(*(queues or ("default",)), tasks=tasks or known("t@1"))
    return hand


async def test_a_job_that_there_is_not(lab: Lab) -> None:
    missing = uuid.uuid4()
    with pytest.raises(asyncpg.NoDataFoundError, match=f"there is no job {missing}"):
        await lab.eye.fetchval("SELECT uno_jobs.explain($1)", missing)


async def test_scheduled(lab: Lab) -> None:
    (id_,) = await lab.put(delay=180.4)
    await why(lab, id_, "enqueued_for_later", rf"due in 3 min, at {TIME}: it was enqueued for then")
    await lab.eye.execute("SELECT uno_jobs.pause_queue('default')")
    await why(
        lab, id_, "enqueued_for_later", r"due in 3 min, .*: it was enqueued for then; its queue default is paused"
    )


async def test_scheduled_and_overdue(lab: Lab) -> None:
    (id_,) = await lab.put(delay=60)
    await lab.eye.execute("UPDATE uno_jobs.live_jobs SET run_at = now() - interval '3 min'")
    late = r"was due 3 min ago, and "
    await why(lab, id_, "enqueued_for_later", late + "no living worker is there to make it ready: .*")
    await working(lab)
    await why(lab, id_, "enqueued_for_later", late + "is made ready at the next look: .*")


async def test_a_retry_and_a_snooze(lab: Lab) -> None:
    hand = await working(lab, tasks=retrying())
    retried, snoozed = await lab.put(2)
    await hand.claim()
    error = {"error_type": "builtins.ConnectionError", "error": "no\nroute " + "x" * 300}
    await hand.end(retried, "retried", delay=60, **error)
    await hand.end(snoozed, "snoozed", delay=7200.4)
    await why(
        lab, retried, "retry",
        rf"due in (60|59) s, at {TIME}: retry 1 of 3, after builtins.ConnectionError: no route x+…",
    )  # fmt: skip
    assert len((await facts(lab, retried))["sentence"]) < 300
    await why(lab, snoozed, "snoozed", rf"due in 2 h, at {TIME}: attempt 1 asked to be run again then")


async def test_waiting_for_parents(lab: Lab) -> None:
    first, second, one, both, join = await put_workflow(
        lab, [Node(), Node(), Node((0,)), Node((0, 1)), Node((0, 1), join=True)]
    )
    hand = await working(lab)
    await hand.claim(1)
    await why(lab, one, "waits_for_parents", rf"waits for its parent t {first} \(running\)")
    parents = rf"2 of its 2 parents: t {first} \(running\), t {second} \(ready\)"
    await why(lab, both, "waits_for_parents", f"waits for {parents}")
    await why(lab, join, "waits_for_parents", f"it gathers the results of a group, and waits for {parents}")
    await hand.succeed([first])
    await why(lab, both, "waits_for_parents", rf"waits for 1 of its 2 parents: t {second} \(ready\)")


async def test_many_parents_are_folded(lab: Lab) -> None:
    *parents, last = await put_workflow(lab, [*(Node() for _ in range(40)), Node(tuple(range(40)))])
    hand = await working(lab)
    await hand.claim(10)
    named = ", ".join(rf"t {id_} \(running\)" for id_ in parents[:3])
    await why(
        lab,
        last,
        "waits_for_parents",
        f"waits for 40 of its 40 parents: {named}, and 37 others \\(30 ready, 7 running\\)",
    )


@pytest.mark.invariants(side_tables=False)
async def test_waiting_although_the_parents_have_ended(lab: Lab) -> None:
    parent, child = await put_workflow(lab, [Node(), Node((0,))])
    hand = await working(lab)
    await hand.claim()
    other = await lab.session()
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", child)
    # A cancellation does not wait for whoever holds the child.
    await hand.hand_back(parent)
    await lab.cancel(parent)
    await why(lab, child, "about_to_be_released", "waits for nothing any more: its parent has ended, .*")
    await transaction.rollback()
    await lab.eye.execute("SELECT uno_jobs.release_pending(10)")


async def test_no_worker(lab: Lab) -> None:
    (id_,) = await lab.put()
    await why(lab, id_, "no_worker", "no worker lives: nobody is there to run it")
    hand = await working(lab)
    await lab.eye.execute("UPDATE uno_jobs.workers SET beat_at = now() - interval '21 s'")
    await why(lab, id_, "no_worker", "no worker lives: nobody is there to run it")
    await hand.gateway.beat([hand.id])
    await why(lab, id_, "next", "first in line: .*")


async def test_no_worker_for_its_queue(lab: Lab) -> None:
    (id_,) = await lab.put(queue="reports")
    await working(lab, "mail")
    await why(lab, id_, "queue_not_served", r"no living worker serves its queue reports \(only this is served: mail\)")
    await working(lab, "default", "mail")
    await why(
        lab, id_, "queue_not_served", r"no living worker serves its queue reports \(these are served: default, mail\)"
    )


async def test_no_worker_for_its_task_or_version(lab: Lab) -> None:
    (id_,) = await lab.put(version="2.0")
    await working(lab, tasks=known("tt@2.0", "other@2.0"))
    await why(lab, id_, "task_unknown", "no living worker that serves its queue default knows its task t")
    await working(lab, tasks=known("t@1.0", "t@1.1"))
    await working(lab, "mail", tasks=known("t@2.0"))
    await why(
        lab, id_, "version_unknown",
        r"no living worker that serves its queue default knows version 2\.0 of t \(here pid 1 knows 1\.0, 1\.1\)",
    )  # fmt: skip
    draining = await working(lab, tasks=known("t@2.0"))
    await draining.gateway.worker_state(draining.id, "draining")
    await why(
        lab, id_, "workers_draining",
        "the only living worker that could run it is shutting down, and takes nothing more",
    )  # fmt: skip


async def test_a_paused_queue(lab: Lab) -> None:
    (id_,) = await lab.put()
    await working(lab)
    role = await lab.eye.fetchval("SELECT session_user")
    await lab.eye.execute("SELECT uno_jobs.pause_queue('default', 'the printer burns')")
    sentence = rf"its queue default is paused by {role} since {TIME}, {SOME} ago"
    await why(lab, id_, "queue_paused", sentence + ": the printer burns")
    await lab.eye.execute("SELECT uno_jobs.resume_queue('default'), uno_jobs.pause_queue('default')")
    await lab.eye.execute("UPDATE uno_jobs.queues SET pause_reason = NULL")
    await why(lab, id_, "queue_paused", sentence)


async def test_behind_others(lab: Lab) -> None:
    hand = await working(lab)
    for queue, count in (("default", 12), ("other", 5)):
        await lab.put(count, queue=queue)
        await hand.succeed([job["id"] for job in await hand.claim(queues=[queue])])
    await lab.eye.execute("UPDATE uno_jobs.outcomes SET finished_at = now() - interval '30 s'")
    await lab.put(7, priority=9)
    await lab.put(1203, priority=5)
    await lab.put(50, queue="other")
    (id_,) = await lab.put(priority=5)
    await lab.put(1, priority=1)
    # Twelve of this queue in a minute, so five seconds each.
    await why(
        lab, id_, "behind_others",
        "behind 1,204 jobs of the same or a higher priority in its queue default; at the present rate about 100 min",
    )  # fmt: skip
    await lab.eye.execute("UPDATE uno_jobs.outcomes SET finished_at = now() - interval '2 min'")
    await why(lab, id_, "behind_others", "behind 1,204 jobs .*; none of its queue has ended within the last minute")


async def test_behind_more_than_are_counted(lab: Lab) -> None:
    await working(lab)
    await lab.put(10_001)
    (id_,) = await lab.put()
    assert (await facts(lab, id_))["ahead"] == 10_001
    await why(lab, id_, "behind_others", "behind more than 10,000 jobs of the same or a higher priority .*")


async def test_first_in_line(lab: Lab) -> None:
    hand = await working(lab)
    ids = await lab.put(11)
    await hand.claim(7)
    await why(
        lab, ids[7], "next",
        r"first in line: here pid 1 has 3 of 10 slots free, and takes it at the next look, "
        "unless the limit set there for its queue default is reached",
    )  # fmt: skip
    await hand.claim(3)
    await why(
        lab, ids[10], "slots_busy", "first in line: it waits for one of the 10 busy slots of the worker that can run it"
    )
    await working(lab)
    await why(lab, ids[10], "next", r"first in line: 2 workers have 10 of 20 slots free, .*")


async def test_what_is_about_to_end(lab: Lab) -> None:
    await working(lab)
    (late,) = await lab.put(expires=0)
    await why(lab, late, "expired", "it has not started in time, and is cancelled as expired at the next look of .*")
    (asked,) = await lab.put()
    await lab.ask_to_cancel(asked, "enough")
    await why(lab, asked, "about_to_be_cancelled", "about to be cancelled, as was asked: enough")


async def test_what_ran_when_a_process_died_and_what_failed_before(lab: Lab) -> None:
    hand = await working(lab)
    one, two = await lab.put(2)
    await hand.claim()
    await hand.end(two, "retried", delay=0, error="x")
    await hand.gateway.rescue(hand.id, "gone", 3)
    await lab.eye.execute("UPDATE uno_jobs.live_jobs SET suspect = true WHERE id = $1", one)
    alone = "; it runs alone, since a process died in which it ran before"
    await why(lab, one, "next", f"first in line: .*{alone}")
    await hand.claim(1)
    await why(lab, one, "running", f"running on .*{alone}")
    await why(lab, two, "next", r"first in line: .*; it has failed 1 time before")


async def test_running(lab: Lab) -> None:
    hand = await working(lab)
    (id_,) = await lab.put()
    await hand.claim()
    await lab.eye.execute("UPDATE uno_jobs.live_jobs SET started_at = now() - interval '12 s'")
    where = rf"running on here pid 1 \(worker {hand.id}\) for 12 s, attempt 1; "
    beat = rf"its worker's last beat was {SOME} ago"
    await why(lab, id_, "running", where + beat)
    await hand.gateway.set_progress(id_, hand.leases[id_], 0.4, "resized")
    await lab.cancel(id_, "enough")
    await why(lab, id_, "running", rf"{where}{beat}; 40 % done \(resized\); asked to stop {SOME} ago: enough")
    await lab.eye.execute("UPDATE uno_jobs.workers SET beat_at = now() - interval '40 s'")
    await why(lab, id_, "worker_gone", where + "but that worker has not beaten for 40 s: if it is dead, .*")
    await hand.gateway.worker_state(hand.id, "dead", "killed by SIGKILL")
    await why(
        lab, id_, "worker_gone", where + r"but that worker is dead \(killed by SIGKILL\), and the job is given .*"
    )


async def test_finished(lab: Lab) -> None:
    hand = await working(lab)
    good, bad, unwanted, late = await lab.put(4)
    await hand.claim(2)
    await hand.succeed([good])
    await hand.end(bad, "failed", error_type="ValueError", error="no such address")
    await lab.cancel(unwanted, "ordered twice")
    await lab.eye.execute("UPDATE uno_jobs.live_jobs SET expires_at = now() - interval '1 s'")
    await hand.gateway.expire(10)
    when = rf"at {TIME}, {SOME} ago"
    await why(lab, good, "succeeded", rf"succeeded {when}, in {SOME}, at attempt 1")
    await why(lab, bad, "failed", rf"failed after 1 attempt, {when}: ValueError: no such address")
    await why(lab, unwanted, "cancelled", rf"cancelled {when}, never started: ordered twice")
    await why(lab, late, "cancelled", rf"cancelled {when}, never started: expired before it started")
    await hand.gateway.set_error_after_commit(good, hand.leases[good], "OSError: full")
    await why(lab, good, "succeeded", r"succeeded .*; after its own commit it raised OSError: full")


async def test_failed_by_taking_its_process_down(lab: Lab) -> None:
    hand = await working(lab)
    (id_,) = await lab.put()
    await hand.claim()
    await hand.gateway.rescue(hand.id, "killed by SIGSEGV", 1)
    await why(lab, id_, "failed", r"failed after 1 attempt, .*killed by SIGSEGV.*; it took its process down 1 time")


async def test_cancelled_because_of_another(lab: Lab) -> None:
    first, second = await put_workflow(lab, [Node(), Node((0,))])
    other, its = await put_workflow(lab, [Node(), Node((0,))])
    hand = await working(lab)
    await hand.claim(1)
    await hand.end(first, "failed", error_type="ValueError", error="no")
    await lab.cancel(other, "enough")
    never = rf"cancelled at {TIME}, {SOME} ago, never started: it waited for t "
    await why(lab, second, "cancelled", never + rf"{first}, which failed \(ValueError: no\)")
    await why(lab, its, "cancelled", never + rf"{other}, which was cancelled \(enough\)")


async def test_a_key_that_another_holds(lab: Lab) -> None:
    await working(lab, tasks=retrying())
    first = (await lab.put_unique("k"))["id"]
    await lab.cancel(first)
    free = rf"cancelled at {TIME}, {SOME} ago, never started: cancelled on request"
    await why(lab, first, "cancelled", free)
    holder = (await lab.put_unique("k"))["id"]
    await why(lab, first, "cancelled", free + f"; a retry would be refused: its unique key is held by job {holder}")
    with pytest.raises(asyncpg.UniqueViolationError):
        await lab.retry(first)


@pytest.mark.invariants(retried_by_hand=True)
async def test_a_key_that_was_given_up_at_the_start_hinders_no_retry(lab: Lab) -> None:
    hand = await working(lab, tasks=retrying(unique_until="started"))
    first = (await lab.put_unique("k", until_start=True))["id"]
    await hand.claim()
    await hand.end(first, "failed", error="no")
    await lab.put_unique("k", until_start=True)
    await why(lab, first, "failed", rf"failed after 1 attempt, at {TIME}, {SOME} ago: no")
    await lab.retry(first)

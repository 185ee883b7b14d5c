"""The checks of workers and jobs: each finds its trouble, and is quiet without it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.doctor.conftest import look
from tests.storage.workflows import Node, put_workflow
from uno_jobs.doctor import Limits, Status

if TYPE_CHECKING:
    from tests.storage.lab import Hand, Lab

pytestmark = pytest.mark.server_versions

TASK = '[{"task": "t", "version": "1", "options": {}, "parameters": [], "schema": {}, "sort_key": "1"}]'
OLDER_ID = "7 days 3 hours"


async def worker(lab: Lab, *queues: str) -> Hand:
    hand = await lab.hand()
    await hand.register(*queues, tasks=TASK)
    return hand


async def silence(lab: Lab, hand: Hand) -> None:
    await lab.eye.execute("UPDATE uno_jobs.workers SET beat_at = now() - interval '3 minutes' WHERE id = $1", hand.id)


async def test_queues_that_nobody_serves(lab: Lab) -> None:
    await worker(lab, "default")
    await look(lab.url, "queues", Status.OK)
    await lab.put(2, queue="default")
    await lab.put(2, queue="later", delay=60)
    await look(lab.url, "queues", Status.OK)
    await lab.put(3, queue="mail")
    await lab.put(1, queue="mail", priority=1)
    await lab.put(1, queue="zip")
    found = await look(lab.url, "queues", Status.ERROR)
    assert found.seen == (
        "4 jobs are ready in the queue 'mail', which no worker serves (and 1 more such queues); "
        "those that live serve 'default'"
    )
    assert "--queue mail" in (found.advice or "")
    assert found.details == ({"queue": "mail", "ready": 4}, {"queue": "zip", "ready": 1})
    await lab.eye.execute("INSERT INTO uno_jobs.queues (name, paused_at) VALUES ('zip', now())")
    hand = await worker(lab, "mail")
    await look(lab.url, "queues", Status.OK)
    # The dead and the silent serve nothing.
    await silence(lab, hand)
    assert (await look(lab.url, "queues", Status.ERROR)).details == ({"queue": "mail", "ready": 4},)


async def test_without_a_worker_every_queue_is_orphaned(lab: Lab) -> None:
    await lab.put(1)
    found = await look(lab.url, "queues", Status.ERROR)
    assert found.seen == "a job is ready in the queue 'default', which no worker serves; none lives"


async def test_versions_that_nobody_knows(lab: Lab) -> None:
    hand = await worker(lab, "default")
    await lab.put(5)
    await lab.put(3, version="2", priority=1)
    await look(lab.url, "queues", Status.OK)
    found = await look(lab.url, "versions", Status.ERROR)
    assert found.seen.startswith(
        "3 ready jobs are of t@2, which no worker of the queue 'default' knows; they know 't@1' (of the first"
    )
    [row] = found.details
    assert (row["task"], row["version"], row["queue"], row["ready"]) == ("t", "2", "default", 3)
    # Whoever knows it has to serve the queue.
    other = await lab.hand()
    await other.register("mail", tasks=TASK.replace('"1"', '"2"'))
    await look(lab.url, "versions", Status.ERROR)
    right = await lab.hand()
    await right.register("default", tasks=TASK.replace('"1"', '"2"'))
    await look(lab.url, "versions", Status.OK)
    # Both sides of a long line are seen: nobody can run its head, or its tail.
    await silence(lab, right)
    assert (await look(lab.url, "versions", Status.ERROR)).details[0]["ready"] == 3
    assert {job["id"] for job in await hand.claim(known=("t@2",))} == {
        row["id"] for row in await lab.eye.fetch("SELECT id FROM uno_jobs.live_jobs WHERE version = '2'")
    }
    await look(lab.url, "versions", Status.OK)


async def test_workers_that_are_silent_or_died(lab: Lab) -> None:
    hand = await worker(lab)
    assert (await look(lab.url, "workers", Status.OK)).seen == "one worker lives"
    await lab.put(2)
    await hand.claim()
    await silence(lab, hand)
    found = await look(lab.url, "workers", Status.ERROR)
    assert found.seen == (
        "0 workers live; 1 said to run but silent, such as the one on here (pid 1), for 3 min, with 2 jobs"
    )
    assert "start a worker" in (found.advice or "")
    await worker(lab)
    assert "start a worker" not in ((await look(lab.url, "workers", Status.ERROR)).advice or "")
    await lab.eye.execute("SELECT uno_jobs.rescue($1, 'killed by SIGKILL', 3)", hand.id)
    await lab.eye.execute("SELECT uno_jobs.worker_state($1, 'dead', 'killed by SIGKILL')", hand.id)
    found = await look(lab.url, "workers", Status.WARNING)
    assert "one worker lives; 1 died within" in found.seen
    assert found.seen.endswith("killed by SIGKILL")
    await look(lab.url, "workers", Status.OK, limits=Limits(dead_workers=0))


async def test_steps_that_wait_for_nothing(lab: Lab) -> None:
    hand = await worker(lab)
    parent, child = await put_workflow(lab, [Node(), Node((0,))])
    await look(lab.url, "waiting", Status.OK)
    await hand.claim()
    await look(lab.url, "waiting", Status.OK)
    # A row changed by hand: it waits for more parents than it has.
    await lab.eye.execute("UPDATE uno_jobs.live_jobs SET pending_parents = 2 WHERE id = $1", child)
    await hand.succeed([parent])
    found = await look(lab.url, "waiting", Status.ERROR)
    assert str(child) in found.seen
    assert [row["id"] for row in found.details] == [child]
    # A worker has seen it, and puts it right.
    await lab.eye.fetchrow("SELECT * FROM uno_jobs.mend_waiting($1, 100)", uuid.UUID(int=0))
    await look(lab.url, "waiting", Status.OK)


async def test_retention_that_lags(lab: Lab) -> None:
    hand = await worker(lab)
    [fresh] = await lab.put()
    await hand.claim()
    await hand.succeed([fresh])
    await look(lab.url, "retention", Status.OK)
    await lab.eye.execute(
        f"""
        WITH old AS (SELECT uno_jobs.first_id(now() - interval '{OLDER_ID}') AS id),
        job AS (INSERT INTO uno_jobs.jobs (id, created_at, priority, task, version, queue, args, kwargs)
                SELECT old.id, now() - interval '{OLDER_ID}', 5, 't', '1', 'default', '[]', '{{}}' FROM old
                RETURNING id)
        INSERT INTO uno_jobs.outcomes (id, finished_at, state, attempt, failures, lost)
        SELECT job.id, now() - interval '{OLDER_ID}', 'succeeded', 1, 0, 0 FROM job
        """
    )
    found = await look(lab.url, "retention", Status.WARNING)
    assert "kept for 7 days is 79 min behind, 1 finished jobs" in found.seen
    await look(lab.url, "retention", Status.ERROR, limits=Limits(retention_lag=(1, 60)))
    await lab.eye.execute("SELECT uno_jobs.set_retention('succeeded', NULL)")
    await lab.eye.execute("SELECT uno_jobs.set_retention('cancelled', NULL)")
    await look(lab.url, "retention", Status.OK)
    await lab.eye.execute("SELECT uno_jobs.set_retention('succeeded', '7 days')")
    await look(lab.url, "retention", Status.WARNING)
    await lab.eye.fetchrow("SELECT * FROM uno_jobs.prune(100)")
    assert (await look(lab.url, "retention", Status.OK)).seen == "no job is past its time"

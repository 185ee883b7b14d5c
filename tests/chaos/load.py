"""What the torture enqueues, cancels and retries, and what it must remember of that to judge the end."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.chaos import app
from uno_jobs.errors import DatabaseError, RetryRefused
from uno_jobs.tasks import chain, group
from uno_jobs.tasks.graph import lay_out

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Iterator
    from uuid import UUID

    from tests.chaos.eye import Eye
    from uno_jobs import Queue
    from uno_jobs.tasks.signature import Signature

BACKLOG = 1_500
"""Unfinished jobs beyond which no more are enqueued: every fault stops workers for seconds."""

HELPLESS = "SELECT id FROM uno_jobs.job_status WHERE task = 'torture_needs_help' AND state = 'failed'"


@dataclass
class Ledger:
    """What was asked for. Where the server went away before it answered, it may or may not have been done."""

    batches: dict[str, int] = field(default_factory=dict)
    """How many jobs each batch has at first, unique ones not counted."""
    in_doubt: set[str] = field(default_factory=set)
    """Batches of which nobody knows whether they were committed: whole or not at all."""
    cancelled: set[UUID] = field(default_factory=set)
    """Jobs that somebody may have cancelled."""
    cancelled_batches: set[str] = field(default_factory=set)
    """Workflows that somebody may have cancelled as a whole."""
    retried: set[UUID] = field(default_factory=set)
    """Jobs that were retried by hand."""


def some_jobs(chance: random.Random, number: int) -> Iterator[Signature[Any]]:
    """A batch of all kinds."""
    for _ in range(chance.randint(20, 60)):
        yield app.noop.s(number)
    for _ in range(10):
        yield app.sleeper.s(chance.uniform(0.01, 0.5))
        yield app.count.s(1)
        yield app.threaded.s(number)
        yield app.in_child.s(number)
    for _ in range(3):
        yield app.flaky.s(chance.randint(1, 3))
        yield app.dozy.s()
        yield app.only_one.s(chance.randint(1, 3))
        yield chance.choice([app.grows, app.grows_whole, app.grows_in_child]).s(chance.randrange(app.ADDITIONS))
    yield app.hopeless.s()
    yield app.gives_up.s()
    yield app.noop.options(delay=chance.uniform(0.1, 3.0), priority=chance.choice([1, 5, 7])).s(number)
    yield app.sleeper.options(priority=chance.choice(["critical", "low"])).s(0.1)
    if number % 10 == 0:
        yield app.stubborn.s()
        yield app.kills_its_child.s()
    if number % 40 == 5:
        yield app.poison.s()


def some_workflow(chance: random.Random, number: int) -> Any:
    """Chains and groups in each other, with steps that fail, are given up, clean up, and need help."""
    return chain(app.noop.s(number), *(_part(chance, 2) for _ in range(chance.randint(1, 4))))


def _part(chance: random.Random, depth: int) -> Any:
    kind = chance.random() if depth else 0.0
    if kind < 0.5:
        return _step(chance)
    parts = [_part(chance, depth - 1) for _ in range(chance.randint(0 if kind < 0.75 else 1, 5))]
    return group(parts) if kind < 0.75 else chain(*parts)


def _step(chance: random.Random) -> Signature[Any]:
    anyway = {"on_parent_failure": "run"}
    steps = [
        (app.follow.s(), 8),
        (app.noop.si(1), 3),
        (app.count.si(1), 4),
        (app.flaky.si(1), 2),
        (app.sleeper.si(0.05), 2),
        (app.threaded.si(1), 2),
        (app.in_child.si(1), 1),
        (app.dozy.si(), 1),
        (app.noop.options(**anyway).si(1), 3),
        (app.count.options(**anyway).si(1), 2),
        (app.needs_help.si(), 2),
        (app.grows.si(chance.randrange(app.ADDITIONS)), 1),
        (app.grows_whole.si(chance.randrange(app.ADDITIONS)), 1),
        (app.grows_in_child.si(chance.randrange(app.ADDITIONS)), 1),
        (app.hopeless.si(), 1),
        (app.gives_up.si(), 1),
    ]
    (step,) = chance.choices([step for step, _ in steps], [weight for _, weight in steps])
    return step


async def enqueue(queue: Queue, eye: Eye, chance: random.Random, until: float, ledger: Ledger) -> None:
    """Keep the workers busy, but leave no more than they can do after the last fault; cancel a job now and then."""
    number = 0
    while time.monotonic() < until:
        if await eye.fetchval("SELECT count(*) FROM uno_jobs.live_jobs") > BACKLOG:
            await asyncio.sleep(0.2)
            continue
        await _enqueue_jobs(queue, chance, number, ledger)
        for place in range(chance.randint(1, 4)):
            await _enqueue_workflow(queue, eye, chance, f"workflow {number} {place}", ledger)
        number += 1
        await asyncio.sleep(chance.uniform(0.05, 0.4))


async def _enqueue_jobs(queue: Queue, chance: random.Random, number: int, ledger: Ledger) -> None:
    batch = f"jobs {number}"
    jobs = [
        dataclasses.replace(job, options={**job.options, "metadata": {"batch": batch}})
        for job in some_jobs(chance, number)
    ]
    ledger.batches[batch] = sum(job.task is not app.only_one for job in jobs)
    handles = await _answered(ledger.in_doubt, batch, lambda: queue.enqueue_many(jobs))
    for handle in chance.sample(handles or [], 2 if handles else 0):
        await _cancel(ledger.cancelled, handle.id, handle.cancel)


async def _enqueue_workflow(queue: Queue, eye: Eye, chance: random.Random, batch: str, ledger: Ledger) -> None:
    workflow = some_workflow(chance, 1)
    ledger.batches[batch] = len(lay_out(workflow).nodes)
    handle = await _answered(
        ledger.in_doubt, batch, lambda: queue.enqueue(workflow, metadata={"batch": batch, "workflow": True})
    )
    if handle is None:
        return
    if chance.random() < 0.1:
        await _cancel(ledger.cancelled_batches, batch, handle.cancel)
    elif chance.random() < 0.15:
        ids = await eye.fetch("SELECT id FROM uno_jobs.jobs WHERE workflow_id = $1 ORDER BY id", handle.workflow_id)
        one = chance.choice(ids)["id"]
        await _cancel(ledger.cancelled, one, lambda reason: queue.cancel(one, reason))


async def _answered(in_doubt: set[str], batch: str, action: Callable[[], Awaitable[Any]]) -> Any:
    """Return the answer; None when the server went away and nobody knows."""
    try:
        return await action()
    except DatabaseError:
        in_doubt.add(batch)
        return None


async def _cancel(cancelled: set[Any], what: Any, action: Callable[[str], Awaitable[str]]) -> None:
    try:
        answer = await action("the torture says so")
    except DatabaseError:
        answer = "in doubt"
    if answer != "finished":
        cancelled.add(what)


async def help_the_helpless(queue: Queue, eye: Eye, ledger: Ledger) -> int:
    """Retry by hand what failed for want of it; returns how many there were."""
    found = await eye.fetch(HELPLESS)
    for (id_,) in found:
        ledger.retried.add(id_)
        try:
            await queue.retry(id_)
        except (DatabaseError, RetryRefused):
            continue  # the server is away, or it has begun anew: the next round will show
    return len(found)


async def help_all_the_while(queue: Queue, eye: Eye, until: float, ledger: Ledger) -> None:
    while time.monotonic() < until:
        await help_the_helpless(queue, eye, ledger)
        await asyncio.sleep(1.0)

"""The law: the check calls a job fine if and only if a worker with the same code takes its arguments."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.deploy.releases import TYPES, UPGRADES, Case, cases, make
from uno_jobs.deploy import Kind, Problem, check_jobs
from uno_jobs.queue import Queue
from uno_jobs.tasks import TaskRegistry, chain
from uno_jobs.testing import run_until_idle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from uno_jobs.tasks.registry import Registry

EXAMPLES = 12
"""Each is many jobs at once."""

_HOW_ENDED = """
    SELECT j.task, l.state::text AS live, o.state::text AS ended, o.error_type, o.error
    FROM uno_jobs.jobs j LEFT JOIN uno_jobs.outcomes o ON o.id = j.id LEFT JOIN uno_jobs.live_jobs l ON l.id = j.id
    WHERE j.task LIKE 'case%'
"""


def new_release(drawn: list[Case]) -> Registry:
    """Return the tasks of the new release."""
    with TaskRegistry.isolated() as registry:
        for name, case in numbered(drawn):
            if case.new is not None:
                upgrade = {} if case.upgrade is None else {"1.0": UPGRADES[case.upgrade]}
                make(name, case.new, version=case.version, upgrade_from=upgrade)
    return registry


def numbered(drawn: list[Case]) -> Iterator[tuple[str, Case]]:
    return ((f"case{number}", case) for number, case in enumerate(drawn))


async def told_and_done(url: str, registry: Registry) -> Iterator[tuple[Problem | None, Any]]:
    """Check, then let a worker run what there is; for each job what was told, and how it ended."""
    connection = await asyncpg.connect(url)
    try:
        report = await check_jobs(url, registry=registry)
        assert report.complete
        told = {one.task: one for one in report.problems}
        assert all(one.jobs == 1 for one in report.problems)
        await run_until_idle(url, registry=registry)
        rows = await connection.fetch(_HOW_ENDED)
        await connection.execute(
            "TRUNCATE uno_jobs.jobs, uno_jobs.live_jobs, uno_jobs.outcomes, uno_jobs.attempts, uno_jobs.job_edges"
        )
    finally:
        await connection.close()
    return iter([(told.get(row["task"]), row) for row in rows])


@given(st.lists(cases(), min_size=10, max_size=30))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_tells_of_a_job_what_the_worker_then_does(database_url: str, drawn: list[Case]) -> None:
    async def work() -> None:
        async with Queue(database_url) as queue:
            with TaskRegistry.isolated():
                for name, case in numbered(drawn):
                    await queue.enqueue(make(name, case.old), args=list(case.args), kwargs=case.kwargs)
        for told, job in await told_and_done(database_url, new_release(drawn)):
            if told is None:
                assert job["ended"] == "succeeded", dict(job)
            elif told.kind is Kind.ARGUMENTS:
                assert job["ended"] == "failed", told
                assert (job["error_type"], job["error"]) == (told.error_type, told.reason)
            else:
                assert told.kind in (Kind.UNKNOWN_TASK, Kind.UNKNOWN_VERSION)
                assert job["live"] == "ready", told

    asyncio.run(work())


@given(st.lists(cases(step=True), min_size=10, max_size=20))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_tells_of_a_step_that_waits_what_no_result_could_change(database_url: str, drawn: list[Case]) -> None:
    """The step before gives all that the new release could ask for: what fails then, fails with any result."""

    async def work() -> None:
        async with Queue(database_url) as queue:
            with TaskRegistry.isolated():
                for name, case in numbered(drawn):
                    step = make(name, case.old).s(*case.args, **case.kwargs)
                    await queue.enqueue(chain(giving(f"before-{name}", case), step))
        registry = new_release(drawn)
        with TaskRegistry.isolated() as whole:
            for task in registry.all():
                whole.add(task)
            for name, case in numbered(drawn):
                giving(f"before-{name}", case)
        for told, job in await told_and_done(database_url, whole):
            if told is None:
                assert job["ended"] == "succeeded", dict(job)
            elif told.kind is Kind.ARGUMENTS:
                assert job["ended"] == "failed", told
                assert job["error_type"] == told.error_type
                # By then it is also known what the steps before gave.
                assert job["error"].partition(" (earlier steps gave")[0] == told.reason
            else:
                assert job["live"] == "ready", told

    asyncio.run(work())


def giving(name: str, case: Case) -> Any:
    """Register a task that returns a value that fits for each parameter of the new release."""
    result = {one.name: TYPES[one.type][1][0] for one in case.new or ()}

    async def give() -> dict[str, Any]:
        return result

    return TaskRegistry.register(give, name=name)

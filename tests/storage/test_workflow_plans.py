"""What it costs to look at workflows, with a history of 300,000 other jobs and 3,000 workflows: pages, never time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.storage.lab import Lab
from tests.storage.plans import explained
from uno_jobs.queue.workflow_status import read_graph, read_newest, read_workflow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from uno_jobs.testing.databases import Databases

OTHERS, WORKFLOWS, STEPS, LARGE = 300_000, 3_000, 5, 20_000

# Workflow n of the small ones is 0…n, the large one comes in front of the newest ten: in order of their ids.
FILL = f"""
CREATE FUNCTION pg_temp.put(prefix text, workflows int, steps int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO uno_jobs.jobs (id, created_at, workflow_id, priority, task, version, queue, args, kwargs)
    SELECT (prefix || lpad(to_hex(w * 100000 + s), 24, '0'))::uuid, now(),
           CASE WHEN prefix <> '00000000' THEN (prefix || lpad(to_hex(w), 24, '0'))::uuid END,
           5, 't', '1', 'q', '[]', '{{}}'
    FROM generate_series(1, workflows) AS w, generate_series(1, steps) AS s;
$$;
SELECT pg_temp.put('00000000', 1, {OTHERS});
SELECT pg_temp.put('10000000', {WORKFLOWS}, {STEPS});
SELECT pg_temp.put('20000000', 1, {LARGE});
SELECT pg_temp.put('30000000', 10, {STEPS});
INSERT INTO uno_jobs.outcomes (id, finished_at, started_at, state, attempt, failures, lost)
SELECT j.id, now(), now(), 'succeeded', 2, 1, 0 FROM uno_jobs.jobs j;
INSERT INTO uno_jobs.attempts (job_id, lease, started_at, finished_at, worker_id, attempt, outcome)
SELECT j.id, n, now(), now(), j.id, n, CASE n WHEN 2 THEN 'succeeded' ELSE 'retried' END::uno_jobs.attempt_outcome
FROM uno_jobs.jobs j, generate_series(1, 2) AS n WHERE j.workflow_id IS NOT NULL;
INSERT INTO uno_jobs.job_edges (parent_id, child_id, kind, position)
SELECT j.id, j.next, 'chain', 0
FROM (SELECT id, lead(id) OVER (PARTITION BY workflow_id ORDER BY id) AS next FROM uno_jobs.jobs
      WHERE workflow_id IS NOT NULL) j
WHERE j.next IS NOT NULL;
INSERT INTO uno_jobs.live_jobs (id, seq, state, priority, task, version, queue)
SELECT ('4' || lpad(to_hex(n), 31, '0'))::uuid, n, 'ready', 5, 't', '1', 'q' FROM generate_series(1, 100000) AS n;
ANALYZE;
"""


@pytest.fixture(autouse=True)
def sound() -> None:
    """Rows are put in by hand here."""


@pytest.fixture(scope="module")
def full_url(databases: Databases) -> Iterator[str]:
    async def fill(url: str) -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(FILL)
        finally:
            await connection.close()

    with databases.migrated() as url:
        asyncio.run(fill(url))
        yield url


@pytest.fixture
async def lab(full_url: str) -> AsyncIterator[Lab]:
    lab = await Lab.open(full_url)
    yield lab
    await lab.close()


def workflow(prefix: str, number: int) -> str:
    return f"{prefix}{number:024x}"


async def explain(lab: Lab, steps: Any) -> tuple[int, Any]:
    """Run the first statement of these steps; returns the rows and what was seen."""
    statement = next(steps)
    await lab.eye.fetch(statement.sql, *statement.args)  # what is read once a session
    async with explained(lab.eye) as seen:
        rows = await lab.eye.fetch(statement.sql, *statement.args)
    large = [
        (node["Node Type"], node["Relation Name"])
        for node in seen.nodes()
        if "Scan" in node["Node Type"]
        and node.get("Relation Name") in ("jobs", "outcomes", "live_jobs", "attempts", "job_edges")
        and not (node.get("Index Name") or node["Node Type"] == "Bitmap Heap Scan")
    ]
    assert large == []
    return len(rows), seen


async def test_one_workflow_is_read_by_its_index(lab: Lab) -> None:
    rows, seen = await explain(lab, read_workflow("uno_jobs", workflow("10000000", 1_500)))
    assert rows == 1
    assert "workflow_id = " in seen.index_conditions()["jobs_workflow"]
    assert seen.buffers() < 20 * STEPS


async def test_a_large_workflow_costs_what_its_steps_do(lab: Lab) -> None:
    rows, seen = await explain(lab, read_workflow("uno_jobs", workflow("20000000", 1)))
    assert rows == 1
    assert seen.buffers() < 15 * LARGE


async def test_the_steps_of_one_workflow(lab: Lab) -> None:
    rows, seen = await explain(lab, read_graph("uno_jobs", workflow("10000000", 1_500)))
    assert rows == 1 + STEPS
    assert seen.buffers() < 40 * STEPS


async def test_the_newest_are_found_without_the_others(lab: Lab) -> None:
    rows, seen = await explain(lab, read_newest("uno_jobs", 10, None))
    assert rows == 10
    assert seen.buffers() < 10 * (20 * STEPS + 10)


async def test_from_one_workflow_to_the_next_is_one_step_whatever_is_in_it(lab: Lab) -> None:
    rows, seen = await explain(lab, read_newest("uno_jobs", 30, None))
    assert rows == 30
    # The large workflow is the eleventh: its steps are counted, but not walked over.
    walked = [
        node["Actual Rows"] * node["Actual Loops"]
        for node in seen.nodes()
        if node.get("Index Name") == "jobs_workflow" and node["Plan Rows"] > 0 and "<" in node.get("Index Cond", "")
    ]
    assert sum(walked) == 30

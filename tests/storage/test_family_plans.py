"""EXPLAIN guards of how an end reaches those that wait for it: what it costs does not grow with the group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.storage.plans import Explained, explained
from tests.storage.workflows import Node, put_workflow

if TYPE_CHECKING:
    from tests.storage.lab import Lab

MEMBERS, ENDS = 2_000, 100


@pytest.fixture(autouse=True)
def sound() -> None:
    """Rows are changed by hand here."""


def rows_read(seen: Explained) -> float:
    """How many rows the nodes of all plans gave, or took away by a filter."""
    taken = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter")
    return sum(node["Actual Loops"] * sum(node.get(key, 0) for key in taken) for node in seen.nodes())


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
async def test_a_member_s_end_costs_the_same_in_a_group_of_any_size(lab: Lab, outcome: str) -> None:
    """Where statistics say that few wait, each for one, a plan that begins with those reads all edges for each end."""
    for table in ("live_jobs", "job_edges"):
        await lab.eye.execute(f"ALTER TABLE uno_jobs.{table} SET (autovacuum_enabled = off)")
    for _ in range(100):
        await put_workflow(lab, [Node(queue="elsewhere"), Node((0,), queue="elsewhere")])
    await lab.eye.execute("ANALYZE uno_jobs.job_edges")
    await lab.eye.execute("UPDATE uno_jobs.live_jobs SET state = 'scheduled', run_at = now() + interval '1 day'")
    ids = await put_workflow(lab, [*[Node()] * MEMBERS, Node(tuple(range(MEMBERS)), run_anyway=outcome == "failed")])
    await lab.eye.execute("ANALYZE uno_jobs.live_jobs")
    hand = await lab.hand()
    jobs = await hand.claim(ENDS)
    async with explained(hand.connection) as seen:
        if outcome == "succeeded":
            assert await hand.succeed([job["id"] for job in jobs]) == {}
        else:
            assert await hand.end([job["id"] for job in jobs], "failed", error="no") == {}
    assert ((await lab.live(ids[-1])) or {})["pending_parents"] == MEMBERS - ENDS
    assert rows_read(seen) < 60 * ENDS

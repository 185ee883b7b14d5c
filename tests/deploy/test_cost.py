"""What a page of the check reads is bounded, whatever the backlog and the history, and whatever the statistics say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.storage.lab import Lab
from tests.storage.plans import explained

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

READY = 20_000
PAGE = 500


@pytest.fixture
async def lab(database_url: str) -> AsyncIterator[Lab]:
    lab = await Lab.open(database_url)
    yield lab
    await lab.close()


async def pages(lab: Lab, after: Any, *, analysed: bool) -> int:
    """Return how many pages of tables and indexes one page of jobs takes, and see that nothing is read whole."""
    async with explained(lab.eye) as seen:
        rows = await lab.eye.fetch("SELECT * FROM uno_jobs.jobs_to_check($1, $2, 4000000, NULL)", after, PAGE)
    assert len(rows) == PAGE
    whole = {node["Node Type"] for node in seen.nodes()} & {"Seq Scan", "Bitmap Heap Scan", "Sort", "Hash Join"}
    assert not whole, (analysed, whole)
    return seen.buffers()


async def test_a_page_costs_the_same_with_more_jobs(lab: Lab) -> None:
    ids = await lab.put(READY)
    middle = sorted(ids)[READY // 2]
    first = await pages(lab, middle, analysed=False)
    await lab.put(READY)
    await lab.eye.execute("ANALYZE uno_jobs.live_jobs")
    await lab.eye.execute("ANALYZE uno_jobs.jobs")
    second = await pages(lab, middle, analysed=True)
    # Per job a walk down an index of each table, and a page of it.
    assert first <= PAGE * 8
    assert second <= first * 1.3 + 50

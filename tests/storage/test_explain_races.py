"""``uno_jobs.explain`` of a job that moves in this moment."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.storage.lab import Hand, Lab

pytestmark = pytest.mark.server_versions


async def test_a_job_that_ends_meanwhile_is_explained_as_of_one_moment(lab: Lab, worker: Hand) -> None:
    """Naively it is taken for running, and then nothing of its run is found."""
    (id_,) = await lab.put()
    await worker.claim()
    holder, caller = await lab.session(), await lab.session()
    holding = holder.transaction()
    await holding.start()
    # It stops there once it has read the state, before it reads the rest.
    await holder.execute("LOCK TABLE uno_jobs.workers IN ACCESS EXCLUSIVE MODE")
    asked = asyncio.create_task(caller.fetchval("SELECT uno_jobs.explain_facts($1)", id_))
    await lab.blocked(caller)
    assert await worker.succeed([id_]) == {}
    await holding.rollback()
    told = json.loads(await asked)
    assert (told["state"], told["why"], told["hostname"], told["attempt"]) == ("running", "running", "here", 1)

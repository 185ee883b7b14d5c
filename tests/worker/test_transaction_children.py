"""``job.transaction()`` in child processes: the same, with a worker in between."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.worker import transaction_app as app
from tests.worker.conftest import LIMIT, Database, running, until_empty
from tests.worker.transactions import count
from uno_jobs.tasks import Task, TaskRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def tasks_of_the_app(own_registry: None) -> Iterator[None]:
    for value in vars(app).values():
        if isinstance(value, Task) and "config" in vars(value):
            TaskRegistry.current().add(value)
    return


async def appears(path: Path) -> None:
    async with asyncio.timeout(LIMIT):
        while not path.exists():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("kind", ["session", "psycopg"])
async def test_writes_and_success_are_one_commit_or_none(effects: Database, kind: Any) -> None:
    (well,) = await effects.put(app.works, kind)
    (badly,) = await effects.put(app.works, kind, True)
    await until_empty(effects.url, child_processes=2)
    assert json.loads((await effects.job(well))["result"]) == f"in {os.getpid()}"
    assert [one["outcome"] for one in await effects.attempts(badly)] == ["retried", "succeeded"]
    assert await count(effects) == 2


@pytest.mark.parametrize("kind", ["session", "asyncpg", "psycopg"])
async def test_asynchronous_tasks_have_theirs(effects: Database, kind: Any) -> None:
    await effects.put(app.asynchronous, kind, times=3)
    await until_empty(effects.url, child_processes=1)
    assert await count(effects) == 3
    assert await effects.connection.fetchval("SELECT count(*) FROM uno_jobs.attempts WHERE outcome = 'succeeded'") == 3


async def test_when_the_lease_is_over_no_effect_remains(effects: Database, tmp_path: Path) -> None:
    inside, go = tmp_path / "inside", tmp_path / "go"
    (id_,) = await effects.put(app.waits_inside, str(inside), str(go))
    async with running(effects.url, child_processes=1) as worker:
        await appears(inside)
        await effects.connection.execute("SELECT uno_jobs.rescue($1, 'a test', 3)", worker.identity.id)
        go.touch()
        await effects.wait_for(id_, "succeeded")
    assert [one["outcome"] for one in await effects.attempts(id_)] == ["lost", "succeeded"]
    assert await count(effects) == 1


async def test_what_comes_after_the_commit_goes_on_and_its_error_is_recorded(effects: Database, tmp_path: Path) -> None:
    committed, go = tmp_path / "committed", tmp_path / "go"
    (id_,) = await effects.put(app.goes_on_after, str(committed), str(go))
    async with running(effects.url, child_processes=1) as worker:
        await appears(committed)
        (holding,) = worker.holdings.running
        rounds = worker.reconciler.rounds
        async with asyncio.timeout(LIMIT):
            while worker.reconciler.rounds < rounds + 2:
                worker.reconciler.ask()
                await asyncio.sleep(0.005)
        assert not holding.disowned
        go.touch()
        await effects.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.attempts WHERE error_after_commit IS NOT NULL)")
    (attempt,) = await effects.attempts(id_)
    assert (attempt["outcome"], attempt["error_after_commit"]) == ("succeeded", "ValueError: too late")
    assert (await effects.job(id_))["result"] == '"committed"'


async def test_a_death_after_the_commit_changes_nothing(effects: Database) -> None:
    (id_,) = await effects.put(app.dies_after)
    await until_empty(effects.url, child_processes=1)
    (attempt,) = await effects.attempts(id_)
    assert attempt["outcome"] == "succeeded"
    assert "ProcessDied" in attempt["error_after_commit"]
    assert (await effects.job(id_))["result"] == '"committed"'
    assert await count(effects) == 1


async def test_being_stopped_after_the_commit_changes_nothing(effects: Database, tmp_path: Path) -> None:
    committed = tmp_path / "committed"
    (id_,) = await effects.put(app.goes_on_after, str(committed), str(tmp_path / "never"))
    async with running(effects.url, child_processes=1, grace=1.0):
        await appears(committed)
    (attempt,) = await effects.attempts(id_)
    assert attempt["outcome"] == "succeeded"
    assert "it was told to stop" in attempt["error_after_commit"]
    assert (await effects.job(id_))["result"] == '"committed"'

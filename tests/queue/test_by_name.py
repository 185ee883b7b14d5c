"""Tasks that this process does not know: what living workers recorded of them decides."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from tests.queue.callers import KINDS, calling
from uno_jobs import TaskRegistry, task
from uno_jobs.errors import InvalidArguments, InvalidOption, PayloadTooLarge, TaskNotFound
from uno_jobs.tasks.versions import sort_text

if TYPE_CHECKING:
    from types import SimpleNamespace

    from tests.queue.conftest import Database
    from uno_jobs import Queue


class Size(BaseModel):
    width: int


def elsewhere() -> list[Any]:
    """Tasks of another process: registered there, unknown here."""
    with TaskRegistry.isolated():

        @task(version="1.9", queue="images", priority="high", expires=600)
        async def resize(image: str, size: Size | None = None, *, quality: int = 80) -> None: ...

        @task(version="1.10", queue="images2", unique=True)
        async def resize2(
            image: str, size: Size | None = None, /, *more: int, quality: int = 80, **extra: str
        ) -> None: ...

        @task(unique=True, unique_key=lambda user: user, on_duplicate="raise")
        async def keyed(user: str) -> None: ...

        @task(unique=True, unique_key="one", unique_until="started", on_duplicate="replace")
        async def fixed(n: int) -> None: ...

        return [resize, resize2, keyed, fixed]


async def live(database: Database, *tasks: Any, name: str | None = None, known: bool = True) -> uuid.UUID:
    worker = uuid.uuid4()
    records = [
        {"task": name or one.name, "version": one.version, "sort_key": sort_text(one.version), **one.record()}
        for one in tasks
    ]
    await database.connection.execute(
        "SELECT uno_jobs.register_worker($1, $1, NULL, 1, 'host', 1, 10, '{default}', $2::text::jsonb)",
        worker,
        json.dumps(records),
    )
    if not known:
        await database.connection.execute("UPDATE uno_jobs.workers SET state = 'dead' WHERE id = $1", worker)
    return worker


@pytest.mark.parametrize("kind", KINDS)
async def test_its_options_and_arguments_are_those_recorded(kind: str, database: Database) -> None:
    resize, *_ = elsewhere()
    await live(database, resize)
    async with calling(kind, database.url) as caller:
        await caller.begin()
        handle = await caller.enqueue("resize", "a.png", delay=5)
        for args, kwargs, said in (
            ([], {}, "missing 'image'"),
            ([3], {}, "parameter 'image'.*not of type 'string'"),
            (["a", {"width": "x"}], {}, "'size"),
            (["a", None, 3], {}, "at most 2 positional"),
            (["a"], {"image": "b"}, "given twice"),
            (["a"], {"qality": 3}, "no parameter 'qality'.*'quality'"),
        ):
            with pytest.raises(InvalidArguments, match=f"'resize'.*{said}"):
                await caller.enqueue_many([("resize", args, kwargs)])
        # The caller's transaction is as whole as ever.
        await caller.enqueue_many([("resize", ["b", {"width": 3}], {"quality": 1}), ("resize", ["c", None])])
        await caller.commit()
    jobs = await database.jobs()
    job = next(job for job in jobs if job["id"] == handle.id)
    assert (job["version"], job["queue"], job["priority"], job["state"]) == ("1.9", "images", 3, "scheduled")
    assert (job["expires_at"] - job["created_at"]).total_seconds() == 600
    assert len(jobs) == 3


async def test_the_highest_version_that_a_living_worker_knows(queue: Queue, database: Database) -> None:
    resize, resize2, *_ = elsewhere()
    await live(database, resize, name="resize")
    await live(database, resize2, name="resize", known=False)
    handle = await queue.enqueue("resize", ["a"])
    assert (await handle.status()).version == "1.9"
    named = await queue.enqueue("resize", ["a"], version="1.10")
    assert (await named.status()).version == "1.10"
    with pytest.raises(TaskNotFound, match=r"version '3\.0' of task 'resize'.*no worker has ever"):
        await queue.enqueue("resize", ["a"], version="3.0")
    with pytest.raises(TaskNotFound, match="no task 'resice' is registered in this process, and no living worker"):
        await queue.enqueue("resice", ["a"])
    with pytest.raises(PayloadTooLarge):
        await queue.enqueue("resize", ["a" * 1_000_000])


async def test_equal_calls_have_equal_keys_here_there_and_in_sql(queue: Queue, database: Database) -> None:
    _, resize2, *_ = elsewhere()
    await live(database, resize2)
    handles = [
        await queue.enqueue("resize2", ["a", None, 1, 2], {"z": "1"}),
        await queue.enqueue("resize2", ["a", None, 1, 2], {"z": "1", "quality": 80}),
        await queue.enqueue(resize2, ["a", None, 1, 2], {"quality": 80, "z": "1"}),
    ]
    from_sql = await database.connection.fetchval(
        """SELECT uno_jobs.enqueue('resize2', '["a", null, 1, 2]', '{"z": "1"}')"""
    )
    assert {handle.id for handle in handles} == {from_sql}
    assert await database.count() == 1
    assert not (await queue.enqueue("resize2", ["a", None, 1, 3], {"z": "1"})).is_duplicate
    with pytest.raises(InvalidArguments, match="z"):
        await queue.enqueue("resize2", ["a"], {"z": 1})


async def test_a_key_that_only_its_code_can_compute_must_be_given(queue: Queue, database: Database) -> None:
    *_, keyed, fixed = elsewhere()
    await live(database, keyed, fixed)
    with pytest.raises(InvalidOption, match="pass unique_key="):
        await queue.enqueue("keyed", ["u"])
    await queue.enqueue("keyed", ["u"], unique_key="u")
    await queue.enqueue("fixed", [1])
    again = await queue.enqueue("fixed", [2])
    assert (again.is_duplicate, again.replaced) == (True, True)
    row = await database.connection.fetchrow(
        "SELECT unique_key, key_until_start FROM uno_jobs.live_jobs WHERE task = 'fixed'"
    )
    assert row is not None
    assert tuple(row) == ("one", True)


async def test_a_task_that_is_here_is_taken_from_here(queue: Queue, database: Database, tasks: SimpleNamespace) -> None:
    @task(name="add", version="2.0")
    async def add2(a: int) -> int:
        return a

    assert (await (await queue.enqueue("add", [1])).status()).version == "2.0"
    assert (await (await queue.enqueue("add", [1], version="1.0")).status()).version == "1.0"
    assert (await (await queue.enqueue(add2, [1, 2], version="1.0")).status()).args == [1, 2]
    with pytest.raises(InvalidArguments):
        await queue.enqueue("add", [1, 2])

"""Chains and groups from the enqueue to the result, through a real worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.worker.conftest import LIMIT, running, until_empty
from uno_jobs import Queue
from uno_jobs.errors import DuplicateJob, InvalidOption, InvalidWorkflow, JobCancelled, JobFailed, TaskNotFound
from uno_jobs.tasks import TaskRegistry, chain, group, task

if TYPE_CHECKING:
    from tests.worker.conftest import Database


async def test_the_documents_chain(database: Database) -> None:
    seen: dict[str, Any] = {}

    @task
    async def process_image(image_id: str) -> dict:
        return {"processed_image_id": f"proc_{image_id}"}

    @task
    async def generate_thumbnail(processed_image_id: str) -> dict:
        seen["generate_thumbnail"] = processed_image_id
        return {"thumbnail_id": f"thumb_{processed_image_id}"}

    @task
    async def update_metadata(thumbnail_id: str, processed_image_id: str) -> dict:
        seen["update_metadata"] = (thumbnail_id, processed_image_id)
        return {"status": "complete"}

    workflow = chain(process_image, generate_thumbnail, update_metadata)
    async with Queue(database.url) as queue, running(database.url):
        handle = await queue.enqueue(task=workflow, args=["image_123"])
        assert await handle.result(timeout=LIMIT) == {"status": "complete"}
    assert seen == {
        "generate_thumbnail": "proc_image_123",
        "update_metadata": ("thumb_proc_image_123", "proc_image_123"),
    }


async def test_the_documents_complex_workflow(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    @task
    async def process_image(image_id: str) -> dict:
        return {"processed_image_id": f"proc_{image_id}"}

    @task
    async def resize_image(image_id: str, size: str) -> dict:
        seen.append((image_id, size))
        return {"resized_id": f"{image_id}_{size}"}

    @task
    async def update_metadata(thumbnail_id: str, processed_image_id: str) -> dict:
        seen.append((thumbnail_id, processed_image_id))
        return {"status": "complete"}

    workflow = chain(
        process_image.s("image_123"),
        group([resize_image.s("small"), resize_image.s("medium"), resize_image.s("large")]),
        update_metadata.s(),
    )
    async with Queue(database.url) as queue, running(database.url):
        handle = await queue.enqueue(task=workflow)
        assert await handle.result(timeout=LIMIT) == {"status": "complete"}
    sizes = ["small", "medium", "large"]
    assert sorted(seen[:3]) == sorted(("proc_image_123", size) for size in sizes)
    assert seen[3] == ([{"resized_id": f"proc_image_123_{size}"} for size in sizes], "proc_image_123")
    (warning,) = [record.getMessage() for record in caplog.records if "previous step's result" in record.getMessage()]
    assert "update_metadata" in warning
    assert "thumbnail_id" in warning


async def test_groups_of_groups_and_empty_ones_result_in_lists(database: Database) -> None:
    @task
    async def double(number: int) -> int:
        return 2 * number

    @task
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    nested = group([double.s(1), group([double.s(2), double.s(3)]), group([]), chain(double.s(4), double)])
    async with Queue(database.url) as queue, running(database.url):
        assert await (await queue.enqueue(nested)).result(timeout=LIMIT) == [2, [4, 6], [], 16]
        assert await (await queue.enqueue(group([]))).result(timeout=LIMIT) == []
        assert await (await queue.enqueue(chain(double.s(1), group([])))).result(timeout=LIMIT) == []
        assert await (await queue.enqueue(chain(double.s(1), group([]), total))).result(timeout=LIMIT) == 0
        after_group = chain(group([double.s(1), double.s(2)]), group([]), total)
        assert await (await queue.enqueue(after_group)).result(timeout=LIMIT) == 0
        wide = group([double.s(n) for n in range(1200)]) | group([total.s() for _ in range(3)]) | total
        assert await (await queue.enqueue(wide)).result(timeout=LIMIT) == 3 * sum(2 * n for n in range(1200))


async def test_after_an_empty_group_the_previous_result_is_an_empty_list(database: Database) -> None:
    @task
    async def first() -> dict:
        return {"a": 1}

    @task
    async def last(previous: list, a: int) -> list:
        return [previous, a]

    async with Queue(database.url) as queue, running(database.url):
        assert await (await queue.enqueue(chain(first, group([]), last))).result(timeout=LIMIT) == [[], 1]


async def test_the_flow_passes_over_steps_that_take_nothing(database: Database) -> None:
    @task
    async def first() -> dict:
        return {"a": 1, "b": 1}

    @task
    async def second() -> dict:
        return {"b": 2}

    @task
    async def third(previous: dict, *, a: int, b: int, c: int = 3) -> list:
        return [previous, a, b, c]

    async with Queue(database.url) as queue, running(database.url):
        handle = await queue.enqueue(chain(first, second.si(), third.s()))
        assert await handle.result(timeout=LIMIT) == [{"b": 2}, 1, 2, 3]


async def test_a_step_without_its_argument_fails_at_once_and_the_rest_is_cancelled(database: Database) -> None:
    @task(max_retries=5)
    async def lonely(previous: int, other: int) -> int:
        return previous + other

    @task
    async def first() -> int:
        return 1

    async with Queue(database.url) as queue:
        handle = await queue.enqueue(chain(first, lonely, first.si()))
        await until_empty(database.url)
        with pytest.raises(JobFailed, match=r"a step of the workflow, failed: .*BindingError") as raised:
            await handle.result(timeout=LIMIT)
    failed = await database.connection.fetchrow("SELECT * FROM uno_jobs.failed_jobs")
    assert failed is not None
    assert (failed["task"], failed["attempts"], failed["error_type"]) == ("lonely", 1, "uno_jobs.errors.BindingError")
    assert "'other'" in failed["error"]
    assert raised.value.job_id == str(failed["id"])
    assert raised.value.traceback == failed["traceback"]


async def test_a_workflow_stands_or_falls_with_the_callers_transaction(database: Database) -> None:
    @task
    async def step(number: int) -> int:
        return number

    workflow = group([step.s(1), step.s(2)]) | step.si(3)
    async with Queue(database.url) as queue:
        transaction = database.connection.transaction()
        await transaction.start()
        await queue.enqueue(workflow, connection=database.connection)
        await transaction.rollback()
        assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.jobs") == 0
        async with database.connection.transaction():
            handle = await queue.enqueue(workflow, connection=database.connection)
        await until_empty(database.url)
        assert await handle.result(timeout=LIMIT) == 3
    rows = await database.connection.fetch("SELECT DISTINCT workflow_id FROM uno_jobs.job_status")
    assert [row[0] for row in rows] == [handle.workflow_id]


async def test_a_worker_finds_what_would_wait_for_ever_and_says_so(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    @task
    async def step() -> int:
        return 1

    async with Queue(database.url) as queue:
        handle = await queue.enqueue(chain(step, step.si()))
        await database.connection.execute("UPDATE uno_jobs.live_jobs SET pending_parents = 9 WHERE id = $1", handle.id)
        async with running(database.url):
            assert await handle.result(timeout=LIMIT) == 1
    (told,) = [record for record in caplog.records if "counted anew" in record.getMessage()]
    assert (told.levelname, vars(told)["jobs"]) == ("WARNING", [str(handle.id)])


async def test_cancelling_a_workflow_ends_all_of_it(database: Database) -> None:
    begun = asyncio.Event()

    @task
    async def endless() -> None:
        begun.set()
        await asyncio.Event().wait()

    @task
    async def step() -> int:
        return 1

    clean_up = step.options(on_parent_failure="run").si()
    async with Queue(database.url) as queue, running(database.url):
        handle = await queue.enqueue(chain(group([endless, step.options(delay=3600).s()]), step.si(), clean_up))
        await begun.wait()
        assert await handle.cancel("enough") == "requested"
        with pytest.raises(JobCancelled, match="enough"):
            await handle.result(timeout=LIMIT)
        await database.wait_until("SELECT NOT EXISTS (SELECT FROM uno_jobs.live_jobs)")
        assert await handle.cancel() == "finished"
    rows = await database.connection.fetch("SELECT DISTINCT state::text, error FROM uno_jobs.job_status")
    assert [tuple(row) for row in rows] == [("cancelled", "enough")]


async def test_options_of_a_workflow(database: Database) -> None:
    @task(unique=True)
    async def step(number: int) -> int:
        return number

    async with Queue(database.url) as queue:
        await queue.enqueue(
            chain(step.s(1), step.options(unique_key="k", priority="low").s()),
            priority="high",
            metadata={"user": 7},
            delay=3600,
        )
        rows = await database.connection.fetch(
            "SELECT state::text, priority, metadata ->> 'user' FROM uno_jobs.job_status ORDER BY id"
        )
        assert [tuple(row) for row in rows] == [("scheduled", 3, "7"), ("waiting", 7, "7")]
        with pytest.raises(DuplicateJob):
            await queue.enqueue(group([step.s(1)]))
        for options, message in (({"unique_key": "x"}, "unique_key"), ({"id": str(handle_id())}, "id=")):
            with pytest.raises(InvalidOption, match=message):
                await queue.enqueue(chain(step.s(1)), **options)
        with pytest.raises(InvalidOption, match="unique key cannot be known"):
            await queue.enqueue(chain(step.s(1), step))
        with pytest.raises(InvalidWorkflow, match="100,000"):
            await queue.enqueue(group(step.s(n) for n in range(100_001)))
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.jobs") == 2


def handle_id() -> object:
    import uuid

    return uuid.uuid4()


async def test_what_is_wrong_with_a_workflow_is_said_before_anything_is_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task
    async def step(number: int) -> int:
        return number

    @task
    async def other(text: str, number: int) -> int:
        return number

    with TaskRegistry.isolated():

        @task
        async def unknown() -> None: ...

    monkeypatch.setenv("UNO_JOBS_MAX_WORKFLOW_STEPS", "5")
    async with Queue(database.url) as queue, Queue(database.url, schema="elsewhere") as elsewhere:
        handle: Any = await queue.enqueue(step, [1], delay=3600)
        for workflow, args, error, message in (
            # A cycle would need a job in its own workflow: jobs are no steps, and values cannot hold themselves.
            (lambda: chain(step.s(1), handle), [], InvalidWorkflow, "a job that is enqueued already"),
            (lambda: chain(step.s(1), unknown), [], TaskNotFound, "unknown"),
            (
                lambda: chain(step.s(1), step.options(via=elsewhere).s()),
                [],
                InvalidOption,
                "given to the enqueue itself",
            ),
            (
                lambda: chain(step.s(1), step.options(connection=1).s()),
                [],
                InvalidOption,
                "given to the enqueue itself",
            ),
            (lambda: group(step.s(n) for n in range(5)), [], InvalidWorkflow, "more than 5 steps, joins included"),
            (lambda: group([step, other]), [1], InvalidWorkflow, "would be 'number' of .* and 'text' of"),
        ):
            with pytest.raises(error, match=message):
                await queue.enqueue(workflow(), args=args)
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.jobs") == 1
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.job_edges") == 0

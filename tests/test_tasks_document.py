"""The Tasks document's code, block by block from its page, run by a real worker: each block keeps its promises."""

from __future__ import annotations

import inspect
import json
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.markdown import ROOT, Block, Reader, blocks_of
from uno_jobs.errors import InvalidArguments, TaskNotFound
from uno_jobs.middleware import TaskMiddleware
from uno_jobs.queue import Queue
from uno_jobs.tasks import TaskRegistry, register_middleware
from uno_jobs.testing import assert_enqueued, run_until_idle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from uno_jobs.context import Job

PAGE = ROOT / "docs" / "tasks-document.md"


def sections() -> dict[str, list[Block]]:
    """Return the page's blocks of Python and SQL by the heading above them."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    found: dict[str, list[Block]] = {}
    for block in blocks_of(PAGE):
        if block.language in {"python", "sql"}:
            heading = next(line for line in reversed(lines[: block.line - 1]) if line.startswith("## "))
            found.setdefault(heading.removeprefix("## "), []).append(block)
    return found


class Document:
    """The page, its names, and a queue on a database of the test's own."""

    def __init__(self, reader: Reader, queue: Queue, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._reader = reader
        self.queue = queue
        self.connection = connection
        reader.namespace.update({"queue": queue, "__name__": "tasks_document"})

    async def run(self, heading: str, blocks: slice = slice(None)) -> None:
        """Run the blocks of a section."""
        for block in sections()[heading][blocks]:
            await self._reader.do(block)

    def __getattr__(self, name: str) -> Any:
        return self._reader.namespace[name]

    def put(self, **names: Any) -> None:
        """Give the page names that it takes for granted."""
        self._reader.namespace.update(names)

    async def work(self, *, scheduled: bool = False) -> dict[str, int]:
        """Let a worker run what there is."""
        return await run_until_idle(self.queue, scheduled=scheduled)

    async def attempts(self, job_id: Any) -> list[asyncpg.Record]:
        return await self.connection.fetch("SELECT * FROM uno_jobs.attempts WHERE job_id = $1 ORDER BY attempt", job_id)


@pytest.fixture
async def document(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Document]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    loaded = set(sys.modules)
    connection = await asyncpg.connect(database_url)
    with TaskRegistry.isolated():
        async with Reader(database_url, tmp_path) as reader, Queue(database_url) as queue:
            yield Document(reader, queue, connection)
    await connection.close()
    for name in set(sys.modules) - loaded:
        if name.partition(".")[0] in {"myapp", "external_service"}:
            del sys.modules[name]


class Trouble(TaskMiddleware):
    """Raises what it is told to, attempt by attempt, in place of the task."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)

    def before_task(self, task_func: Any, args: Any, kwargs: Any, job: Job) -> Any:
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        return args, kwargs


class Witness(TaskMiddleware):
    """Sees the jobs that run."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def after_task(self, task_func: Any, args: Any, kwargs: Any, result: Any, job: Job) -> Any:
        self.jobs.append(job)
        return result


def test_every_block_is_run_here() -> None:
    named = re.findall(r'document\.run\("([^"]+)"', Path(__file__).read_text(encoding="utf-8"))
    assert set(named) == set(sections())


async def test_using_the_task_decorator(document: Document) -> None:
    await document.run("Using the task decorator")
    assert (await document.handle.status()).kwargs == {"options": {"format": "pdf"}}
    assert await document.work() == {"succeeded": 1}
    assert await document.handle.result() == {"status": "processed", "file_id": "file_123"}
    process_upload = document.process_upload
    assert (process_upload.name, process_upload.version) == ("process_upload", "1.0")
    assert process_upload.description == "Process an uploaded file."
    # A plain function still.
    assert await process_upload("file_7") == {"status": "processed", "file_id": "file_7"}
    assert inspect.iscoroutinefunction(process_upload.function)
    with pytest.raises(InvalidArguments, match="file_id"):
        await document.queue.enqueue(process_upload, args=[["no", "text"]])
    await assert_enqueued(process_upload, count=1, connection=document.queue)
    nothing = await document.queue.enqueue(process_upload, args=["file_8", None])
    await document.work()
    assert await nothing.result() == {"status": "processed", "file_id": "file_8"}


async def test_with_task_configuration(document: Document) -> None:
    await document.run("With task configuration", slice(1))
    process_upload = document.process_upload
    handle = await document.queue.enqueue(process_upload, args=["file_123"])
    status = await handle.status()
    assert (status.queue, status.priority) == ("uploads", 3)
    # A worker of another queue leaves it alone.
    assert await run_until_idle(document.queue, queues=["default"]) == {}
    register_middleware(Trouble(ValueError("first"), ValueError("second"), ValueError("third"), ValueError("last")))
    assert await document.work() == {}
    (first,) = await document.attempts(handle.id)
    due = (await handle.status()).next_attempt_at
    assert due is not None
    assert (due - first["finished_at"]).total_seconds() == 60
    assert await document.work(scheduled=True) == {"failed": 1}
    assert [one["error"] for one in await document.attempts(handle.id)] == ["first", "second", "third", "last"]
    await document.run("With task configuration", slice(1, None))
    ((_, (row,)),) = document._reader.rows
    options = json.loads(row["options"])
    assert (row["task"], row["version"], row["description"]) == (
        "process_upload",
        "1.0",
        "Process an uploaded file",
    )
    assert (options["timeout"], options["max_retries"], options["queue"]) == (300, 3, "uploads")


async def test_using_task_classes(document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    await document.run("Using task classes")
    seen: list[Any] = []

    async def validate_input(self: Any, *args: Any, **kwargs: Any) -> None:
        seen.append((self.name, args, kwargs))
        if args == ("bad",):
            raise ValueError("a bad image")

    async def report_result(self: Any, result: Any) -> dict[str, Any]:
        seen.append((self.name, result))
        return {"reported": self.name}

    for task in (document.process_image, document.process_video):
        assert isinstance(task, document.ProcessingTask)
        assert (task.config.queue, task.config.max_retries, task.config.retry_delay) == ("processing", 3, 60)
    # As they are in the document, they change nothing.
    plain = await document.queue.enqueue(document.process_image, args=["image_1"])
    assert await document.work() == {"succeeded": 1}
    assert await plain.result() is None

    monkeypatch.setattr(document.ProcessingTask, "validate_input", validate_input)
    monkeypatch.setattr(document.ProcessingTask, "report_result", report_result)
    image = await document.queue.enqueue(document.process_image, args=["image_1"], kwargs={"format": "png"})
    video = await document.queue.enqueue(document.process_video, args=["video_1"])
    bad = await document.queue.enqueue(document.process_image, args=["bad"])
    assert (await image.status()).queue == "processing"
    assert await document.work() == {"succeeded": 2, "failed": 1}
    assert (await image.status()).result == {"reported": "process_image"}
    assert (await video.status()).result == {"reported": "process_video"}
    assert ("process_image", ("image_1",), {"format": "png"}) in seen
    assert ("process_image", None) in seen
    status = await bad.status()
    assert (status.attempt, status.error) == (1, "a bad image")


async def test_synchronous_tasks(document: Document) -> None:
    await document.run("Synchronous tasks")
    threads: list[threading.Thread] = []
    function = document.compute_statistics.function

    def spied(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code is function.__code__:
            threads.append(threading.current_thread())

    handle = await document.queue.enqueue(document.compute_statistics, args=["data_1"])
    threading.setprofile(spied)  # in threads that start from here on
    try:
        assert await document.work() == {"succeeded": 1}
    finally:
        threading.setprofile(None)
    assert await handle.result() == {"mean": 10.5, "median": 9.2, "std_dev": 2.1}
    assert [thread is threading.main_thread() for thread in threads] == [False]


async def test_task_registry(document: Document) -> None:
    await document.run("Using the task decorator", slice(1))
    await document.run("Task registry")
    assert document.all_tasks == [document.process_upload]
    assert document.upload_task is document.process_upload
    with pytest.raises(TaskNotFound, match=r"did you mean 'process_upload'\?"):
        TaskRegistry.get_task("process_uplaod")


async def test_manual_registration(document: Document) -> None:
    await document.run("Manual registration")
    task = TaskRegistry.get_task("notify_user")
    assert task.config.max_retries == 2
    handle = await document.queue.enqueue("notify_user", args=["user_1"], kwargs={"message": "Hello"})
    assert await document.work() == {"succeeded": 1}
    assert (await handle.status()).kwargs == {"message": "Hello"}


async def test_retry_settings(document: Document) -> None:
    await document.run("Retry settings")
    trouble = Trouble(ConnectionResetError("1"), TimeoutError("2"), ConnectionError("3"), ConnectionError("4"))
    register_middleware(trouble)
    handle = await document.queue.enqueue(document.external_api_call, args=["/orders", {}])
    for number, delay in enumerate([60, 120, 240], start=1):
        await document.work()
        status = await handle.status()
        assert (status.state, status.failures) == ("scheduled", number)
        assert status.next_attempt_at is not None
        waits = (status.next_attempt_at - (await document.attempts(handle.id))[-1]["finished_at"]).total_seconds()
        assert delay * 0.5 <= waits <= delay * 1.5
        await document.connection.execute("UPDATE uno_jobs.live_jobs SET run_at = uno_jobs.clock()")
        await document.connection.execute("SELECT uno_jobs.promote(10, '-infinity')")
    assert await document.work() == {"failed": 1}
    assert (await handle.status()).attempt == 4

    trouble.errors = [LookupError("not one of these")]
    other = await document.queue.enqueue(document.external_api_call, args=["/orders", {}])
    assert await document.work() == {"failed": 1}
    assert (await other.status()).attempt == 1


async def test_queue_settings(document: Document) -> None:
    await document.run("Queue settings")
    usual, urgent = await document.usual.status(), await document.urgent.status()
    assert (usual.queue, usual.priority) == ("reports", 5)
    assert (urgent.queue, urgent.priority) == ("now", 1)
    assert await document.work() == {"succeeded": 2}


async def test_uniqueness(document: Document) -> None:
    await document.run("Uniqueness")
    assert (await document.first.status()).unique_key == "user:7"
    assert await document.work() == {"succeeded": 2}
    # Once it has finished, the key is free.
    again = await document.queue.enqueue(document.process_user_data, args=["7"])
    assert not again.is_duplicate
    assert again != document.first


async def test_resource_limits(document: Document) -> None:
    await document.run("Resource limits")
    options = document.resource_intensive_task.config
    assert (options.max_memory, options.cpu_limit, options.runs_in) == (512_000_000, 0.5, "process")


async def test_task_dependencies(document: Document, caplog: pytest.LogCaptureFixture) -> None:
    """The values that the steps receive are those of the specification."""
    await document.run("Task dependencies")
    await document.work()
    assert await document.chained.result() == {"status": "complete"}
    resized = [{"resized_id": f"image_123_{size}"} for size in ("small", "medium", "large")]
    assert await document.grouped.result() == resized
    assert await document.combined.result() == {"status": "complete"}
    (warning,) = [record.getMessage() for record in caplog.records if "previous step's result" in record.getMessage()]
    assert "thumbnail_id" in warning
    rows = await document.connection.fetch(
        "SELECT result ->> 'resized_id' FROM uno_jobs.job_status "
        "WHERE task = 'resize_image' AND workflow_id = $1 ORDER BY id",
        document.combined.workflow_id,
    )
    assert [row[0] for row in rows] == [f"proc_image_123_{size}" for size in ("small", "medium", "large")]


async def test_task_context(document: Document) -> None:
    await document.run("Task context")
    witness = Witness()
    register_middleware(witness)
    assert await document.work() == {"succeeded": 1}
    assert await document.handle.result() == {"status": "complete"}
    (job,) = witness.jobs
    assert job.id == document.handle.id
    assert job.created_at == (await document.handle.status()).created_at
    assert job.metadata.get("user_id") == 42


async def test_task_middleware(document: Document, capsys: pytest.CaptureFixture[str]) -> None:
    await document.run("Task middleware")
    await document.queue.enqueue(document.monitored_task, args=["data_1"])
    assert await document.work() == {"succeeded": 1}
    started = "Starting task monitored_task with args=('data_1',), kwargs={}"
    completed = "Completed task monitored_task with result=None"
    assert capsys.readouterr().out.splitlines() == [started] * 2 + [completed] * 2

    async def fails() -> None:
        raise LookupError("no such thing")

    await document.queue.enqueue(TaskRegistry.register(fails, max_retries=0))
    assert await document.work() == {"failed": 1}
    assert capsys.readouterr().out.splitlines() == [
        "Starting task fails with args=(), kwargs={}",
        "Error in task fails: no such thing",
    ]


async def test_task_versioning(document: Document) -> None:
    witness = Witness()
    register_middleware(witness)
    await document.run("Task versioning")
    await assert_enqueued("process_data", args=["data_123"], version="2.0", count=1, connection=document.queue)
    highest = await document.queue.enqueue("process_data", args=["data_124"])
    assert (await highest.status()).version == "2.0"
    old = await document.queue.enqueue("process_data", args=["data_125"], version="1.0")
    with pytest.raises(InvalidArguments, match="options"):
        await document.queue.enqueue(document.process_data_v1, args=["data_126"], kwargs={"options": {}})
    assert await document.work() == {"succeeded": 3}
    assert (await old.status()).version == "1.0"
    assert sorted((job.args[0], job.version) for job in witness.jobs) == [
        ("data_123", "2.0"),
        ("data_124", "2.0"),
        ("data_125", "1.0"),
    ]


async def test_task_discovery(document: Document) -> None:
    await document.run("Task discovery")
    assert document.nothing_in_it == []
    both = ["monthly_report", "process_order"]
    assert [task.name for task in document.by_name] == both
    assert [task.name for task in document.by_pattern] == both
    await document.queue.enqueue("process_order", args=[7])
    assert await document.work() == {"succeeded": 1}


async def test_error_handling(document: Document, caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Exception | None] = [None, ConnectionError("gone"), LookupError("no such data")]

    async def implementation_details(data_id: str) -> None:
        if (error := errors[int(data_id)]) is not None:
            raise error

    document.put(implementation_details=implementation_details)
    await document.run("Error handling")
    task = document.task_with_error_handling
    good, broken, wrong = [await document.queue.enqueue(task, args=[str(n)]) for n in range(3)]
    assert await document.work() == {"succeeded": 2}
    assert await good.result() == {"status": "complete"}
    assert await wrong.result() == {"status": "error", "message": "no such data"}
    # Raised again: to be retried.
    assert (await broken.status()).state == "scheduled"
    assert {"Connection error: gone", "Unexpected error: no such data"} <= set(caplog.messages)
    errors[1] = None
    assert await document.work(scheduled=True) == {"succeeded": 1}
    assert await broken.result() == {"status": "complete"}


async def test_task_hooks(document: Document, capsys: pytest.CaptureFixture[str]) -> None:
    await document.run("Task hooks")
    register_middleware(Trouble(ConnectionError("once"), None, *[ConnectionError("always")] * 4))
    await document.queue.enqueue(document.task_with_hooks, args=["data_1"])
    assert await document.work(scheduled=True) == {"succeeded": 1}
    assert capsys.readouterr().out.splitlines() == [
        "Task being retried (1) after error: once",
        "Task succeeded with result: {'status': 'complete'}",
    ]
    await document.queue.enqueue(document.task_with_hooks, args=["data_2"])
    assert await document.work(scheduled=True) == {"failed": 1}
    assert capsys.readouterr().out.splitlines() == [
        "Task being retried (1) after error: always",
        "Task being retried (2) after error: always",
        "Task being retried (3) after error: always",
        "Task failed with error: always",
    ]


async def test_testing_tasks(document: Document) -> None:
    await document.run("Using the task decorator", slice(1))
    await document.run("Testing tasks")
    # Neither was enqueued, and the second one's service was not called.
    assert await document.connection.fetchval("SELECT count(*) FROM uno_jobs.jobs") == 0
    with pytest.raises(ConnectionError, match="not in tests"):
        await document.external_api_task("endpoint_1")

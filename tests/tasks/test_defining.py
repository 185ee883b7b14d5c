"""What ``@task`` makes of a function."""

# ruff: noqa: RUF013 - signatures as users write them

from __future__ import annotations

import asyncio
import functools
import inspect
from datetime import timedelta
from typing import Any

import pytest

from uno_jobs.errors import TaskDefinitionError
from uno_jobs.middleware import TaskMiddleware
from uno_jobs.tasks import Task, TaskRegistry, task


async def process_upload(file_id: str, options: dict = None) -> dict:  # type: ignore[type-arg, assignment]
    """Process an uploaded file.

    Second paragraph.
    """
    return {"status": "processed", "file_id": file_id, "options": options or {}}


def compute(data_set_id: str) -> dict[str, float]:
    return {"mean": 10.5}


async def test_a_bare_decorator_keeps_the_function() -> None:
    made = task(process_upload)
    assert isinstance(made, Task)
    assert await made("f1") == {"status": "processed", "file_id": "f1", "options": {}}
    assert made.__name__ == "process_upload"
    assert made.__doc__ == process_upload.__doc__
    assert made.__module__ == __name__
    assert inspect.signature(made) == inspect.signature(process_upload)
    assert made.function is process_upload
    assert (made.name, made.version) == ("process_upload", "1.0")
    assert made.config.description == "Process an uploaded file."
    assert TaskRegistry.get_task("process_upload") is made


def test_defaults() -> None:
    options = task(process_upload).config
    assert options.queue == "default"
    assert options.priority == 5
    assert (options.max_retries, options.retry_delay, options.retry_backoff) == (3, 60.0, False)
    assert (options.retry_backoff_factor, options.retry_jitter, options.retry_max_delay) == (
        2.0,
        False,
        86400.0,
    )
    assert options.retry_for_exceptions is None
    assert (options.timeout, options.timeout_action, options.terminate_grace) == (None, "cancel", 5.0)
    assert (options.unique, options.unique_key, options.unique_until) == (False, None, "finished")
    assert options.on_duplicate == "return"
    assert (options.max_memory, options.cpu_limit, options.expires) == (None, None, None)
    assert (options.runs_in, options.asynchronous) == ("loop", True)
    assert options.middleware == ()
    assert options.upgrade_from == {}


def test_every_option_is_kept_as_it_counts() -> None:
    class Logging(TaskMiddleware):
        pass

    logging = Logging()

    def key(file_id: str) -> str:
        return file_id

    def upgrade(args: list[Any], kwargs: dict[str, Any]) -> Any:
        return args, kwargs

    made = task(
        name="upload",
        version="2.0",
        queue="uploads",
        priority="high",
        description="Process it",
        max_retries=0,
        retry_delay=timedelta(minutes=2),
        retry_backoff=True,
        retry_backoff_factor=3,
        retry_jitter=True,
        retry_max_delay=7200,
        retry_for_exceptions=[ConnectionError, TimeoutError],
        timeout=300,
        timeout_action="terminate",
        terminate_grace=1,
        unique=True,
        unique_key=key,
        unique_until="started",
        on_duplicate="replace",
        max_memory="512MB",
        cpu_limit=0.5,
        runs_in="process",
        asynchronous=True,
        middleware=[logging],
        upgrade_from={"1.0": upgrade},
        expires=timedelta(hours=1),
    )(process_upload)
    options = made.config
    assert (options.name, options.version, options.queue) == ("upload", "2.0", "uploads")
    assert (options.priority, options.description, options.max_retries) == (3, "Process it", 0)
    assert (options.retry_delay, options.retry_backoff, options.retry_backoff_factor) == (120.0, True, 3.0)
    assert (options.retry_jitter, options.retry_max_delay) == (True, 7200.0)
    assert options.retry_for_exceptions == (ConnectionError, TimeoutError)
    assert (options.timeout, options.timeout_action, options.terminate_grace) == (300.0, "terminate", 1.0)
    assert (options.unique, options.unique_key, options.unique_until) == (True, key, "started")
    assert (options.on_duplicate, options.max_memory, options.cpu_limit) == ("replace", 512_000_000, 0.5)
    assert (options.runs_in, options.asynchronous, options.middleware) == ("process", True, (logging,))
    assert options.upgrade_from == {"1.0": upgrade}
    assert options.expires == 3600.0
    # What is kept can be read on the task, too.
    assert (made.queue, made.timeout, made.max_memory) == ("uploads", 300.0, 512_000_000)


@pytest.mark.parametrize(
    ("written", "number"), [("critical", 1), ("high", 3), ("normal", 5), ("low", 7), (0, 0), (9, 9)]
)
def test_priorities(written: Any, number: int) -> None:
    assert task(name="p", priority=written)(process_upload).config.priority == number


@pytest.mark.parametrize(
    ("written", "size"),
    [("512MB", 512 * 10**6), ("1GiB", 2**30), ("1.5 gb", 1_500_000_000), ("64mib", 2**26), (2**25, 2**25)],
)
def test_sizes(written: str | int, size: int) -> None:
    assert task(name="m", max_memory=written)(process_upload).config.max_memory == size


class Base(Task):
    max_retries = 7
    retry_delay = 5
    queue = "processing"

    async def validate_input(self, *args: Any, **kwargs: Any) -> None:
        pass


class Derived(Base):
    queue = "video"
    unique = True
    unique_key = staticmethod(lambda one: f"key:{one}")  # type: ignore[assignment]


def test_a_base_gives_defaults_and_the_decorator_wins_over_it() -> None:
    made = task(base=Base)(process_upload)
    assert isinstance(made, Base)
    assert (made.config.max_retries, made.config.retry_delay, made.config.queue) == (7, 5.0, "processing")
    own = task(base=Base, name="own", max_retries=1, queue="q")(process_upload)
    assert (own.config.max_retries, own.config.retry_delay, own.config.queue) == (1, 5.0, "q")
    assert Base.max_retries == 7


def test_a_subclass_wins_over_its_parents() -> None:
    made = task(base=Derived)(process_upload)
    assert (made.config.max_retries, made.config.queue, made.config.unique) == (7, "video", True)
    assert made.unique_key_of(made.parameters.dump(["a"], {})) == "key:a"


def test_a_key_function_as_class_attribute_is_not_bound() -> None:
    class Keyed(Task):
        unique = True
        unique_key = lambda one: f"key:{one}"  # type: ignore[assignment, misc] # noqa: E731 - as users write it

    made = task(base=Keyed)(process_upload)
    assert made.unique_key_of(made.parameters.dump(["a"], {})) == "key:a"


def test_a_base_may_set_itself_up() -> None:
    class WithState(Task):
        def __init__(self) -> None:
            self.seen: list[str] = []

    one = task(base=WithState)(process_upload)
    other = task(base=WithState, name="other")(process_upload)
    assert isinstance(one, WithState)
    assert isinstance(other, WithState)
    assert one.seen == []
    assert one.seen is not other.seen


def test_where_tasks_run() -> None:
    def runs_in(function: Any, **options: Any) -> str:
        with TaskRegistry.isolated():
            return task(**options)(function).config.runs_in

    assert runs_in(process_upload) == "loop"
    assert runs_in(compute) == "process"
    assert runs_in(compute, asynchronous=False) == "process"
    assert runs_in(compute, runs_in="thread") == "thread"
    assert runs_in(process_upload, timeout_action="terminate", timeout=3) == "process"
    assert runs_in(process_upload, max_memory="1GB") == "process"
    assert runs_in(process_upload, cpu_limit=0.5) == "process"
    assert runs_in(process_upload, runs_in="process") == "process"


def test_asynchronous_is_inferred() -> None:
    assert task(process_upload).config.asynchronous is True
    assert task(compute).config.asynchronous is False
    assert task(name="partial")(functools.partial(process_upload, options={})).config.asynchronous is True

    @functools.wraps(process_upload)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return process_upload(*args, **kwargs)

    wrapped = task(name="wrapped")(wrapper)
    assert wrapped.config.asynchronous is True
    assert [one.name for one in wrapped.parameters.all] == ["file_id", "options"]


def test_a_synchronous_wrapper_of_a_coroutine_function_can_be_said_to_be_synchronous() -> None:
    @functools.wraps(process_upload)
    def blocking(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(process_upload(*args, **kwargs))

    assert task(asynchronous=False, runs_in="thread")(blocking).config.asynchronous is False


def test_a_base_may_name_its_one_task() -> None:
    class Named(Task):
        name = "named"

    assert task(base=Named)(process_upload).name == "named"
    assert task(base=Named, name="other")(process_upload).name == "other"


def test_a_function_that_returns_an_awaitable_can_be_said_to_be_asynchronous() -> None:
    def later(x: int) -> asyncio.Future[int]:
        return asyncio.get_running_loop().create_future()

    assert task(asynchronous=True)(later).config.runs_in == "loop"


def test_callable_objects_and_lambdas_need_a_name() -> None:
    class Adder:
        async def __call__(self, x: int) -> int:
            return x + 1

    made = task(name="adder")(Adder())
    assert made.config.asynchronous is True
    assert [one.name for one in made.parameters.all] == ["x"]
    named = task(name="double", runs_in="thread")(lambda x: 2 * x)
    assert named(4) == 8
    with pytest.raises(TaskDefinitionError, match="needs a name="):
        task(runs_in="thread")(lambda x: x)


def test_hooks_decorate() -> None:
    made = task(process_upload)

    @made.on_success
    async def done(job: Any, result: Any) -> None: ...

    @made.on_failure
    def failed(job: Any, error: Any) -> None: ...

    @made.on_retry
    async def again(job: Any, error: Any, retry_count: int) -> None: ...

    assert (made.success_hooks, made.failure_hooks, made.retry_hooks) == ([done], [failed], [again])
    assert inspect.isfunction(done)


def test_repr_and_record() -> None:
    made = task(name="upload", version="2.0", unique=True, unique_key=lambda f: f, retry_for_exceptions=[OSError])(
        process_upload
    )
    assert repr(made) == "<Task upload 2.0>"
    assert str(made) == "'upload' (version 2.0)"
    assert repr(made.s("a", options=None)) == "upload.s('a', options=None)"
    record = made.record()
    assert record["options"]["unique_key"] == {"callable": True}
    assert record["options"]["retry_for_exceptions"] == ["builtins.OSError"]
    assert record["parameters"] == [
        {"name": "file_id", "kind": "positional_or_keyword", "required": True},
        {"name": "options", "kind": "positional_or_keyword", "required": False, "default": None},
    ]
    assert record["schema"]["required"] == ["file_id"]

"""Each wrong option fails at decoration with a sentence that names the option and the task."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from uno_jobs.errors import TaskDefinitionError
from uno_jobs.middleware import TaskMiddleware
from uno_jobs.tasks import Task, TaskRegistry, register_middleware, task


async def work(one: str, two: int = 2) -> None: ...


def sync_work(one: str) -> None: ...


async def key_later(one: str) -> str:
    return one


WRONG: list[tuple[str, Any, str]] = [
    ("max_retries", -1, "from 0"),
    ("max_retries", True, "integer"),
    ("max_retries", 2.5, "integer"),
    ("max_retries", "3", "integer"),
    ("max_retries", None, "integer"),
    ("timeout_action", "explode", "'cancel' or 'terminate'"),
    ("timeout", 0, "above 0"),
    ("timeout", -5, "above 0"),
    ("timeout", "300", "seconds"),
    ("timeout", math.nan, "seconds"),
    ("timeout", math.inf, "hundred years"),
    ("timeout", 10**400, "hundred years"),
    ("terminate_grace", -1, "from 0"),
    ("priority", "urgent", "'critical', 'high', 'normal', 'low'"),
    ("priority", 10, "0 to 9"),
    ("priority", -1, "0 to 9"),
    ("priority", True, "0 to 9"),
    ("priority", None, "0 to 9"),
    ("unique_key", "key", "without unique=True"),
    ("version", 2.0, 'text such as "2.0"'),
    ("version", "", "1 to 50"),
    ("version", "1" * 51, "1 to 50"),
    ("version", None, "text"),
    ("middleware", [object()], "TaskMiddleware"),
    ("middleware", [TaskMiddleware], r"write TaskMiddleware\(\)"),
    ("middleware", TaskMiddleware(), "a list"),
    ("name", "", "1 to 200"),
    ("name", "n" * 201, "1 to 200"),
    ("name", "a@b", "'@'"),
    ("name", 3, "text"),
    ("name", "a\nb", "printable"),
    ("name", " a", "blanks"),
    ("queue", "", "1 to 128"),
    ("queue", "q" * 129, "1 to 128"),
    ("queue", "a\x00", "printable"),
    ("queue", None, "text"),
    ("retry_delay", -1, "from 0"),
    ("retry_delay", timedelta(seconds=-1), "from 0"),
    ("retry_delay", 2 * 86400, "raise retry_max_delay"),
    ("retry_max_delay", -1, "from 0"),
    ("retry_backoff", 1, "True or False"),
    ("retry_jitter", "yes", "True or False"),
    ("retry_backoff_factor", 0.5, "from 1"),
    ("retry_backoff_factor", "2", "number"),
    ("retry_backoff_factor", math.nan, "number"),
    ("retry_for_exceptions", ["ConnectionError"], "exception classes"),
    ("retry_for_exceptions", [int], "exception classes"),
    ("retry_for_exceptions", "ConnectionError", "list"),
    ("unique", 1, "True or False"),
    ("unique_until", "done", "'finished' or 'started'"),
    ("on_duplicate", "ignore", "'return' or 'raise' or 'replace'"),
    ("max_memory", "lots", "512MB"),
    ("max_memory", 0, "bytes"),
    ("max_memory", 512, "megabytes"),
    ("max_memory", True, "bytes"),
    ("cpu_limit", 0, "cores"),
    ("cpu_limit", -0.5, "cores"),
    ("cpu_limit", "half", "cores"),
    ("runs_in", "cloud", "'loop' or 'thread' or 'process'"),
    ("runs_in", "thread", "synchronous functions"),
    ("asynchronous", "yes", "True or False"),
    ("asynchronous", False, "async def"),
    ("upgrade_from", ["1.0"], "map versions"),
    ("upgrade_from", {"0.9": 3}, "plain function"),
    ("upgrade_from", {"0.9": key_later}, "plain function"),
    ("upgrade_from", {0.9: lambda a, k: (a, k)}, "version"),
    ("upgrade_from", {"1.0": lambda a, k: (a, k)}, "own version"),
    ("expires", 0, "above 0"),
    ("description", 3, "text"),
    ("description", "\x00", "NUL"),
    ("base", object, "subclass of Task"),
    ("base", "Task", "subclass of Task"),
    ("base", Task(), "subclass of Task"),
]


@pytest.mark.parametrize(
    ("option", "value", "why"), WRONG, ids=[f"{wrong[0]}-{number}" for number, wrong in enumerate(WRONG)]
)
def test_wrong_options(option: str, value: Any, why: str) -> None:
    with pytest.raises(TaskDefinitionError, match=why) as caught:
        task(**{option: value})(work)
    message = str(caught.value)
    assert option in message
    assert "task " in message
    if option != "name":
        assert "'work'" in message
    assert TaskRegistry.get_all_tasks() == []


@pytest.mark.parametrize("value", [None, 3, "", key_later])
def test_wrong_unique_keys(value: Any) -> None:
    if value is None:
        task(unique=True, unique_key=None)(work)
        return
    with pytest.raises(TaskDefinitionError, match="task 'work': unique_key"):
        task(unique=True, unique_key=value)(work)


def test_a_unique_key_that_wants_more_than_there_is() -> None:
    with pytest.raises(TaskDefinitionError, match=r"'work': unique_key wants 3 arguments, .* only 2 parameters"):
        task(unique=True, unique_key=lambda a, b, c: "")(work)
    with pytest.raises(TaskDefinitionError, match="'work': unique_key gets its arguments by position"):
        task(unique=True, unique_key=lambda a, *, b: "")(work)


def test_an_unknown_option_is_named_with_the_nearest() -> None:
    with pytest.raises(TaskDefinitionError, match=r"task 'work': .*'max_retires'.*'max_retries'"):
        task(max_retires=3)(work)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "options",
    [
        {"runs_in": "loop", "max_memory": "1GB"},
        {"runs_in": "loop", "cpu_limit": 1},
        {"runs_in": "loop", "timeout_action": "terminate"},
    ],
)
def test_what_needs_a_process_cannot_run_elsewhere(options: Any) -> None:
    with pytest.raises(TaskDefinitionError, match=r"task 'work': runs_in='loop'.*process of its own"):
        task(**options)(work)


def test_a_synchronous_function_cannot_run_on_the_loop() -> None:
    with pytest.raises(TaskDefinitionError, match="runs_in='loop' is for asynchronous functions"):
        task(runs_in="loop")(sync_work)


def test_a_nested_function_cannot_run_in_a_child_process() -> None:
    def nested(x: int) -> int:
        return x

    async def nested_too(x: int) -> int:
        return x

    with pytest.raises(TaskDefinitionError, match=r"'nested'.*child process.*runs_in='thread'"):
        task(nested)
    with pytest.raises(TaskDefinitionError, match=r"'nested_too'.*child process"):
        task(max_memory="1GB")(nested_too)
    assert task(runs_in="thread")(nested)(3) == 3


def test_a_wrong_default_of_a_base_is_found_at_decoration() -> None:
    class Wrong(Task):
        max_retries = -1

    with pytest.raises(TaskDefinitionError, match="task 'work': max_retries"):
        task(base=Wrong)(work)


def test_a_base_that_wants_arguments() -> None:
    class Greedy(Task):
        def __init__(self, client: object) -> None:
            self.client = client

    with pytest.raises(TaskDefinitionError, match="task 'work': base Greedy cannot be made without arguments"):
        task(base=Greedy)(work)


class Opaque:
    pass


def test_a_default_that_is_not_json() -> None:
    async def with_default(one: str, cache: list[Any] = [Opaque()]) -> None: ...  # noqa: B006, B008 - that is the fault

    with pytest.raises(TaskDefinitionError, match="task 'with_default': the default of parameter 'cache' is not"):
        task(with_default)


@pytest.mark.parametrize("thing", [3, "work", None, staticmethod(sync_work), classmethod(sync_work)])
def test_what_is_no_function(thing: Any) -> None:
    if thing is None:
        return
    with pytest.raises(TaskDefinitionError, match="takes a function"):
        task(thing)


def test_a_task_is_not_decorated_twice() -> None:
    made = task(work)
    with pytest.raises(TaskDefinitionError, match="is a task already"):
        task(made)


def test_generators_are_no_tasks() -> None:
    def rows(n: int) -> Any:
        yield n

    async def more_rows(n: int) -> Any:
        yield n

    with pytest.raises(TaskDefinitionError, match="'rows': a generator function"):
        task(runs_in="thread")(rows)
    with pytest.raises(TaskDefinitionError, match="'more_rows'"):
        task(runs_in="thread")(more_rows)


def test_a_function_without_signature() -> None:
    with pytest.raises(TaskDefinitionError, match=r"'getattr'.*no signature|'getattr'"):
        task(runs_in="thread")(getattr)


def test_global_middleware_is_checked_too() -> None:
    with pytest.raises(TaskDefinitionError, match=r"register_middleware: .*write TaskMiddleware\(\)"):
        register_middleware(TaskMiddleware)  # type: ignore[arg-type]

"""The registry."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from uno_jobs.errors import TaskAlreadyRegistered, TaskNotFound
from uno_jobs.middleware import TaskMiddleware
from uno_jobs.tasks import TaskRegistry, register_middleware, task

if TYPE_CHECKING:
    from pathlib import Path

    from uno_jobs.tasks.registry import Registry


async def notify_user(user_id: str, message: str) -> None: ...


async def other(user_id: str) -> None: ...


def test_looking_up() -> None:
    one = task(notify_user)
    two = task(name="notify_user", version="2.0")(other)
    ten = task(name="notify_user", version="10.0")(other)
    assert TaskRegistry.get_task("notify_user") is ten
    assert TaskRegistry.get_task("notify_user", "2.0") is two
    assert TaskRegistry.get_task("notify_user", version="1.0") is one
    assert TaskRegistry.get_all_tasks() == [one, two, ten]
    assert TaskRegistry.has_task("notify_user")
    assert TaskRegistry.has_task("notify_user", "2.0")
    assert not TaskRegistry.has_task("notify_user", "3.0")
    assert not TaskRegistry.has_task("nothing")


def test_what_is_not_there_says_what_is() -> None:
    task(notify_user)
    task(name="notify_user", version="2.0")(other)
    with pytest.raises(TaskNotFound, match=r"no task 'notify_usr' .* 'notify_user'"):
        TaskRegistry.get_task("notify_usr")
    with pytest.raises(TaskNotFound, match=r"no version '3\.0' here; it has '1\.0', '2\.0'"):
        TaskRegistry.get_task("notify_user", "3.0")


def test_manual_registration() -> None:
    made = TaskRegistry.register(notify_user, name="notify_user", max_retries=2)
    assert TaskRegistry.get_task("notify_user") is made
    assert made.config.max_retries == 2
    assert made.function is notify_user


def test_two_functions_of_one_name_are_refused_with_both_places() -> None:
    task(notify_user)
    with pytest.raises(TaskAlreadyRegistered) as caught:
        task(name="notify_user")(other)
    message = str(caught.value)
    assert "test_registry.notify_user" in message
    assert "test_registry.other" in message
    assert message.count("test_registry.py:") == 2
    assert "name=" in message


def test_two_functions_of_one_name_in_one_module_are_refused() -> None:
    space: dict[str, Any] = {"task": task, "__name__": "one_module"}
    code = "@task\nasync def f(x: int): ...\n"
    exec(compile(code, "one_module.py", "exec"), space)
    exec(compile(code, "one_module.py", "exec"), space)  # the same again
    with pytest.raises(TaskAlreadyRegistered):
        exec(compile("\n\n" + code, "one_module.py", "exec"), space)


def test_the_same_function_again_takes_its_place() -> None:
    first = task(notify_user)
    second = task(notify_user)
    assert TaskRegistry.get_all_tasks() == [second]
    assert first is not second


def test_a_notebook_cell_run_again_takes_its_place() -> None:
    space: dict[str, Any] = {"task": task, "__name__": "__main__"}
    exec(compile("@task\nasync def f(x: int): ...", "<cell 1>", "exec"), space)
    exec(compile("\n@task\nasync def f(x: int, y: int): ...", "<cell 2>", "exec"), space)
    assert [one.name for one in TaskRegistry.get_task("f").parameters.all] == ["x", "y"]


def test_importing_and_reloading_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "reloaded_tasks.py"
    source.write_text("from uno_jobs.tasks import task\n@task\nasync def f(x: int): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = importlib.import_module("reloaded_tasks")
    importlib.reload(module)
    source.write_text("from uno_jobs.tasks import task\n\n\n@task\nasync def f(x: int, y: int = 1): ...\n")
    importlib.reload(module)
    assert len(TaskRegistry.get_all_tasks()) == 1
    assert [one.name for one in TaskRegistry.get_task("f").parameters.all] == ["x", "y"]
    del sys.modules["reloaded_tasks"]
    importlib.import_module("reloaded_tasks")
    assert len(TaskRegistry.get_all_tasks()) == 1


def test_one_file_under_two_names_registers_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "twopaths"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "jobs_here.py").write_text("from uno_jobs.tasks import task\n@task\nasync def f(x: int): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(package)
    importlib.import_module("twopaths.jobs_here")
    importlib.import_module("jobs_here")
    assert len(TaskRegistry.get_all_tasks()) == 1


def test_known_and_resolve_include_upgrades() -> None:
    def from_one(args: list[Any], kwargs: dict[str, Any]) -> Any:
        return args, kwargs

    def from_old(args: list[Any], kwargs: dict[str, Any]) -> Any:
        return args, kwargs

    two = task(name="t", version="2.0", upgrade_from={"1.0": from_one, "0.9": from_one})(other)
    three = task(name="t", version="3.0", upgrade_from={"0.9": from_old, "2.0": from_old})(other)
    assert set(TaskRegistry.known()) == {("t", "0.9"), ("t", "1.0"), ("t", "2.0"), ("t", "3.0")}
    assert TaskRegistry.resolve("t", "3.0") == (three, None)
    assert TaskRegistry.resolve("t", "2.0") == (two, None), "a version that is there runs its own jobs"
    assert TaskRegistry.resolve("t", "1.0") == (two, from_one)
    assert TaskRegistry.resolve("t", "0.9") == (three, from_old), "the higher version upgrades"
    assert not TaskRegistry.has_task("t", "1.0")
    with pytest.raises(TaskNotFound):
        TaskRegistry.resolve("t", "0.1")


def test_isolation_nests_and_ends(registry: Registry) -> None:
    outer = task(notify_user)
    with TaskRegistry.isolated() as inner:
        assert TaskRegistry.current() is inner
        assert not TaskRegistry.has_task("notify_user")
        task(name="inner")(other)
        register_middleware(TaskMiddleware())
        with TaskRegistry.isolated(keep=True) as copy:
            assert TaskRegistry.has_task("inner")
            assert copy.middleware == inner.middleware
            task(name="innermost")(other)
        assert not TaskRegistry.has_task("innermost")
    assert TaskRegistry.current() is registry
    assert TaskRegistry.get_all_tasks() == [outer]
    assert registry.middleware == ()
    with pytest.raises(RuntimeError), TaskRegistry.isolated():
        raise RuntimeError
    assert TaskRegistry.current() is registry


def test_global_middleware_keeps_its_order_and_counts_once(registry: Registry) -> None:
    first, second = TaskMiddleware(), TaskMiddleware()
    register_middleware(first)
    register_middleware(second)
    register_middleware(first)
    assert registry.middleware == (first, second)


def test_threads_may_register_at_once(registry: Registry) -> None:
    start = threading.Barrier(8)
    failures: list[BaseException] = []

    def register_many(thread: int) -> None:
        try:
            start.wait()
            for number in range(50):
                TaskRegistry.register(other, name=f"task_{thread}_{number}")
                TaskRegistry.register(other, name=f"shared_{number}")
                assert TaskRegistry.has_task(f"task_{thread}_{number}")
                TaskRegistry.get_all_tasks()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=register_many, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failures == []
    assert len(TaskRegistry.get_all_tasks()) == 8 * 50 + 50
    assert len(registry.known()) == 8 * 50 + 50

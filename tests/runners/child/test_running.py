"""What works in a child as it does in the worker."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from tests.runners.child import app
from tests.runners.child.conftest import lab, until
from uno_jobs.outcomes import Failed, Retried, Snoozed, Succeeded

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_jobs_run_in_another_process_which_serves_one_after_another() -> None:
    async with lab() as children:
        first = await children.run(app.pid)
        again = [await children.run(app.pid) for _ in range(5)]
        on_the_loop = await children.run(app.pid_on_the_loop)
    assert isinstance(first, Succeeded)
    assert int(first.result) != os.getpid()
    assert int(first.result) in children.pids()
    assert set(again) | {on_the_loop} <= {Succeeded(str(pid)) for pid in children.pids()}


async def test_a_child_is_replaced_after_so_many_jobs() -> None:
    async with lab(size=1, max_jobs=3) as children:
        ran = [await children.run(app.pid) for _ in range(7)]
        await until(lambda: len(children.pids("child_ended")) == 2)
    counts = [ran.count(Succeeded(str(pid))) for pid in children.pids()]
    assert counts[:3] == [3, 3, 1]


async def test_children_are_started_ahead_of_need_and_no_more_than_there_may_be(tmp_path: Path) -> None:
    async with lab(size=2) as children:
        await until(lambda: children.pool.free == 1)
        assert len(children.pids()) == 1
        async with asyncio.TaskGroup() as group:
            first = group.create_task(children.run(app.waits_until_cancelled, str(tmp_path / "first")))
            await until((tmp_path / "first").exists)
            await until(lambda: children.pool.free == 1)
            second = group.create_task(children.run(app.waits_until_cancelled, str(tmp_path / "second")))
            await until((tmp_path / "second").exists)
            third = group.create_task(children.run(app.pid))
            await asyncio.sleep(0)
            assert children.pool.free == 0
            first.cancel()
            second.cancel()
        assert third.result() is not None
    assert len(set(children.pids())) == 4, "two, and one for each that was stopped"


async def test_an_error_comes_back_with_the_users_part_of_its_traceback_and_is_judged() -> None:
    async with lab() as children:
        retried = await children.run(app.breaks, "gone")
        failed = await children.run(app.breaks, "gone", failures=1)
    assert isinstance(retried, Retried)
    assert (retried.error.type, retried.error.message, retried.delay) == ("LookupError", "gone", 7.0)
    assert retried.error.traceback is not None
    assert "raise LookupError(text)" in retried.error.traceback
    assert "serving.py" not in retried.error.traceback
    assert isinstance(failed, Failed)


async def test_what_a_task_asks_for_by_exception() -> None:
    async with lab() as children:
        assert await children.run(app.steers, "snooze") == Snoozed(30.0)
        retried = await children.run(app.steers, "retry")
        assert isinstance(retried, Retried)
        assert retried.delay == 5.0
        left = await children.run(app.exits)
        assert isinstance(left, Retried)
        assert (left.error.type, left.error.message) == ("SystemExit", "enough")
        assert isinstance(wrong := await children.run(app.unstorable), Failed)
        assert wrong.error.type == "uno_jobs.errors.ResultNotStorable"


async def test_the_current_job_is_there() -> None:
    async with lab() as children:
        ended = await children.run(app.who)
    assert isinstance(ended, Succeeded)
    assert '"who",1,{"by":"me"}' in ended.result.replace(" ", "")


async def test_middleware_validation_reporting_and_context_variables_of_each_job_alone() -> None:
    async with lab(size=1) as children:
        assert await children.run(app.coloured, "it is") == Succeeded('"<it is red red>"')
        assert await children.run(app.plain_colour) == Succeeded('"none"')
        wrong = await children.run(app.coloured, "wrong")
    assert isinstance(wrong, Failed)
    assert wrong.error.message == "not that"


async def test_a_synchronous_task_may_run_an_event_loop_of_its_own() -> None:
    async with lab(size=1) as children:
        assert await children.run(app.own_loop) == Succeeded("42")
        assert await children.run(app.pid_on_the_loop) == await children.run(app.pid)


async def test_progress_is_reported_and_waited_for() -> None:
    async with lab() as children:
        assert await children.run(app.reports) == Succeeded('"reported"')
        assert children.notes.reported == [(0.1, ""), (0.5, "half")]
        assert children.notes.flushed == 1
        await children.run(app.reports_plainly)
    assert children.notes.reported[2:] == [(0.25, "a quarter")]


async def test_a_log_record_of_a_child_has_the_format_of_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    async with lab() as children:
        await children.run(app.logs)
    line = next(line for line in capfd.readouterr().err.splitlines() if "from the child" in line)
    assert '"logger": "my.app"' in line
    assert '"number": 17' in line


async def test_printing_and_closing_the_standard_streams_disturbs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    async with lab(size=1) as children:
        worn = await children.run(app.prints_and_closes)
        after = await children.run(app.pid)
    assert isinstance(worn, Succeeded)
    assert int(worn.result) in children.pids()
    assert worn != after, "one without standard streams is not used again"
    assert "this is no message" in capfd.readouterr().out


async def test_a_forked_copy_does_not_speak_for_its_parent() -> None:
    async with lab(size=1) as children:
        ended = await children.run(app.forks_a_copy_of_itself)
        assert isinstance(ended, Succeeded)
        assert int(ended.result) > 0
        assert await children.run(app.pid) == Succeeded(str(children.pids()[0]))

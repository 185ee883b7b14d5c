"""Timeouts, cancellation and deaths: each beside a job that runs on undisturbed."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.runners.child import app
from tests.runners.child.conftest import Lab, is_alive, lab, until
from uno_jobs.outcomes import Failed, HandedBack, Lost, Retried, Succeeded

if TYPE_CHECKING:
    from pathlib import Path


async def beside(children: Lab, tmp_path: Path, task: Any, *args: Any) -> Any:
    """Run a job beside another that is at work before it begins and after it has ended; returns how it ended."""
    note = tmp_path / "neighbour"
    neighbour = asyncio.create_task(children.run(app.waits_for, str(note), str(tmp_path / "go")))
    await until(note.exists)
    ended = await children.run(task, *args)
    assert not neighbour.done()
    (tmp_path / "go").touch()
    pid = children.pids()[0]
    assert await neighbour == Succeeded(str(pid))
    return ended


@pytest.mark.parametrize(
    "task",
    [app.backtracks, app.sleeps, app.ignores_sigterm, app.swallows_cancellation],
    ids=lambda task: task.name,
)
async def test_a_task_whose_time_is_up_is_ended_whatever_it_does(tmp_path: Path, task: Any) -> None:
    async with lab(size=2) as children:
        ended = await beside(children, tmp_path, task)
        assert isinstance(ended, Retried)
        assert (ended.error.type, ended.error.message) == ("TimeoutError", "it took longer than its timeout of 0.3 s")
        assert len(children.pids("child_ended")) == 1


async def test_a_timeout_is_retried_by_the_usual_rules_and_shows_where_it_was(tmp_path: Path) -> None:
    async with lab() as children:
        retried = await beside(children, tmp_path, app.spins, str(tmp_path / "spins"))
        failed = await children.run(app.spins, str(tmp_path / "spins"), failures=1)
    assert isinstance(retried, Retried)
    assert retried.delay == 7.0
    assert retried.error.traceback is not None
    assert "in spins" in retried.error.traceback
    assert isinstance(failed, Failed)


@pytest.mark.parametrize("task", [app.cleans_up, app.cleans_up_on_the_loop], ids=lambda task: task.name)
async def test_a_task_may_clean_up_when_its_time_is_up(tmp_path: Path, task: Any) -> None:
    note = tmp_path / "cleaned"
    async with lab() as children:
        ended = await beside(children, tmp_path, task, str(note))
    assert isinstance(ended, Retried)
    assert note.read_text() == "True", "it saw that it was cancelled"


async def test_a_success_before_the_kill_stands() -> None:
    async with lab() as children:
        assert await children.run(app.ends_well_all_the_same) == Succeeded('"in spite of it"')


async def test_a_stopped_process_is_ended_too() -> None:
    async with lab(size=1) as children:
        await until(lambda: children.pool.free == 1)
        running = asyncio.create_task(children.run(app.sleeps))
        os.kill(children.pids()[0], signal.SIGSTOP)
        assert isinstance(await running, Retried)


async def test_what_a_task_has_started_dies_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    async with lab() as children:
        assert isinstance(await beside(children, tmp_path, app.starts_others, str(note)), Retried)
        for pid in map(int, note.read_text().split()):
            await until(lambda pid=pid: not is_alive(pid))


async def test_what_a_task_leaves_behind_ends_with_its_child(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    async with lab(size=1, max_jobs=2) as children:
        await children.run(app.leaves_others, str(note))
        left = int(note.read_text())
        assert is_alive(left)
        await children.run(app.pid)
        await until(lambda: not is_alive(left))


async def test_the_slot_is_free_again_and_its_child_was_replaced_before() -> None:
    async with lab(size=1) as children:
        await children.run(app.ignores_sigterm)
        first, second = children.pids()
        assert children.pids("child_ended") == [first]
        assert await children.run(app.pid) == Succeeded(str(second))


async def test_a_cancelled_job_is_told_and_ended(tmp_path: Path) -> None:
    note = tmp_path / "started"
    async with lab() as children:
        running = asyncio.create_task(children.run(app.cancelled_while_it_sleeps, str(note)))
        await until(note.exists)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert note.read_text() == "True"
        assert len(children.pids("child_ended")) == 1, "it is dead before anybody is told"


async def test_a_success_in_spite_of_cancellation_stands(tmp_path: Path) -> None:
    note = tmp_path / "started"
    async with lab() as children:
        running = asyncio.create_task(children.run(app.waits_until_cancelled, str(note)))
        await until(note.exists)
        running.cancel()
        assert await running == Succeeded('"saw it"')


async def test_sigterm_from_somebody_else_is_not_obeyed(tmp_path: Path) -> None:
    # A service manager may send it to every process, and running jobs are to end within the worker's grace.
    async with lab(size=1) as children:
        note = tmp_path / "started"
        running = asyncio.create_task(children.run(app.waits_for, str(note), str(tmp_path / "go")))
        await until(note.exists)
        os.kill(children.pids()[0], signal.SIGTERM)
        os.kill(children.pids()[0], signal.SIGINT)
        (tmp_path / "go").touch()
        assert isinstance(await running, Succeeded)


@pytest.mark.parametrize(
    ("task", "args", "cause"),
    [
        (app.segfaults, [], "its process was killed by SIGSEGV"),
        (app.leaves, [7], "its process exited with status 7"),
        (app.leaves, [0], "its process exited with status 0"),
        (app.kills_itself, [], "its process was killed by SIGKILL"),
    ],
    ids=["SIGSEGV", "exit 7", "exit 0", "SIGKILL"],
)
async def test_a_death_is_told_apart(tmp_path: Path, task: Any, args: list[Any], cause: str) -> None:
    async with lab() as children:
        lost = await beside(children, tmp_path, task, *args)
        assert isinstance(lost, Lost)
        assert (lost.error.type, lost.error.message, lost.final) == ("uno_jobs.errors.ProcessDied", cause, False)
        last = await children.run(task, *args, lost=2)
        assert isinstance(last, Lost)
        assert last.final


async def test_what_the_oom_killer_did_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from uno_jobs.runners.limits import oom

    counts = iter([3, 4])
    monkeypatch.setattr(oom.OomKills, "count", lambda _: next(counts))
    async with lab() as children:
        lost = await children.run(app.kills_itself)
    assert isinstance(lost, Lost)
    assert "SIGKILL, by the kernel's OOM killer" in lost.error.message


async def test_an_application_that_a_child_cannot_import_is_said_and_tried_again_with_pauses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with lab(modules=("tests.runners.child.broken",)) as children:
        first = await children.run(app.pid)
        second = await children.run(app.pid)
        assert children.pool.free == 0
    for ended in (first, second):
        assert isinstance(ended, HandedBack)
        assert "cannot import the application" in ended.reason
        assert "this module is broken" in ended.reason
    assert len(children.pids()) <= 4
    assert "this module is broken" in caplog.text


async def test_an_idle_child_that_dies_is_replaced_after_a_pause() -> None:
    async with lab(size=1) as children:
        await until(lambda: children.pool.free == 1)
        os.kill(children.pids()[0], signal.SIGKILL)
        await until(lambda: children.pool.free == 0)
        assert len(children.pids()) == 1
        ended = await children.run(app.pid)
        assert ended == Succeeded(str(children.pids()[1]))


async def test_without_a_pidfd_a_thread_sees_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    async with lab(size=1) as children:
        lost = await children.run(app.segfaults)
        assert isinstance(lost, Lost)
        assert "SIGSEGV" in lost.error.message
        assert isinstance(await children.run(app.pid), Succeeded)


async def test_a_pool_that_nobody_needs_yet_starts_nothing_and_keeps_nothing() -> None:
    async with lab(warm=False) as children:
        assert children.pids() == []
        await children.run(app.pid)
        await until(lambda: len(children.pids("child_ended")) == 1)
        assert len(children.pids()) == 1


async def test_closing_kills_what_runs(tmp_path: Path) -> None:
    note = tmp_path / "started"
    async with lab() as children:
        running = asyncio.create_task(children.run(app.sleeps_on, str(note)))
        await until(note.exists)
        await children.pool.close(30)
        assert not any(map(is_alive, children.pids()))
        assert isinstance(await running, Lost)
        assert isinstance(await children.run(app.pid), HandedBack)

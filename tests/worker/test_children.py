"""Workers, their lanes and their children, over a database."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.runners.child.conftest import is_alive, until
from tests.worker import children_app as app
from tests.worker.conftest import LIMIT, Database, running, until_empty, use_a_task_factory
from tests.worker.processes import WORKER_PID, supervisor
from uno_jobs.tasks import Task, TaskRegistry, task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APP = ("tests.worker.children_app",)


@pytest.fixture(autouse=True)
def tasks_of_the_app(own_registry: None) -> Iterator[None]:
    for value in vars(app).values():
        if isinstance(value, Task) and "config" in vars(value):
            TaskRegistry.current().add(value)
    app.notes.clear()
    return


async def test_a_synchronous_task_runs_in_a_child_of_the_worker(database: Database) -> None:
    ids = await database.put(app.child_and_parent, times=20)
    (here,) = await database.put(app.on_the_loop)
    await until_empty(database.url, child_processes=2)
    pids = [json.loads((await database.job(id_))["result"]) for id_ in ids]
    assert {parent for _, parent in pids} == {os.getpid()}
    children = {child for child, _ in pids}
    assert os.getpid() not in children
    assert 1 <= len(children) <= 2
    assert (await database.job(here))["result"] == str(os.getpid())


async def test_no_more_jobs_are_claimed_than_there_are_free_children_and_the_loop_goes_on(
    database: Database, tmp_path: Path
) -> None:
    slow = await database.put(app.until_it_is_there, str(tmp_path / "go"), times=10)
    async with running(database.url, child_processes=2, concurrency=100) as worker:
        await database.wait_until("SELECT count(*) = 2 FROM uno_jobs.live_jobs WHERE state = 'running'")
        quick = await database.put(app.on_the_loop, times=200)
        await database.wait_until("SELECT count(*) = 200 FROM uno_jobs.outcomes")
        states = await database.connection.fetch("SELECT state::text FROM uno_jobs.live_jobs")
        assert Counter(row["state"] for row in states) == {"running": 2, "ready": 8}
        assert len(worker.holdings.running) == 2
        (tmp_path / "go").touch()
        for id_ in (*slow, *quick):
            await database.wait_for(id_, "succeeded")


async def test_what_was_claimed_and_has_not_begun_counts(database: Database) -> None:
    with TaskRegistry.isolated() as registry:
        registry.add(app.child_and_parent)  # one lane, which claims again at once
        await database.put(app.child_and_parent, times=20)
        most = 0
        async with running(database.url, child_processes=1) as worker:
            started = worker.holdings.started

            def counted(holding: Any) -> None:
                nonlocal most
                started(holding)
                most = max(most, len(worker.holdings.running))

            worker.holdings.started = counted
            await database.wait_until("SELECT count(*) = 20 FROM uno_jobs.outcomes")
    assert most == 1


async def test_a_job_that_is_cancelled_before_it_has_begun_ends(database: Database) -> None:
    (id_,) = await database.put(app.on_the_loop)
    stopped: list[Any] = []
    use_a_task_factory()  # so that jobs begin in their turn with every Python
    async with running(database.url) as worker:
        started = worker.executor.dispatch

        def dispatch(rows: Any, lease: int) -> None:
            started(rows, lease)
            for holding in worker.holdings.running:
                holding.cancel_reason = "not wanted"
                worker.executor.stop_job(holding)
                stopped.append(holding.job.id)

        worker.claimer._dispatch = dispatch
        await database.wait_for(id_, "cancelled", "succeeded")
    assert stopped == [id_]


async def test_a_backlog_of_the_loop_does_not_keep_the_children_idle(database: Database) -> None:
    async with running(database.url, child_processes=1, concurrency=2) as worker:
        assert worker.pool is not None
        # The child is up before there is anything to do: how long that takes is not what this is about.
        await until(lambda: worker.pool.free == 1)
        await database.put(app.on_the_loop, times=4000)
        (id_,) = await database.put(app.child_and_parent)
        await database.wait_for(id_, "succeeded")
        left = await database.connection.fetchval("SELECT count(*) FROM uno_jobs.live_jobs WHERE state = 'ready'")
    assert left > 0


async def test_a_sleeping_worker_runs_a_job_of_a_child_at_once(database: Database) -> None:
    async with running(database.url, child_processes=1, poll_interval=600.0) as worker:
        await asyncio.wait_for(worker.listener.listening.wait(), LIMIT)
        await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.hungry)")
        ids = await database.put(app.child_and_parent, times=3)
        for id_ in ids:
            await database.wait_for(id_, "succeeded")


async def test_a_worker_without_such_tasks_has_no_children(database: Database) -> None:
    with TaskRegistry.isolated():

        @task(name="alone")
        async def alone() -> None: ...

        heard: list[dict[str, Any]] = []
        await database.put(alone)
        from uno_jobs.worker.config import WorkerConfig
        from uno_jobs.worker.worker import Worker

        config = WorkerConfig(url=database.url, until_empty=True, poll_interval=0.1)
        await Worker(config, announce=heard.append).run()
    assert "registered" in [one["event"] for one in heard]
    assert "child" not in [one["event"] for one in heard]


async def test_jobs_that_no_child_could_import_are_left_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(app.child_and_parent.function, "__module__", "__main__")
    (id_,) = await database.put(app.child_and_parent)
    await until_empty(database.url)
    assert (await database.job(id_))["state"] == "ready"
    assert "no child process could import __main__" in caplog.text


async def test_progress_of_a_child_is_seen(database: Database, tmp_path: Path) -> None:
    (id_,) = await database.put(app.resizes, str(tmp_path / "go"))
    async with running(database.url, child_processes=1):
        await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.progress)")
        job = await database.job(id_)
        assert (round(job["progress"], 2), job["progress_message"]) == (0.4, "resized")
        (tmp_path / "go").touch()
        await database.wait_for(id_, "succeeded")


async def test_a_synchronous_task_enqueues(database: Database) -> None:
    (id_,) = await database.put(app.enqueues, database.url)
    await until_empty(database.url, child_processes=1)
    assert (await database.job(id_))["state"] == "succeeded"
    assert await database.connection.fetchval("SELECT count(*) FROM uno_jobs.outcomes WHERE state = 'succeeded'") == 2


async def test_a_timeout_fails_the_attempt(database: Database) -> None:
    (id_,) = await database.put(app.oversleeps)
    await until_empty(database.url, child_processes=1)
    job = await database.job(id_)
    assert (job["state"], job["error_type"], job["failures"]) == ("failed", "TimeoutError", 1)


async def test_hooks_run_in_the_worker(database: Database) -> None:
    (id_,) = await database.put(app.fails_in_a_child)
    async with running(database.url, child_processes=1):
        await database.wait_for(id_, "failed")
        await until(lambda: len(app.notes) == 2)
    me = os.getpid()
    assert app.notes == [f"{me} retry 1 ValueError: no", f"{me} failed ValueError: no"]


async def test_a_job_whose_child_dies_each_time_fails_in_the_end(database: Database) -> None:
    (id_,) = await database.put(app.crashes)
    async with running(database.url, child_processes=1, max_lost=2):
        job = await database.wait_for(id_, "failed")
        await until(lambda: len(app.notes) == 1)
    assert (job["lost"], job["attempt"], job["failures"]) == (2, 2, 0)
    assert job["error_type"] == "uno_jobs.errors.ProcessDied"
    assert job["error"] == "its process was killed by SIGSEGV"
    assert [one["outcome"] for one in await database.attempts(id_)] == ["lost", "lost"]
    assert "failed uno_jobs.errors.ProcessDied" in app.notes[0]


async def test_what_does_not_end_in_time_is_killed_and_handed_back(database: Database, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    (id_,) = await database.put(app.starts_another, str(note))
    async with running(database.url, grace=0.1, child_processes=1) as worker:
        await until(lambda: note.exists() and len(note.read_text().split()) == 2)
        worker.drain()
    job = await database.job(id_)
    assert (job["state"], job["failures"]) == ("ready", 0)
    assert [one["outcome"] for one in await database.attempts(id_)] == ["handed_back"]
    for pid in map(int, note.read_text().split()):
        await until(lambda pid=pid: not is_alive(pid))


async def test_suspects_run_in_children(database: Database, tmp_path: Path) -> None:
    @task
    async def nested() -> int:
        return os.getpid()

    (suspect,) = await database.put(app.on_the_loop)
    (in_place,) = await database.put(nested)
    (innocent,) = await database.put(app.on_the_loop)
    await database.connection.execute(
        "UPDATE uno_jobs.live_jobs SET suspect = true WHERE id = ANY ($1)", [suspect, in_place]
    )
    await until_empty(database.url)
    assert (await database.job(suspect))["result"] not in (None, str(os.getpid()))
    assert (await database.job(in_place))["result"] == str(os.getpid())
    assert (await database.job(innocent))["result"] == str(os.getpid())


async def test_one_that_kills_its_process_among_many_ends_alone(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    sleepers = [(await database.put(app.sleeper, str(folder), number))[0] for number in range(99)]
    (poison,) = await database.put(app.poison, str(folder), 99)
    async with supervisor(database.url, app=APP, concurrency=100, child_processes=2):
        job = await database.wait_for(poison, "failed")
        for id_ in sleepers:
            await database.wait_for(id_, "succeeded", "failed", "cancelled")
    assert job["error"] == "its process was killed by SIGKILL"
    assert job["lost"] == 3
    states = Counter([(await database.job(id_))["state"] for id_ in sleepers])
    assert states == {"succeeded": 99}
    assert {(await database.job(id_))["lost"] for id_ in sleepers} == {0}


async def test_children_and_what_they_started_die_with_a_killed_worker(database: Database, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    (id_,) = await database.put(app.starts_another, str(note))
    async with supervisor(database.url, app=APP, child_processes=1):
        await until(lambda: note.exists() and len(note.read_text().split()) == 2)
        pids = [int(pid) for pid in note.read_text().split()]
        os.kill(await database.connection.fetchval(WORKER_PID), signal.SIGKILL)
        for pid in pids:
            await until(lambda pid=pid: not is_alive(pid))
        await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.attempts WHERE outcome = 'lost')")
        assert "SIGKILL" in (await database.attempts(id_))[0]["error"]


async def test_a_killed_supervisor_leaves_no_children(database: Database, tmp_path: Path) -> None:
    await database.put(app.until_it_is_there, str(tmp_path / "never"))
    async with supervisor(database.url, app=APP, child_processes=1) as process:
        await database.wait_until("SELECT EXISTS (SELECT FROM uno_jobs.live_jobs WHERE state = 'running')")
        worker = await database.connection.fetchval(WORKER_PID)
        import psutil

        family = [worker, *(child.pid for child in psutil.Process(worker).children(recursive=True))]
        assert len(family) > 1
        process.kill()
        for pid in family:
            await until(lambda pid=pid: not is_alive(pid))


async def test_a_job_in_a_child_succeeds_in_its_own_transaction(database: Database) -> None:
    await database.connection.execute("CREATE TABLE counter AS SELECT 0 AS n")
    (raises,) = await database.put(app.counts_in_a_session, False)
    (dies,) = await database.put(app.counts_in_a_session, True)
    (loop,) = await database.put(app.counts_on_asyncpg)
    await until_empty(database.url, child_processes=2)
    jobs = [await database.job(id_) for id_ in (raises, dies, loop)]
    assert [(job["state"], job["result"], job["attempt"]) for job in jobs] == [
        ("succeeded", "7", 1),
        ("succeeded", "7", 1),
        ("succeeded", "8", 1),
    ]
    assert await database.connection.fetchval("SELECT n FROM counter") == 3
    assert (await database.attempts(raises))[0]["error_after_commit"] == "ValueError: after the commit"


async def test_a_job_cancelled_on_request_is_ended_and_its_slot_free(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uno_jobs.worker.reconciler.EVERY", 3600.0)
    (id_,) = await database.put(app.until_it_is_there, str(tmp_path / "never"))
    async with running(database.url, child_processes=1) as worker:
        await asyncio.wait_for(worker.listener.listening.wait(), LIMIT)
        await database.wait_for(id_, "running")
        await database.connection.execute("SELECT uno_jobs.cancel($1, 'enough')", id_)
        job = await database.wait_for(id_, "cancelled", "failed", "ready")
        assert (job["state"], job["error"], job["failures"], job["lost"]) == ("cancelled", "enough", 0, 0)
        (other,) = await database.put(app.child_and_parent)
        await database.wait_for(other, "succeeded")
    assert [row["outcome"] for row in await database.attempts(id_)] == ["cancelled"]

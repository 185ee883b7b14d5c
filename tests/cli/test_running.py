"""``uno-jobs worker`` and ``uno-jobs dev`` as processes, with real workers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import PROGRAM, execute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 60.0
APP = """
import asyncio, os, signal
from uno_jobs.tasks import task

@task
async def double(number: int) -> int:
    return number * {factor}

@task
async def wait_long() -> None:
    await asyncio.sleep(600)

@task(max_retries=0)
async def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Running:
    """A command as a process, its output in a file."""

    def __init__(self, arguments: list[str], out: Path, environment: dict[str, str]) -> None:
        self.out = out
        with out.open("wb") as file:
            self.process = subprocess.Popen(
                [*PROGRAM, *arguments], stdout=file, stderr=subprocess.STDOUT, env=os.environ | environment,
                start_new_session=True,
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self.out.read_text()

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Wait until a condition gives something, and return that."""
        end = time.monotonic() + LIMIT
        while not (found := condition()):
            assert self.process.poll() is None, self.text
            assert time.monotonic() < end, self.text
            time.sleep(0.02)
        return found

    def stop(self, signal_: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(signal_)
        return self.process.wait(LIMIT)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Returns a function that starts the command; what it started is ended with the test."""
    started: list[Running] = []

    def run(*arguments: str, **environment: str) -> Running:
        running = Running(list(arguments), tmp_path / f"out{len(started)}", environment)
        started.append(running)
        return running

    yield run
    for running in started:
        if running.process.poll() is None:
            running.process.terminate()
            try:
                running.process.wait(20)
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()
    # As root the server's data lie elsewhere.
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree((tmp_path / ".uno-jobs" / "postgres.path").read_text().strip())


@pytest.fixture
def app(tmp_path: Path) -> Path:
    file = tmp_path / "shop_tasks.py"
    file.write_text(APP.format(factor=2))
    return file


@pytest.mark.usefixtures("app")
def test_a_worker_runs_what_there_is_and_stops_when_empty(start: Any, database_url: str, command: Any) -> None:
    first = start(
        "worker", "--app", "shop_tasks", "--until-empty", "--poll-interval", "0.2", UNO_JOBS_DATABASE_URL=database_url
    )
    assert first.process.wait(LIMIT) == 0, first.text
    ids = [
        str(execute(database_url, "SELECT uno_jobs.enqueue('double', $1::jsonb, version => '1.0')", f"[{n}]")[0][0])
        for n in range(20)
    ]
    second = start(
        "worker", "--app", "shop_tasks", "--until-empty", "--processes", "2", "--poll-interval", "0.2",
        UNO_JOBS_DATABASE_URL=database_url,
    )  # fmt: skip
    assert second.process.wait(LIMIT) == 0, second.text
    found = command("status", "--json", url=database_url).json
    assert [row["succeeded"] for row in found["queues"]] == [20]
    assert found["workers"] == []
    job = command("jobs", "show", ids[3], "--json").json
    assert (job["state"], job["result"]) == ("succeeded", 6)
    # Elsewhere than on a terminal each line of the log is JSON.
    assert all(json.loads(line)["event"] for line in second.text.splitlines())


@pytest.mark.usefixtures("app")
def test_sigterm_hands_back_what_does_not_end_in_time(start: Any, database_url: str, command: Any) -> None:
    worker = start("worker", "--app", "shop_tasks", "--grace", "0", UNO_JOBS_DATABASE_URL=database_url)
    worker.wait_for(lambda: command("tasks", "--json", url=database_url).json)
    id_ = command("enqueue", "wait_long").out.strip()
    worker.wait_for(lambda: command("jobs", "list", "--state", "running", "--json").json)
    assert worker.stop() == 0, worker.text
    job = command("jobs", "show", id_, "--json").json
    assert (job["state"], job["failures"], job["lost"]) == ("ready", 0, 0)


@pytest.mark.usefixtures("app")
def test_a_job_that_kills_its_process_fails_in_the_end_and_the_worker_goes_on(
    start: Any, database_url: str, command: Any
) -> None:
    worker = start("worker", "--app", "shop_tasks", "--max-lost", "2", UNO_JOBS_DATABASE_URL=database_url)
    worker.wait_for(lambda: command("tasks", "--json", url=database_url).json)
    id_ = command("enqueue", "die").out.strip()
    worker.wait_for(lambda: command("jobs", "list", "--state", "failed", "--json").json)
    job = command("jobs", "show", id_, "--json").json
    assert [one["outcome"] for one in job["attempts"]] == ["lost", "lost"]
    assert "SIGKILL" in job["attempts"][0]["error"]
    good = execute(database_url, "SELECT uno_jobs.enqueue('double', '[4]', version => '1.0')")[0][0]
    worker.wait_for(lambda: command("jobs", "show", str(good), "--json").json["state"] == "succeeded")
    assert worker.stop(signal.SIGINT) == 0, worker.text


@pytest.mark.usefixtures("app")
def test_the_supervisor_takes_the_commands_place(start: Any, database_url: str) -> None:
    worker = start("worker", "--app", "shop_tasks", UNO_JOBS_DATABASE_URL=database_url)
    worker.wait_for(lambda: execute(database_url, "SELECT FROM uno_jobs.workers"))
    assert "uno_jobs.supervisor" in Path(f"/proc/{worker.process.pid}/cmdline").read_text()
    assert worker.stop() == 0


def test_an_application_that_does_not_import_is_not_tried_again(start: Any, database_url: str, app: Path) -> None:
    app.write_text("import nothing_of_that_name")
    worker = start("worker", "--app", "shop_tasks", "--processes", "2", UNO_JOBS_DATABASE_URL=database_url)
    assert worker.process.wait(LIMIT) == 3
    assert "nothing_of_that_name" in worker.text


def test_dev_runs_a_database_and_reloads(start: Any, app: Path, command: Any) -> None:
    first = start("dev", "--app", "shop_tasks")
    url = first.wait_for(lambda: re.search(r"postgresql://\S+", first.text)).group()
    first.wait_for(lambda: command("tasks", "--json", url=url).json)

    def result_of_two() -> int:
        id_ = command("enqueue", "double", "--args", "[2]", "--version", "1.0").out.strip()
        assert id_, first.text
        first.wait_for(lambda: command("jobs", "show", id_, "--json").json["state"] == "succeeded")
        return command("jobs", "show", id_, "--json").json["result"]

    assert result_of_two() == 4
    app.write_text(APP.format(factor=5))
    first.wait_for(lambda: result_of_two() == 10)
    # A mistake is reported, and waited for to be mended.
    app.write_text("wrong = ")
    first.wait_for(lambda: "waiting for the code to change" in first.text)
    app.write_text(APP.format(factor=6))
    first.wait_for(lambda: command("workers", "--json").json)

    second = start("dev", "--app", "shop_tasks")
    second.wait_for(lambda: "joined" in second.text)
    assert url in second.text
    assert first.stop(signal.SIGINT) == 0, first.text
    # The server stays for as long as somebody uses it.
    assert command("status", url=url).status == 0
    assert second.stop(signal.SIGINT) == 0, second.text
    assert command("status", url=url).status == 1

    # What was killed leaves nothing behind that stops the next start, and the jobs are still there.
    third = start("dev", "--app", "shop_tasks")
    url = third.wait_for(lambda: re.search(r"postgresql://\S+", third.text)).group()
    third.wait_for(lambda: command("workers", "--json", url=url).json)
    third.process.kill()
    third.process.wait()
    fourth = start("dev")
    url = fourth.wait_for(lambda: re.search(r"postgresql://\S+", fourth.text)).group()
    fourth.wait_for(lambda: "There is no worker" in fourth.text)
    assert command("jobs", "list", "--state", "succeeded", "--json", url=url).json
    assert fourth.stop(signal.SIGINT) == 0, fourth.text

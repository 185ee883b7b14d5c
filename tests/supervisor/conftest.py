"""A supervisor in a process of its own, over fake workers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from uno_jobs.worker.config import ENVIRONMENT, SupervisorConfig, WorkerConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LIMIT = 60.0
"""Seconds after which a wait has failed: many times what it takes."""
FAKE = str(Path(__file__).with_name("fake_worker.py"))
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"

PROGRAM = """
import asyncio, json, os, sys
from uno_jobs.logs import configure_logging
from uno_jobs.supervisor.supervisor import Supervisor
from uno_jobs.worker.config import ENVIRONMENT, SupervisorConfig
configure_logging("json", "debug")
import uno_jobs.supervisor.supervisor as module
module.LAST_WORDS = float(os.environ.get("LAST_WORDS", "0.2"))
config = SupervisorConfig.from_json(os.environ[ENVIRONMENT])
sys.exit(asyncio.run(Supervisor(config, command=json.loads(sys.argv[1])).run()))
"""


class Supervised:
    """A running supervisor: what its workers noted, and how it ends."""

    def __init__(self, process: asyncio.subprocess.Process, notes: Path) -> None:
        self.process = process
        self.notes = notes

    def noted(self, word: str) -> list[list[str]]:
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [line.split()[1:] for line in lines if line.split()[0] == word]

    async def wait_noted(self, word: str, times: int = 1) -> list[list[str]]:
        """Wait until the workers have noted a word so many times."""
        async with asyncio.timeout(LIMIT):
            while len(found := self.noted(word)) < times:
                assert self.process.returncode is None, f"it ended with {self.process.returncode}"
                await asyncio.sleep(0.01)
        return found

    def send(self, signal_: signal.Signals) -> None:
        self.process.send_signal(signal_)

    async def end(self) -> int:
        """Wait for its end; returns its exit status, negative for a signal."""
        return await asyncio.wait_for(self.process.wait(), LIMIT)

    async def stop(self) -> int:
        self.send(signal.SIGTERM)
        return await self.end()


@pytest.fixture
async def supervise(tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    """Returns a function that starts a supervisor; it is ended with the test."""
    started: list[Supervised] = []

    async def start(
        behaviour: str = "",
        *,
        url: str = NOWHERE,
        processes: int = 1,
        register: bool = False,
        command: list[str] | None = None,
        watch: tuple[str, ...] = (),
        prefix: tuple[str, ...] | list[str] = (),
        **worker: object,
    ) -> Supervised:
        config = SupervisorConfig(
            worker=WorkerConfig(url=url, **worker),
            processes=processes,
            watch=watch,  # pyright: ignore[reportArgumentType]
        )
        environment = os.environ | {
            ENVIRONMENT: config.to_json(),
            "FAKE_LOG": str(tmp_path / "notes"),
            "FAKE_BEHAVIOUR": behaviour,
        }
        if register:
            environment["FAKE_DATABASE"] = url
        process = await asyncio.create_subprocess_exec(
            *prefix,
            sys.executable,
            "-c",
            PROGRAM,
            json.dumps(command or [sys.executable, FAKE]),
            env=environment,
            start_new_session=True,
        )
        supervised = Supervised(process, tmp_path / "notes")
        started.append(supervised)
        return supervised

    yield start
    for supervised in started:
        if supervised.process.returncode is None:
            supervised.process.kill()
            await supervised.process.wait()


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.01)

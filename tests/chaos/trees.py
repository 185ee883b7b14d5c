"""Supervisors with their workers as real process trees, to be killed, stopped and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from uno_jobs.worker.config import ENVIRONMENT, SupervisorConfig, WorkerConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]


class Tree:
    """One supervisor and its workers; started again after every end."""

    def __init__(self, url: str, environment: Mapping[str, str], processes: int = 2, **options: Any) -> None:
        worker = WorkerConfig(url=url, app=("tests.chaos.app",), log_level="warning", **options)
        config = SupervisorConfig(worker=worker, processes=processes)
        self._environment = {**os.environ, **environment, ENVIRONMENT: config.to_json()}
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "uno_jobs.supervisor", env=self._environment, cwd=ROOT, start_new_session=True
        )

    def workers(self) -> list[psutil.Process]:
        """The worker processes that live now."""
        assert self.process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            return [one for one in psutil.Process(self.process.pid).children() if one.status() != "zombie"]
        return []

    async def kill(self) -> None:
        """As a host that loses its power: everything at once."""
        assert self.process is not None
        doomed = [*self.workers()]
        for worker in list(doomed):
            with contextlib.suppress(psutil.NoSuchProcess):
                doomed += worker.children(recursive=True)
        if self.process.returncode is None:
            self.process.kill()
        for one in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        await self.process.wait()

    async def terminate(self, limit: float) -> int:
        """As a deploy does; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), limit)

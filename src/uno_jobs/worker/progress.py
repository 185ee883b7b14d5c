"""Progress of running jobs: collected at once, written in between, the last word of each job only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from uno_jobs.worker.line import LINE_TROUBLE

if TYPE_CHECKING:
    from uuid import UUID

    from uno_jobs.context import Job
    from uno_jobs.worker.line import Line


class ProgressWriter:
    """Writes what jobs report; part of the ``WorkerControl``."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._loop = asyncio.get_running_loop()
        self._latest: dict[UUID, tuple[int, float, str]] = {}
        self._flushed: asyncio.Future[None] = self._loop.create_future()
        self._writing: dict[UUID, tuple[int, float, str]] = {}
        self._written = self._flushed
        self._news = asyncio.Event()
        self._stopping = False

    def report_progress(self, job: Job, fraction: float, message: str) -> None:
        """Take note; from any thread."""
        # A dictionary's assignment is atomic; the event is not for other threads.
        self._latest[job.id] = (job.lease, fraction, message)
        self._loop.call_soon_threadsafe(self._news.set)

    async def flush_progress(self, job: Job) -> None:
        """Return when all that was reported so far is in the database."""
        if job.id in self._writing:
            await asyncio.shield(self._written)
        if job.id in self._latest:
            self._news.set()
            await asyncio.shield(self._flushed)

    def stop(self) -> None:
        """End when everything is written."""
        self._stopping = True
        self._news.set()

    async def run(self) -> None:
        """Write what is reported until stopped."""
        while True:
            await self._news.wait()
            self._news.clear()
            batch, self._latest = self._latest, {}
            waiters, self._flushed = self._flushed, self._loop.create_future()
            self._writing, self._written = batch, waiters
            while batch:
                async with self._line.turn:
                    gateway = await self._line.get()
                    try:
                        for id_, (lease, fraction, message) in list(batch.items()):
                            await gateway.set_progress(id_, lease, fraction, message)
                            del batch[id_]
                    except LINE_TROUBLE as error:
                        self._line.drop(error)
            waiters.set_result(None)
            if self._stopping and not self._latest:
                return

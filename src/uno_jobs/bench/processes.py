"""The processes of a benchmark: a supervisor with its workers, and as many bare loops as there are workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.errors import UnoJobsError
from uno_jobs.storage.schema import render
from uno_jobs.supervisor import child
from uno_jobs.worker.config import ENVIRONMENT, SupervisorConfig, WorkerConfig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

START: Final = 60.0
STOP: Final = 15.0
"""Seconds after which a process has failed to start, or to stop."""
BARE: Final = "UNO_JOBS_BARE_LOOP"
"""The variable in which a bare loop finds its configuration."""

# Asleep: they listen, have looked once more, and are told when there is something.
_ASLEEP: Final = """
SELECT count(*) FROM uno_jobs.workers w WHERE w.state = 'running'
AND EXISTS (SELECT FROM uno_jobs.hungry h WHERE h.worker_id = w.id AND h.until > uno_jobs.clock())
"""
_AT_WORK: Final = "SELECT count(DISTINCT worker_id) FROM uno_jobs.live_jobs WHERE state = 'running'"


class ProcessFailed(UnoJobsError):
    """A process of the benchmark ended, or did not start."""


@contextlib.asynccontextmanager
async def workers(
    connection: Any,
    url: str,
    schema: str,
    *,
    processes: int,
    concurrency: int,
    queues: tuple[str, ...] = ("default",),
    idle: bool = True,
) -> AsyncGenerator[None]:
    """Run a supervisor with so many workers; they are idle when the block begins, or else, not idle, at work."""
    up = _ASLEEP if idle else _AT_WORK
    worker = WorkerConfig(
        url=url,
        schema=schema,
        app=("uno_jobs.bench.tasks",),
        queues=tuple((name, None) for name in queues),
        concurrency=concurrency,
        child_processes=0,
        grace=5.0,
        log_format="json",
        log_level="error",
    )
    process = await asyncio.create_subprocess_exec(
        *child.command("uno_jobs.supervisor", signal_=signal.SIGTERM),
        env={**os.environ, ENVIRONMENT: SupervisorConfig(worker=worker, processes=processes).to_json()},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=2,  # what they say is no result
        start_new_session=True,  # a Ctrl-C is ours to pass on
    )
    try:
        try:
            async with asyncio.timeout(START):
                while await connection.fetchval(render(up, schema)) < processes:
                    if process.returncode is not None:
                        raise ProcessFailed(f"the workers ended with status {process.returncode}")
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise ProcessFailed(f"the workers did not start within {START:.0f} s") from error
        yield
    finally:
        await _stop(process)
        await connection.execute(render("DELETE FROM uno_jobs.workers; DELETE FROM uno_jobs.hungry", schema))


async def bare_loops(url: str, schema: str, batch: int, number: int) -> float:
    """Drain the bare table with so many processes; returns the seconds from the first start to the last end."""
    processes = [
        await asyncio.create_subprocess_exec(
            *child.command("uno_jobs.bench.bare"),
            env={**os.environ, BARE: f"{schema} {batch} {url}"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        for _ in range(number)
    ]
    try:
        async with asyncio.timeout(START):
            for process in processes:
                await _line(process)
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
        spans = [[float(part) for part in (await _line(process)).split()] for process in processes]
        return max(end for _, end in spans) - min(start for start, _ in spans)
    except TimeoutError as error:
        raise ProcessFailed(f"the bare loops did not start within {START:.0f} s") from error
    finally:
        for process in processes:
            await _stop(process)


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise ProcessFailed(f"a bare loop ended with status {await process.wait()}")
    return line


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End a process and its children, by force if need be, also while this task is being cancelled."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(STOP):
            await process.wait()
    finally:
        # What is left of its group, if anything: a supervisor that was killed takes its workers along.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

"""How long until a job runs elsewhere, from the moment in which its worker dies, is stopped or is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psutil
from _common import ENQUEUE, FOLDER, arguments, benchmark_database, empty, median, run, show, surroundings

from uno_jobs.worker.config import ENVIRONMENT, SupervisorConfig, WorkerConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PATIENCE = 60.0
CASES = {
    "worker": "kill -9 of a worker process",
    "host": "kill -9 of a supervisor with its workers",
    "stopped-worker": "SIGSTOP of a worker process",
    "stopped-host": "SIGSTOP of a supervisor with its workers",
    "silence": "a silent network",
}


class SilentProxy:
    """Forwards connections until it is told to be silent: then it takes everything and passes nothing on."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._speaking = asyncio.Event()
        self._speaking.set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> SilentProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    @property
    def url(self) -> str:
        """URL of the database, through here."""
        assert self._server is not None
        user, at, _ = self._target.netloc.rpartition("@")
        port = self._server.sockets[0].getsockname()[1]
        return urlunsplit(self._target._replace(netloc=f"{user}{at}127.0.0.1:{port}"))

    def fall_silent(self) -> None:
        """Pass nothing on any more."""
        self._speaking.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(self._target.hostname or "127.0.0.1", self._target.port or 5432)
        for source, sink in ((reader, there[1]), (there[0], writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self._speaking.wait()
                sink.write(data)
                await sink.drain()
        sink.close()


@contextlib.asynccontextmanager
async def supervisor(url: str) -> AsyncIterator[psutil.Process]:
    """A supervisor with one worker, killed at the end, whatever state they are in."""
    worker = WorkerConfig(url=url, app=("_tasks",), log_format="json", log_level="error")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "uno_jobs.supervisor",
        cwd=FOLDER,
        env={**os.environ, ENVIRONMENT: SupervisorConfig(worker=worker).to_json()},
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        send(tree(process.pid), signal.SIGKILL)
        await process.wait()


def tree(pid: int) -> list[int]:
    """Return the ids of a supervisor and of its workers."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return []


def send(pids: list[int], signal_: signal.Signals) -> None:
    """Send a signal to processes, in this order."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal_)


async def wait_for(connection: Any, query: str, *args: Any) -> Any:
    """Wait until a query answers something; return that."""
    async with asyncio.timeout(PATIENCE):
        while (answer := await connection.fetchval(query, *args)) is None:
            await asyncio.sleep(0.005)
    return answer


async def once(url: str, connection: Any, case: str) -> float:
    """Let one job be taken from its worker in this way; return the seconds until it runs again."""
    await empty(connection)
    running = "SELECT attempt FROM uno_jobs.live_jobs WHERE state = 'running' AND attempt >= $1"
    living = "SELECT 1 FROM uno_jobs.workers WHERE state = 'running' HAVING count(*) = $1"
    async with SilentProxy(url) as proxy, supervisor(proxy.url) as doomed:
        await wait_for(connection, living, 1)
        id_ = [str(await connection.fetchval("SELECT uno_jobs.uuid_v7()"))]
        await connection.execute(ENQUEUE, id_, ["endless"], ["1.0"], ["default"], [5], ["[]"], ["{}"])
        await wait_for(connection, running, 1)
        async with supervisor(url):
            await wait_for(connection, living, 2)
            # Anywhere in the second between two beats; and whoever takes over has settled down.
            await asyncio.sleep(3 + time.monotonic() % 1)
            pids = tree(doomed.pid)
            strike: dict[str, Callable[[], None]] = {
                "worker": lambda: send(pids[1:], signal.SIGKILL),
                "host": lambda: send(pids, signal.SIGKILL),
                "stopped-worker": lambda: send(pids[1:], signal.SIGSTOP),
                "stopped-host": lambda: send(pids, signal.SIGSTOP),
                "silence": proxy.fall_silent,
            }
            began = time.monotonic()
            strike[case]()
            await wait_for(connection, running, 2)
            return time.monotonic() - began


async def measure(url: str, rounds: int, cases: list[str]) -> dict[str, Any]:
    """Take turns, so that a busy moment of the machine meets all alike."""
    connection = await asyncpg.connect(url)
    try:
        times: dict[str, list[float]] = {case: [] for case in cases}
        for _ in range(rounds):
            for case, seconds in times.items():
                seconds.append(await once(url, connection, case))
        results: dict[str, Any] = {"measured on": await surroundings(connection), "rounds": rounds}
        for case, seconds in times.items():
            results[f"{CASES[case]}, s, least"] = min(seconds)
            results[f"{CASES[case]}, s, median"] = median(seconds)
            results[f"{CASES[case]}, s, most"] = max(seconds)
        return results
    finally:
        await connection.close()


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--case", action="append", choices=CASES, help="one of them; may be repeated; default: all")
    options = parser.parse_args()
    with benchmark_database(options.url) as url:
        results = run(measure(url, options.rounds, options.case or list(CASES)))
    show(results, as_json=options.json)


if __name__ == "__main__":
    main()

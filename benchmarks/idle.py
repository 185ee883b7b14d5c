"""What a supervisor and its worker process cost while there is nothing to do: share of a core, memory."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import asyncpg
import psutil
from _common import FOLDER, arguments, benchmark_database, run, show, surroundings

from uno_jobs.worker.config import ENVIRONMENT, SupervisorConfig, WorkerConfig

REGISTERED = "SELECT pid FROM uno_jobs.workers WHERE state = 'running'"
PATIENCE = 30.0


async def measure(url: str, seconds: float) -> dict[str, object]:
    """Start a supervisor with one worker, let it settle, and watch both."""
    connection = await asyncpg.connect(url)
    worker = WorkerConfig(url=url, app=("_tasks",), log_format="json", log_level="warning")
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "uno_jobs.supervisor"],
        cwd=FOLDER,
        env={**os.environ, ENVIRONMENT: SupervisorConfig(worker=worker, processes=1).to_json()},
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while (pid := await connection.fetchval(REGISTERED)) is None:
                if supervisor.poll() is not None:
                    raise SystemExit(f"the supervisor ended with status {supervisor.returncode}")
                await asyncio.sleep(0.05)
        await asyncio.sleep(3)  # what is done once after a start
        watched = {"supervisor": psutil.Process(supervisor.pid), "worker": psutil.Process(pid)}
        before = {name: _used(process) for name, process in watched.items()}
        started = time.monotonic()
        await asyncio.sleep(seconds)
        lasted = time.monotonic() - started
        results: dict[str, object] = {"measured on": await surroundings(connection), "seconds": lasted}
        for name, process in watched.items():
            memory = process.memory_full_info()
            results[f"{name}, percent of a core"] = 100 * (_used(process) - before[name]) / lasted
            results[f"{name}, resident MB"] = memory.rss / 1e6
            results[f"{name}, of which its own MB"] = memory.uss / 1e6
        return results
    finally:
        if supervisor.poll() is None:
            supervisor.send_signal(signal.SIGTERM)
        supervisor.wait(PATIENCE)
        await connection.close()


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    with benchmark_database(options.url) as url:
        results = run(measure(url, options.seconds))
    show(results, as_json=options.json)


if __name__ == "__main__":
    main()

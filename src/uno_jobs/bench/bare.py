"""A process that drains the bare table: says when it is ready, waits for a line: ``python -m uno_jobs.bench.bare``."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from uno_jobs.bench.limits import drain_bare
from uno_jobs.bench.machine import run
from uno_jobs.bench.processes import BARE


async def main() -> None:
    """Drain, and print the beginning and the end by the clock that all processes of a machine share."""
    schema, batch, url = os.environ[BARE].split(" ", 2)
    started = 0.0

    async def ready() -> None:
        nonlocal started
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        started = time.monotonic()

    await drain_bare(url, int(batch), schema=schema, ready=ready)
    sys.stdout.write(f"{started} {time.monotonic()}\n")


if __name__ == "__main__":
    run(main())

"""Tasks that want more memory or CPU time than they may have, for the workers in the tests."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import threading
import time
from pathlib import Path

from uno_jobs.errors import Terminated
from uno_jobs.tasks import task

GIGABYTE = 1_000_000_000


@task(max_memory="256MB", max_retries=0)
def at_once() -> int:
    return len(bytearray(GIGABYTE))


@task(max_memory="256MB", max_retries=1, retry_delay=0)
def in_steps() -> None:
    parts = []
    while len(parts) < 1000:
        parts.append(b"x" * 1_000_000)
        time.sleep(0.0005)


@task(max_memory="256MB", max_retries=0)
def in_c() -> None:
    data = bytearray()
    while len(data) < GIGABYTE:
        data += b"x" * 100_000


@task(max_memory="256MB", max_retries=0)
def in_a_grandchild() -> None:
    if os.fork() == 0:
        try:
            in_steps.function()
        finally:
            os._exit(0)
    os.wait()


@task(max_memory="256MB", max_retries=0)
async def on_a_loop() -> None:
    parts = []
    while len(parts) < 1000:
        parts.append(b"x" * 1_000_000)
        await asyncio.sleep(0.0005)


@task(max_memory="256MB")
def within() -> int:
    return len(b"x" * 150_000_000)


@task
def leaves_much_behind() -> int:
    kept.append(b"x" * 200_000_000)
    return os.getpid()


@task(max_memory="256MB")
def own_pid() -> int:
    return os.getpid()


@task
def unlimited(size: int) -> None:
    kept.append(b"x" * size)
    kept.clear()


@task(timeout=3.0, terminate_grace=0.1, max_retries=0)
def too_long() -> None:
    kept.append(b"x" * 100_000_000)
    time.sleep(1000)


@task(max_retries=0)
def grows_and_segfaults() -> None:
    kept.append(b"x" * 100_000_000)
    time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGSEGV)


@task
async def free_of_limits() -> int:
    return os.getpid()


@task
async def free_and_waiting(path: str) -> int:
    while not Path(path).exists():
        await asyncio.sleep(0.005)
    return os.getpid()


def waited() -> float:
    """Return the seconds for which the main thread was ready to run, and the machine had no time for it."""
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9


def usage(seconds: float) -> tuple[float, float]:
    """Be busy for so long.

    Returns:
        The share of a core that this process had, and the share that half a core in each second leaves it, at most,
        besides what it waited for the machine. Second by second: what a busy one takes, a quiet one cannot give back.
    """
    began, used, left = time.monotonic(), time.process_time(), 0.0
    while (second := time.monotonic()) - began < seconds:
        late = waited()
        while (elapsed := time.monotonic() - second) < 1:
            pass
        left += min(0.5 * elapsed, elapsed - (waited() - late))
    elapsed = time.monotonic() - began
    return (time.process_time() - used) / elapsed, left / elapsed


@task(cpu_limit=0.5)
def half(seconds: float) -> tuple[float, float]:
    return usage(seconds)


@task(cpu_limit=0.5)
def half_with_threads(seconds: float) -> tuple[float, float]:
    def work() -> None:
        data = bytes(1_000_000)
        while time.monotonic() - began < seconds:
            hashlib.sha256(data).digest()

    began, used = time.monotonic(), time.process_time()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.process_time() - used) / (time.monotonic() - began), 0.5


@task
def whole(seconds: float) -> tuple[float, float]:
    return usage(seconds)


@task(cpu_limit=0.01, timeout=1.0, terminate_grace=10.0, max_retries=0)
def slow_to_end(note: str) -> None:
    try:
        while True:
            pass
    except Terminated:
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass
        Path(note).touch()
        raise


kept: list[bytes] = []

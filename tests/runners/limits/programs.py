"""Programs that use memory or CPU time, each run as a process that leads its own group."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SPIN = "while True: pass"

THREADS = """
import hashlib, threading
def work():
    data = bytes(10**6)
    while True: hashlib.sha256(data).digest()
for _ in range(4): threading.Thread(target=work).start()
"""

FORKS = """
import os, time
os.fork()
while True:
    if not (pid := os.fork()):
        end = time.process_time() + 0.03
        while time.process_time() < end: pass
        os._exit(0)
    os.waitpid(pid, 0)
"""

GROWS = """
import time
parts = []
for _ in range(1000):
    parts.append(b"x" * 1_000_000)
    time.sleep(0.001)
"""

BYTEARRAY = """
data = bytearray()
while len(data) < 1_000_000_000: data += b"x" * 100_000
"""

GRANDCHILD = f"""
import os
if not os.fork():
    {GROWS.strip().replace(chr(10), chr(10) + "    ")}
    os._exit(0)
os.wait()
"""

SHARES = """
import os, sys
data = b"x" * 150_000_000
child = os.fork()
if child: print("sharing", flush=True)
sys.stdin.read()
"""


class Program:
    """A running program; what it prints can be waited for, and it ends when its input is closed."""

    def __init__(self, code: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
        )
        self.pid = self.process.pid

    def kill(self, _: object = None) -> None:
        """Kill the whole group."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            assert self.process.poll() is not None

    def close(self) -> None:
        """Kill it and wait."""
        self.kill()
        with self.process:
            pass

    async def printed(self, line: str) -> None:
        """Wait until it has printed a line."""
        assert self.process.stdout is not None
        assert (await asyncio.to_thread(self.process.stdout.readline)).decode().strip() == line

    async def ended(self) -> int:
        """Wait until it has ended; returns its status."""
        return await asyncio.to_thread(self.process.wait, 60)

    def state(self) -> str:
        """Return the state of the process, as /proc has it: R runs, S sleeps, T is stopped."""
        return state(self.pid)

    def waited(self) -> float:
        """Return the seconds for which its first thread was ready to run, and the machine had no time for it."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9

    def cpu(self) -> float:
        """Return the seconds of CPU that the first process has used."""
        return time.clock_gettime((~self.pid << 3) | 2)


def state(pid: int) -> str:
    """Return the state of a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.002)


def programs() -> Iterator[Callable[[str], Program]]:
    """Give what starts programs, and end them all afterwards."""
    running: list[Program] = []

    def start(code: str) -> Program:
        running.append(Program(code))
        return running[-1]

    yield start
    for one in running:
        one.close()

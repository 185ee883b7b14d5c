"""What a process group uses: all its processes, with and without /proc."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from uno_jobs.runners.limits.group import PROC, SCAN_INTERVAL, ProcGroup, peak_memory
from uno_jobs.runners.limits.portable import PortableGroup

from .programs import SHARES, SPIN, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from .programs import Program

    Start = Callable[[str], Program]

kinds = pytest.mark.parametrize("measure", [ProcGroup, PortableGroup])

TWO = """
import os, sys
pid = os.fork()
data = b"x" * 50_000_000
print("ready", flush=True) if pid else None
sys.stdin.read()
"""

ORPHAN = """
import os, sys, time
time.sleep(0.2)
read, write = os.pipe()
if not os.fork():
    if not os.fork():
        data = b"x" * 50_000_000
        os.write(write, b"!")
        os.close(0)
        time.sleep(600)
    os._exit(0)
os.wait()
os.read(read, 1)
print("orphaned", flush=True)
sys.stdin.read()
"""

WAITED = """
import os, sys, time
if not os.fork():
    while time.process_time() < 0.5: pass
    os._exit(0)
os.wait()
print("waited", flush=True)
sys.stdin.read()
"""


@kinds
async def test_that_all_processes_count(start: Start, measure: type[ProcGroup | PortableGroup]) -> None:
    """Two processes with 50 MB each are 100 MB and more."""
    program = start(TWO)
    group = measure(program.pid)
    await program.printed("ready")
    await until(lambda: group.usage().memory > 100_000_000)
    assert group.usage().processes == 2


async def test_that_a_process_without_its_parent_counts(start: Start) -> None:
    """A grandchild whose parent is gone is found by the look through all processes."""
    program = start(ORPHAN)
    group = ProcGroup(program.pid)
    await program.printed("orphaned")
    began = time.monotonic()
    await until(lambda: group.usage().processes == 2)
    assert group.usage().memory > 50_000_000
    assert time.monotonic() - began < SCAN_INTERVAL + 10


async def test_that_the_time_of_children_that_are_gone_counts(start: Start) -> None:
    """Half a second of CPU in a child that was waited for is half a second of the group."""
    program = start(WAITED)
    group = ProcGroup(program.pid)
    await program.printed("waited")
    assert 0.45 <= group.usage().cpu <= 2.0


@kinds
async def test_that_the_time_before_does_not_count(start: Start, measure: type[ProcGroup | PortableGroup]) -> None:
    """CPU time counts from the first measurement, and grows from there."""
    program = start(SPIN)
    await until(lambda: program.cpu() > 0.3)
    os.kill(program.pid, signal.SIGSTOP)
    await until(lambda: program.state() == "T")
    group = measure(program.pid)
    assert group.usage().cpu == 0
    os.kill(program.pid, signal.SIGCONT)
    await until(lambda: group.usage().cpu > 0.1)


async def test_that_shared_pages_count_once_when_it_matters(start: Start) -> None:
    """A process with 150 MB that forks uses 300 MB by resident sizes, and not by its exact size."""
    program = start(SHARES)
    await program.printed("sharing")
    group = ProcGroup(program.pid)
    await until(lambda: group.usage().memory > 300_000_000)
    exact = group.exact_memory()
    assert exact is not None
    assert 150_000_000 < exact < 200_000_000


@kinds
async def test_that_a_group_that_is_gone_uses_nothing(start: Start, measure: type[ProcGroup | PortableGroup]) -> None:
    """Zero, and no error; its peak is not known any more."""
    program = start(SPIN)
    group = measure(program.pid)
    assert group.usage().processes == 1
    program.kill()
    await program.ended()
    assert (group.usage().memory, group.usage().processes) == (0, 0)
    assert peak_memory(program.pid) is None


async def test_that_a_kernel_without_lists_of_children_will_do(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a process's children are not listed, the look through all processes finds them."""
    monkeypatch.setattr(ProcGroup, "_children", lambda *_: iter(()))
    program = start(TWO)
    group = ProcGroup(program.pid, proc=PROC)
    await program.printed("ready")
    await until(lambda: group.usage().processes == 2)

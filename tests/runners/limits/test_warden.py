"""The warden: breaches of memory limits, and process groups that are stopped and still end as they are told."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest
import uvloop

from uno_jobs.runners.limits.limits import Limits
from uno_jobs.runners.limits.warden import Warden, terminate

from .programs import BYTEARRAY, GRANDCHILD, GROWS, SHARES, SPIN, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from .programs import Program

    Start = Callable[[str], Program]

LIMIT = 256_000_000

HANDLES = """
import signal, sys
def end(*_): sys.exit(7)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True: pass
"""

PEAK = """
import sys
data = b"x" * 60_000_000
del data
print("freed", flush=True)
sys.stdin.read()
"""


async def killed(program: Program, limit: int) -> list[int]:
    """Watch a program to its end; returns what it was killed for."""
    breaches: list[int] = []

    def breach(size: int) -> None:
        breaches.append(size)
        program.kill()

    warden = Warden(program.pid, Limits(limit), breach)
    warden.start()
    status = await program.ended()
    assert status == -signal.SIGKILL
    assert warden.stop() == breaches[0]
    return breaches


@pytest.mark.parametrize("code", [GROWS, BYTEARRAY, GRANDCHILD], ids=["steps", "bytearray", "grandchild"])
async def test_that_growing_memory_is_a_breach(start: Start, code: str) -> None:
    """A program on its way to 1 GB is reported once, soon after 256 MB."""
    (breach,) = await killed(start(code), LIMIT)
    assert LIMIT < breach < 2 * LIMIT


def test_that_it_works_on_uvloop(start: Start) -> None:
    """The same on uvloop, memory and CPU."""

    async def watch() -> None:
        (breach,) = await killed(start(GROWS), LIMIT)
        assert LIMIT < breach < 2 * LIMIT
        program = start(SPIN)
        warden = Warden(program.pid, Limits(cpu_limit=0.1), program.kill)
        warden.start()
        await until(lambda: program.state() == "T")
        await until(lambda: program.state() == "R")
        warden.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(watch())


async def test_that_pages_that_are_shared_are_no_breach(start: Start) -> None:
    """150 MB shared by two processes stay under 256 MB, however often they are counted."""
    program = start(SHARES)
    await program.printed("sharing")
    breaches: list[int] = []
    warden = Warden(program.pid, Limits(LIMIT), breaches.append)
    warden.start()
    await until(lambda: warden.peak)
    assert breaches == []
    peak = warden.stop()
    assert peak is not None
    assert 150_000_000 < peak < LIMIT


async def test_that_a_stopped_group_ends_by_its_own_handler(start: Start) -> None:
    """SIGTERM reaches a group that stands still, and once released it has all the time it needs to clean up."""
    program = start(HANDLES)
    await program.printed("ready")
    warden = Warden(program.pid, Limits(cpu_limit=0.01), program.kill)
    warden.start()
    await until(lambda: program.state() == "T")
    warden.release()
    terminate(program.pid, signal.SIGTERM)
    assert await program.ended() == 7
    warden.stop()


async def test_that_a_signal_continues_what_others_have_stopped(start: Start) -> None:
    """``terminate`` alone makes a stopped group hear."""
    program = start(HANDLES)
    await program.printed("ready")
    os.killpg(program.pid, signal.SIGSTOP)
    await until(lambda: program.state() == "T")
    terminate(program.pid, signal.SIGTERM)
    assert await program.ended() == 7
    terminate(program.pid, signal.SIGKILL)  # gone: nothing happens


async def test_that_it_leaves_the_group_running(start: Start) -> None:
    """A warden that ends while the group stands still lets it go on, and never stops it again."""
    program = start(SPIN)
    warden = Warden(program.pid, Limits(cpu_limit=0.01), program.kill)
    warden.start()
    await until(lambda: program.state() == "T")
    warden.stop()
    await until(lambda: program.state() == "R")
    used = program.cpu()
    await until(lambda: program.cpu() > used + 0.5)


async def test_that_the_kernel_is_left_to_hold_the_cpu(start: Start) -> None:
    """Without throttling a group under a limit of CPU is only watched."""
    program = start(SPIN)
    warden = Warden(program.pid, Limits(LIMIT, 0.01), program.kill, throttle=False)
    warden.start()
    await until(lambda: program.cpu() > 0.5)
    warden.stop()


async def test_that_a_job_without_limits_has_its_peak(start: Start) -> None:
    """What was freed long ago is in the peak, where the process still lives to tell."""
    program = start(PEAK)
    await program.printed("freed")
    warden = Warden(program.pid, Limits(), program.kill)
    warden.start()
    warden.note_peak()
    peak = warden.stop()
    assert peak is not None
    assert 60_000_000 < peak < 120_000_000

"""``cpu_limit`` without control groups: measured over seconds against a loop beside it that nothing limits."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from uno_jobs.runners.limits.limits import Limits, measure
from uno_jobs.runners.limits.warden import Warden

from .programs import FORKS, SPIN, THREADS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .programs import Program


@pytest.mark.parametrize(
    ("code", "seconds"), [(SPIN, 5.0), (THREADS, 3.0), (FORKS, 3.0)], ids=["loop", "threads", "forks"]
)
async def test_that_half_a_core_is_half_a_core(start: Callable[[str], Program], code: str, seconds: float) -> None:
    """At most 0.55 of a core, and at least 0.8 of what it may have, on a machine as busy as the control finds it."""
    program, control = start(code), start(SPIN)
    free, group = measure(control.pid), measure(program.pid)
    warden = Warden(program.pid, Limits(cpu_limit=0.5), program.kill)
    warden.start()
    began, before, control_before = time.monotonic(), group.usage().cpu, free.usage().cpu
    # Second by second: what a busy one takes, a quiet one cannot give back.
    left = 0.0
    while (second := time.monotonic()) - began < seconds:
        late = program.waited()
        await asyncio.sleep(1)
        elapsed = time.monotonic() - second
        left += min(0.5 * elapsed, elapsed - (program.waited() - late))
    elapsed = time.monotonic() - began
    share = (group.usage().cpu - before) / elapsed
    control_share = (free.usage().cpu - control_before) / elapsed
    warden.stop()
    assert share <= 0.55
    assert share >= 0.8 * min(control_share, left / elapsed)

"""Limits inside the child: what is allocated in one go, and the peak of each job."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from uno_jobs.errors import MemoryLimitExceeded
from uno_jobs.runners.limits.inside import Bounds, refused
from uno_jobs.runners.limits.limits import Limits

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = Limits(256_000_000)


def run(code: str) -> list[str]:
    """Run code in a process of its own, and return the lines that it printed."""
    head = (
        "from uno_jobs.runners.limits.inside import Bounds\n"
        "from uno_jobs.runners.limits.limits import Limits\n"
        "bounds = Bounds()\n"
    )
    done = subprocess.run([sys.executable, "-c", head + code], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.split()


def test_that_a_gigabyte_in_one_go_is_refused() -> None:
    """``MemoryError`` at once under 256 MB, without having had any of it; afterwards all is as before."""
    refusal, peak, after = run("""
bounds.apply(Limits(256_000_000))
try:
    data = bytearray(1_000_000_000)
except MemoryError:
    print("refused")
print(bounds.lift())
data = bytearray(1_000_000_000)
print(len(data))
""")
    assert (refusal, after) == ("refused", "1000000000")
    assert int(peak) < 256_000_000


def test_that_what_is_within_the_limit_is_to_be_had() -> None:
    """200 MB under 256 MB, and the peak says so."""
    length, peak = run("""
bounds.apply(Limits(256_000_000))
data = b"x" * 200_000_000
print(len(data))
print(bounds.lift())
""")
    assert length == "200000000"
    assert 200_000_000 < int(peak) < 256_000_000


def test_that_each_job_has_its_own_peak() -> None:
    """A small job after a large one has a small peak."""
    large, small = run("""
bounds.apply(Limits())
data = b"x" * 150_000_000
print(bounds.lift())
del data
bounds.apply(Limits())
print(bounds.lift())
""")
    assert int(large) > 150_000_000
    assert int(small) < 120_000_000


def test_that_without_a_reset_only_the_first_job_has_a_peak(tmp_path: Path) -> None:
    """Where the kernel does not let the peak be reset, a later job's would be an earlier one's: it is not told."""
    bounds = Bounds(proc=tmp_path)
    bounds.apply(Limits())
    first = bounds.lift()
    bounds.apply(Limits())
    assert bounds.lift() is None
    assert first is not None
    assert first > 10_000_000


def test_that_a_limit_of_the_system_stands() -> None:
    """A limit that was there before is neither raised nor lost."""
    before, during, after = run(
        """
import resource
resource.setrlimit(resource.RLIMIT_DATA, (200_000_000, 2_000_000_000))
print(resource.getrlimit(resource.RLIMIT_DATA))
bounds.apply(Limits(1_000_000_000))
print(resource.getrlimit(resource.RLIMIT_DATA))
bounds.lift()
print(resource.getrlimit(resource.RLIMIT_DATA))
""".replace("print(resource.getrlimit(resource.RLIMIT_DATA))", "print(resource.getrlimit(resource.RLIMIT_DATA)[0])")
    )
    assert (before, during, after) == ("200000000", "200000000", "200000000")


def test_that_nothing_is_restricted_without_a_limit() -> None:
    """A job without ``max_memory`` may allocate as before."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = Bounds()
    bounds.apply(Limits(cpu_limit=0.5))
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    bounds.lift()


def test_what_a_memory_error_is_called() -> None:
    """Under a limit ``MemoryLimitExceeded``, chained; without one, and for other errors, what it was."""
    with pytest.raises(MemoryError) as raised:
        raise MemoryError("no more")
    error = refused(raised.value, LIMITS, 300_000_000)
    assert isinstance(error, MemoryLimitExceeded)
    assert error.__cause__ is raised.value
    assert error.__traceback__ is raised.value.__traceback__
    assert (error.limit, error.peak) == (256_000_000, 300_000_000)
    assert str(error) == "an allocation was refused: its max_memory is 256.0 MB; its peak was 300.0 MB"
    assert refused(error, LIMITS, None) is error
    assert refused(raised.value, Limits(cpu_limit=1.0), None) is raised.value
    other = ValueError()
    assert refused(other, LIMITS, None) is other

"""Whether this host's clock agrees with the server's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uno_jobs.doctor.check import check
from uno_jobs.doctor.finding import Finding, Status
from uno_jobs.doctor.look import duration, grade

if TYPE_CHECKING:
    from uno_jobs.doctor.look import Look


@check("clock", "Does this host's clock agree with the server's?", needs_schema=False)
async def clock(look: Look) -> Finding:
    """Compare the clocks by a few round trips, and believe the shortest."""
    best: tuple[float, float] | None = None
    for _ in range(3):
        before = look.time()
        server = float(await look.value("SELECT extract(epoch FROM pg_catalog.clock_timestamp())::float8"))
        after = look.time()
        tried = ((after - before) / 2, (before + after) / 2 - server)
        best = tried if best is None else min(best, tried)
    assert best is not None
    doubt, skew = best
    # What the round trip alone may explain is no skew.
    status = grade(max(0.0, abs(skew) - doubt), look.limits.clock_skew)
    off = "ahead of" if skew > 0 else "behind"
    seen = f"this host's clock is {duration(abs(skew))} {off} the server's, give or take {duration(doubt)}"
    advice = None
    if status is not Status.OK:
        advice = (
            "let both hosts set their clocks by NTP: the server's clock decides when jobs start, so a run_at that a "
            "program here reckons by its own comes at another time, and times in logs do not fit those in the database"
        )
    return Finding(
        check="clock", status=status, seen=seen, advice=advice, details=({"skew": skew, "uncertainty": doubt},)
    )

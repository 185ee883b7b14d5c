"""What a check is given: a connection inside a transaction of its own, and what to measure by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from uno_jobs.doctor.finding import Status
from uno_jobs.storage.schema import quote_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.doctor.limits import Limits

Row = dict[str, Any]
N = TypeVar("N", int, float)

MOST: int = 20
"""Rows of details, at most."""
LIVING_FOR = "interval '20 seconds'"
"""A worker lives when its state says so and it has beaten within this time, as in latest_version."""


@dataclass(frozen=True)
class Look:
    """The database as one check sees it: read only, and not for long."""

    connection: Any
    """Of asyncpg."""
    url: str
    schema: str
    pooled: bool
    limits: Limits
    time: Callable[[], float]
    """The clock of this host, in seconds since 1970."""

    async def rows(self, query: str, *args: Any) -> list[Row]:
        """Return the rows of a query; ``{0}`` in it is the schema's name."""
        return [dict(row) for row in await self.connection.fetch(query.format(quote_schema(self.schema)), *args)]

    async def value(self, query: str, *args: Any) -> Any:
        """Return the only value of a query; ``{0}`` in it is the schema's name."""
        return await self.connection.fetchval(query.format(quote_schema(self.schema)), *args)

    async def living(self) -> list[Row]:
        """Return the living workers: id, hostname, pid, queues, known."""
        return await self.rows(
            "SELECT w.id, w.hostname, w.pid, w.queues, w.known FROM {0}.workers w "
            f"WHERE w.state IN ('running', 'draining') AND w.beat_at > {{0}}.clock() - {LIVING_FOR} ORDER BY w.id"
        )


def grade(seen: N, limits: tuple[N, N]) -> Status:
    """Say how a measure stands against its limits."""
    return Status.ERROR if seen >= limits[1] else Status.WARNING if seen >= limits[0] else Status.OK


def duration(seconds: float) -> str:
    """Return a duration in words of one unit, such as ``3 s`` or ``2 h``; never less than 0.1 ms."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    if 0 < seconds < 1:
        return f"{max(seconds * 1000, 0.1):.2g} ms"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def named(names: list[str], most: int = 5) -> str:
    """Return names in quotes, as many as a sentence can bear."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"

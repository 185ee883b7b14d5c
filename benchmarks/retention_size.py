"""How large the tables are while jobs come and go at a steady rate for two simulated weeks; with --plot, as a picture.

Time is simulated and everything else is real: the schema is marked as one for tests, and its clock is set forward by an
hour before each step. A step enqueues, claims and finishes the jobs of an hour by the functions of the workers, then
removes what is past its retention until nothing is left to look at. Tables are vacuumed when a twentieth of their rows
is dead, as autovacuum does under the schema's settings, since autovacuum cannot know how late it is here.

Scaled down: 1,000 jobs an hour, kept for 2 days (failed ones, one in a hundred, for 4) instead of 7 and 30. After four
days nothing should grow.
"""

from __future__ import annotations

import json
import secrets
import time
import uuid
from typing import Any

import asyncpg
from _common import ENQUEUE, arguments, benchmark_database, run, show, surroundings

from uno_jobs.storage.gateway import Gateway

KEEP = {"succeeded": "2 days", "cancelled": "2 days", "failed": "4 days"}
TABLES = ("jobs", "outcomes", "attempts", "live_jobs")
CLOCK = """
CREATE OR REPLACE FUNCTION uno_jobs.clock() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT pg_catalog.statement_timestamp() + interval '{} hours' $$
"""
SIZES = (
    "SELECT pg_table_size('uno_jobs.' || t), pg_indexes_size(('uno_jobs.' || t)::regclass) FROM unnest($1::text[]) AS t"
)
MB = 1e6


class Simulation:
    """A schema whose clock is set forward."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], jobs: int) -> None:
        self.connection = connection
        self.gateway = Gateway(connection, "uno_jobs")
        self.worker = uuid.uuid4()
        self.jobs = jobs
        self.dead = dict.fromkeys(TABLES, 0)
        self.removed = 0

    async def hour(self, hour: int) -> list[tuple[int, int]]:
        """Live through an hour; returns the sizes of tables and their indexes, in bytes."""
        await self.connection.execute(CLOCK.format(hour))
        now = time.time() + hour * 3600
        for start in range(0, self.jobs, 250):
            await self.work(min(250, self.jobs - start), now)
        self.dead["live_jobs"] += 2 * self.jobs
        while (done := await self.gateway.prune(1000)).walked:
            self.removed += done.removed
            for table in ("jobs", "outcomes", "attempts"):
                self.dead[table] += done.removed
        for table in TABLES:
            limit = 2000 if table == "live_jobs" else 50 + 0.05 * await self.count(table)
            if self.dead[table] > limit:
                await self.connection.execute(f"VACUUM uno_jobs.{table}")
                self.dead[table] = 0
        return [(row[0], row[1]) for row in await self.connection.fetch(SIZES, TABLES)]

    async def count(self, table: str) -> int:
        return await self.connection.fetchval(f"SELECT count(*) FROM uno_jobs.{table}")

    async def work(self, count: int, now: float) -> None:
        """Enqueue jobs, claim them, and finish them, one in a hundred as failed."""
        ids = [id_of(now + place / 1000) for place in range(count)]
        same = (["noop"] * count, ["1.0"] * count, ["default"] * count, [5] * count, ["[1]"] * count, ["{}"] * count)
        await self.connection.execute(ENQUEUE, ids, *same)
        lease = secrets.randbits(63)
        rows = await self.gateway.claim(self.worker, lease, count, ["default"], [count], [0] * 10, ["noop@1.0"])
        claimed = [row["id"] for row in rows if row["id"] is not None]
        failed = claimed[: count // 100]
        others = [{"id": str(id_), "lease": lease, "outcome": "failed", "error": "no"} for id_ in failed]
        done = claimed[len(failed) :]
        stale = await self.gateway.finish(
            self.worker, done, [lease] * len(done), ["null"] * len(done), json.dumps(others)
        )
        assert len(claimed) == count
        assert not stale


def id_of(moment: float) -> str:
    """Return a UUID of version 7 made at that time."""
    return str(uuid.UUID(int=int(moment * 1000) << 80 | 7 << 76 | 2 << 62 | secrets.randbits(62)))


async def measure(url: str, jobs: int, days: int, plot: str | None) -> dict[str, object]:
    """Live through so many days; returns the sizes after the first days, and how they have grown since."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("UPDATE uno_jobs.schema_info SET for_tests = true")
        for state, keep in KEEP.items():
            await connection.execute(f"SELECT uno_jobs.set_retention('{state}', '{keep}')")
        for table in TABLES:
            await connection.execute(f"ALTER TABLE uno_jobs.{table} SET (autovacuum_enabled = off)")
        simulation = Simulation(connection, jobs)
        sizes = [await simulation.hour(hour) for hour in range(days * 24)]
        steady = days * 24 // 2  # the second half: a week of two
        results: dict[str, object] = {
            "measured on": await surroundings(connection),
            "days": days,
            "jobs": days * 24 * jobs,
            "removed": simulation.removed,
        }
        for place, table in enumerate(TABLES):
            for kind, name in enumerate((table, f"indexes of {table}")):
                week = [size[place][kind] / MB for size in sizes[steady:]]
                results[f"{name}, MB"] = {
                    "first day of the last half": round(max(week[:24]), 2),
                    "last day": round(max(week[-24:]), 2),
                }
        total = [sum(table + indexes for table, indexes in size) for size in sizes]
        results["growth in the last half"] = max(total[-24:]) / max(total[steady : steady + 24])
        if plot is not None:
            draw(sizes, jobs, plot)
        return results
    finally:
        await connection.close()


def draw(sizes: list[list[tuple[int, int]]], jobs: int, path: str) -> None:
    """Write a picture of the sizes over time; needs matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "uno-jobs"  # the same picture from the same figures
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    days = [hour / 24 for hour in range(len(sizes))]
    for place, (table, colour) in enumerate(zip(TABLES, ("C0", "C1", "C2", "C3"), strict=True)):
        axes.plot(days, [size[place][0] / MB for size in sizes], colour, label=table)
        axes.plot(days, [size[place][1] / MB for size in sizes], colour + "--")
    axes.set(xlabel="simulated days", ylabel="MB (dashed: indexes)", ylim=(0, None), xlim=(0, days[-1]))
    axes.set_title(f"{jobs:,} jobs an hour, kept for 2 days, failed ones (1 %) for 4")
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "", jobs=1000, rounds=1)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--plot", metavar="FILE", help="write a picture (SVG)")
    options = parser.parse_args()
    with benchmark_database(options.url) as url:
        results: dict[str, Any] = run(measure(url, options.jobs, options.days, options.plot))
    show(results, as_json=options.json)


if __name__ == "__main__":
    main()

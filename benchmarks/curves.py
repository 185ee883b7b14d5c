"""How the rate of a worker, and that of the bare limit, bend with the backlog behind and with dead rows in front.

Dead rows come as they do in life: a snapshot is held open while jobs go through, so that vacuum may remove none of
them. The bare limit is a table without history, drained by UPDATE … SKIP LOCKED and DELETE in a loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
from _common import arguments, benchmark_database, median, run, show, surroundings
from _worlds import databases, fill_with, pinned, rate, tidy

from uno_jobs.bench.limits import BATCH, drain_bare, fill_bare
from uno_jobs.storage.schema import DEFAULT_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

Curve = dict[int, float]


class Ours:
    """A database of ours in which the counts of jobs only grow."""

    def __init__(self, url: str, connection: Any) -> None:
        self._url = url
        self._connection = connection
        self._number = 1

    async def fill(self, jobs: int) -> None:
        """Add ready jobs."""
        await fill_with(self._connection, "ready", jobs, start=self._number)
        self._number += jobs

    async def drain(self, jobs: int) -> float:
        """Return how many a second a worker finishes."""
        return await rate(self._url, self._connection, jobs)


async def by_depth(url: str, jobs: int, rounds: int, points: Sequence[int]) -> tuple[Curve, Curve]:
    """Return jobs a second in front of so many ready ones: ours, and bare."""
    ours: Curve = {}
    bare: Curve = {}
    connection = await asyncpg.connect(url)
    world = Ours(url, connection)
    ready = 0
    for depth in points:
        await world.fill(depth - ready)
        ready = depth
        mine: list[float] = []
        theirs: list[float] = []
        for _ in range(rounds):
            await world.fill(jobs)
            await tidy(connection)
            mine.append(await world.drain(jobs))
            await fill_bare(url, depth + jobs, schema=DEFAULT_SCHEMA)
            await connection.execute("CHECKPOINT")
            theirs.append(jobs / await drain_bare(url, BATCH, schema=DEFAULT_SCHEMA, most=jobs))
        ours[depth], bare[depth] = median(mine), median(theirs)
    await connection.close()
    return ours, bare


async def by_dead_rows(url: str, jobs: int, rounds: int, points: Sequence[int]) -> tuple[Curve, Curve]:
    """Return jobs a second after so many went through under one snapshot: ours, and bare."""
    ours: Curve = {}
    bare: Curve = {}
    connection = await asyncpg.connect(url)
    world = Ours(url, connection)
    holder = await pinned(url)
    churned = 0
    for point in points:
        mine: list[float] = []
        theirs: list[float] = []
        for _ in range(rounds):
            if point > churned:
                await world.fill(point - churned)
                await world.drain(point - churned)
                churned = point
            await world.fill(jobs)
            await connection.execute("CHECKPOINT")
            mine.append(await world.drain(jobs))
            churned += jobs
            await fill_bare(url, point + jobs, schema=DEFAULT_SCHEMA)
            if point:
                await drain_bare(url, BATCH, schema=DEFAULT_SCHEMA, most=point)
            await connection.execute("CHECKPOINT")
            theirs.append(jobs / await drain_bare(url, BATCH, schema=DEFAULT_SCHEMA, most=jobs))
        ours[point], bare[point] = median(mine), median(theirs)
    await holder.close()
    await connection.close()
    return ours, bare


async def measure(urls: dict[str, str], options: Any) -> dict[str, Any]:
    """Follow both curves; returns jobs a second at each point, and ratios to the first."""
    curves = {
        "ready jobs behind": await by_depth(urls["deep"], options.jobs, options.rounds, options.depths),
        "jobs gone through under a snapshot": await by_dead_rows(
            urls["dead"], options.jobs, options.rounds, options.dead
        ),
    }
    if options.plot is not None:
        draw(curves, options.plot)
    connection = await asyncpg.connect(urls["deep"])
    results: dict[str, Any] = {
        "measured on": await surroundings(connection),
        "rounds": options.rounds,
        "jobs": options.jobs,
    }
    await connection.close()
    for name, (ours, bare) in curves.items():
        first = next(iter(ours))
        results[f"lowest ratio of a worker, {name}"] = min(ours.values()) / ours[first]
        for point in ours:
            results[f"{point:,} {name}"] = {
                "worker, jobs/s": round(ours[point]),
                "bare, jobs/s": round(bare[point]),
                "worker to bare": round(ours[point] / bare[point], 2),
                "worker to its first": round(ours[point] / ours[first], 2),
                "bare to its first": round(bare[point] / bare[first], 2),
            }
    return results


def draw(curves: dict[str, tuple[Curve, Curve]], path: str) -> None:
    """Write a picture; needs matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "uno-jobs"  # the same picture from the same figures
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(curves), figsize=(10, 4), sharey=True, layout="constrained")
    for axes, (name, (ours, bare)) in zip(panels, curves.items(), strict=True):
        thousands = [point / 1000 for point in ours]
        axes.plot(thousands, [value / 1000 for value in bare.values()], "C7o--", label="bare limit, no history")
        axes.plot(thousands, [value / 1000 for value in ours.values()], "C0o-", label="a worker")
        axes.set(xlabel=f"thousand {name}", ylim=(0, None))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("thousand jobs a second")
    panels[0].legend(loc="center right")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "", jobs=50_000, rounds=3)
    parser.add_argument("--depths", type=int, nargs="+", default=[0, 100_000, 300_000, 600_000, 1_000_000])
    parser.add_argument("--dead", type=int, nargs="+", default=[0, 200_000, 400_000, 800_000])
    parser.add_argument("--plot", metavar="FILE", help="write a picture (SVG)")
    options = parser.parse_args()
    with benchmark_database(options.url) as url, databases(url, "deep", "dead") as urls:
        results = run(measure(urls, options))
    show(results, as_json=options.json)


if __name__ == "__main__":
    main()

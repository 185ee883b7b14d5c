"""The whole benchmark: each thing in turn with its bare limit, round after round, and the figures that come of it."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

from uno_jobs.bench import jobs as ours
from uno_jobs.bench import limits, processes
from uno_jobs.bench.tasks import noop
from uno_jobs.queue import Queue
from uno_jobs.storage.session import connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Work = Callable[[], Awaitable[float | list[float]]]


class Size(NamedTuple):
    """How much is measured.

    Args:
        jobs: Enqueued in bulk and drained in each round.
        rounds: Of which the medians are taken.
        concurrency: Jobs at once in a worker process.
        processes: Worker processes, where there are several.
    """

    jobs: int = 20_000
    rounds: int = 3
    concurrency: int = 100
    processes: int = 2

    @property
    def singles(self) -> int:
        """Jobs enqueued one by one in a round."""
        return max(10, min(2_000, self.jobs // 10))

    @property
    def samples(self) -> int:
        """Starts, and steps of a chain, in a round."""
        return max(10, min(200, self.jobs // 100))


class Figure(NamedTuple):
    """What was measured, and the bare limit of the same run."""

    name: str
    title: str
    unit: str
    value: float
    limit: float

    @property
    def ratio(self) -> float:
        """What was measured in parts of the limit: of rates at most about 1, of latencies at least about 1."""
        return self.value / self.limit


class Measured:
    """Seconds by name, ours and the limit's, as they come in."""

    def __init__(self, told: Callable[[int, int, str], None], total: int) -> None:
        self._told = told
        self._total = total
        self._done = 0
        self.seconds: dict[tuple[str, bool], list[list[float]]] = {}

    async def take(self, name: str, title: str, ours: Work, limit: Work) -> None:
        """Measure the limit, then ours; each gives seconds, or a list of them."""
        for bare, work in ((True, limit), (False, ours)):
            self._told(self._done, self._total, f"{title}{', bare SQL' if bare else ''}")
            got = await work()
            self.seconds.setdefault((name, bare), []).append(got if isinstance(got, list) else [got])
            self._done += 1
        self._told(self._done, self._total, "")

    def rate(self, name: str, title: str, jobs: int) -> Figure:
        """Return the median of jobs per second."""
        value, limit = (
            statistics.median(jobs / seconds for (seconds,) in self.seconds[name, bare]) for bare in (False, True)
        )
        return Figure(name, title, "jobs/s", value, limit)

    def latency(self, name: str, title: str, percent: int) -> Figure:
        """Return a percentile of the milliseconds, over all rounds."""
        value, limit = (
            percentile([one for seconds in self.seconds[name, bare] for one in seconds], percent) * 1000
            for bare in (False, True)
        )
        return Figure(f"{name}_p{percent}", f"{title}, p{percent}", "ms", value, limit)


def percentile(values: list[float], percent: int) -> float:
    """Return the value that so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


async def measure(url: str, schema: str, size: Size, told: Callable[[int, int, str], None]) -> list[Figure]:
    """Measure everything in a schema that is empty and nobody else's.

    Args:
        url: The database.
        schema: The schema.
        size: How much.
        told: Told how many measurements are done, of how many, and which is under way.

    Raises:
        ProcessFailed: A worker ended, or a job did.
    """
    several = size.processes > 1
    measured = Measured(told, size.rounds * 2 * (5 + several))
    one, bulk, one_worker = "enqueue one by one", "enqueue in bulk", "drain, 1 process"
    many_workers = f"drain, {size.processes} processes"
    start, step = "enqueue to start, idle worker", "step to step of a chain"
    chunks = [
        limits.rows_of(begin, min(begin + limits.BATCH, size.jobs), noop.config.name)
        for begin in range(0, size.jobs, limits.BATCH)
    ]
    connection = await connect(url, schema, name="uno-jobs bench")
    try:
        async with Queue(url, schema=schema, notify=True, pooled=False) as queue:
            async with processes.workers(connection, url, schema, processes=1, concurrency=size.concurrency):
                await ours.drain(connection, queue, schema, 10)  # the first jobs import, connect and prepare
                for _ in range(size.rounds):
                    await measured.take(
                        "drain", one_worker,
                        lambda: ours.drain(connection, queue, schema, size.jobs),
                        lambda: _bare_loops(url, schema, size.jobs, 1),
                    )  # fmt: skip
                    await measured.take(
                        "start", start,
                        lambda: ours.start_latencies(connection, queue, schema, size.samples),
                        lambda: limits.start_latencies(url, size.samples, ours.pause, schema=schema),
                    )  # fmt: skip
                    await measured.take(
                        "step", step,
                        lambda: ours.step_latencies(connection, queue, schema, size.samples),
                        lambda: limits.step_latencies(url, size.samples, schema=schema),
                    )  # fmt: skip
            if several:
                async with processes.workers(
                    connection, url, schema, processes=size.processes, concurrency=size.concurrency
                ):
                    await ours.drain(connection, queue, schema, 10 * size.processes)
                    for _ in range(size.rounds):
                        await measured.take(
                            "drain_processes", many_workers,
                            lambda: ours.drain(connection, queue, schema, size.jobs),
                            lambda: _bare_loops(url, schema, size.jobs, size.processes),
                        )  # fmt: skip
            await limits.make_table(connection, schema)
            await ours.enqueue_one_by_one(queue, 10)  # connects and prepares
            for _ in range(size.rounds):
                await ours.clear(connection, schema)
                await measured.take(
                    "enqueue_one", one,
                    lambda: ours.enqueue_one_by_one(queue, size.singles),
                    lambda: limits.insert_one_by_one(connection, schema, size.singles),
                )  # fmt: skip
                await ours.clear(connection, schema)
                await measured.take(
                    "enqueue_bulk", bulk,
                    lambda: _bulk(connection, queue, schema, size.jobs),
                    lambda: limits.insert_same_rows(connection, schema, chunks),
                )  # fmt: skip
    finally:
        connection.terminate()
    return [
        measured.rate("enqueue_one", one, size.singles),
        measured.rate("enqueue_bulk", bulk, size.jobs),
        measured.rate("drain", one_worker, size.jobs),
        *([measured.rate("drain_processes", many_workers, size.jobs)] if several else []),
        *(measured.latency("start", start, percent) for percent in (50, 99)),
        *(measured.latency("step", step, percent) for percent in (50, 99)),
    ]


async def _bulk(connection: Any, queue: Queue, schema: str, jobs: int) -> float:
    await ours.clear(connection, schema)
    return await ours.enqueue_bulk(queue, jobs)


async def _bare_loops(url: str, schema: str, jobs: int, number: int) -> float:
    await limits.fill_bare(url, jobs, schema=schema)
    return await processes.bare_loops(url, schema, min(limits.BATCH, max(1, jobs // number)), number)

"""How much slower a worker is in a database that has much in it, than in an empty one of the same run.

Three worlds, measured in turns with the empty one: many ready, scheduled and finished jobs; dead rows that a snapshot
keeps, after so many jobs went through; and four long transactions that read, whose rate is followed second by second.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
from _common import arguments, benchmark_database, median, run, show, surroundings
from _worlds import Finished, databases, fill_with, pinned, rate, running, tidy


async def measure_depth(
    urls: dict[str, str], jobs: int, rounds: int, worlds: dict[str, int], churn: int
) -> dict[str, Any]:
    """Return the medians of the rates, and what they are of the empty database's."""
    hands = {name: await asyncpg.connect(url) for name, url in urls.items()}
    numbers = {"empty": 1, "deep": worlds["ready"] + 1, "held": churn + 1}
    try:
        for state, count in worlds.items():
            await fill_with(hands["deep"], state, count)
        await tidy(hands["deep"])
        holder = await pinned(urls["held"])
        await fill_with(hands["held"], "ready", churn)
        await rate(urls["held"], hands["held"], churn)
        rates: dict[str, list[float]] = {name: [] for name in urls}
        for _ in range(rounds):
            for name, hand in hands.items():
                # The deep one has enough, but what was taken is put back behind, so that it stays as deep.
                await fill_with(hand, "ready", jobs, start=numbers[name])
                numbers[name] += jobs
                await tidy(hand)
                rates[name].append(await rate(urls[name], hand, jobs))
        await holder.close()
        middle = {name: median(values) for name, values in rates.items()}
        return {
            "measured on": await surroundings(hands["empty"]),
            "rounds": rounds,
            "jobs": jobs,
            "in the deep database": worlds,
            "churned under the snapshot": churn,
            **{f"{name}, jobs/s": value for name, value in middle.items()},
            **{f"ratio of {name} to empty": middle[name] / middle["empty"] for name in ("deep", "held")},
        }
    finally:
        for hand in hands.values():
            await hand.close()


BACKLOG = 100_000
"""Jobs that are kept ready while readers come and go: some seconds' work."""
FILL = 2_500


async def follow(url: str, seconds: int, *, readers: bool) -> tuple[list[float], list[float], list[float]]:
    """Follow the rate before, under and after four overlapping readers, or as long without any; a second a figure.

    The queue is kept full meanwhile.
    """
    hand = await asyncpg.connect(url)
    filler = await asyncpg.connect(url)
    stop = asyncio.Event()

    async def keep_full() -> None:
        # A little at a time, and without a look at the queue, whose dead rows only a worker knows to pass over.
        filled = left = 0
        finished = await Finished.from_now(filler)
        while not stop.is_set():
            if left < BACKLOG:
                await fill_with(filler, "ready", FILL, start=filled + 1)
                filled += FILL
                left += FILL
                continue
            await asyncio.sleep(0.05)
            left -= await finished.more()

    counted = await Finished.from_now(hand)

    async def rates(count: int) -> list[float]:
        found: list[float] = []
        await counted.more()
        before = time.perf_counter()
        for _ in range(count):
            await asyncio.sleep(1)
            done, now = await counted.more(), time.perf_counter()
            found.append(done / (now - before))
            before = now
        return found

    filling = asyncio.create_task(keep_full())
    async with running(url):
        await asyncio.sleep(3)
        before = await rates(seconds)
        reading, under = [], []
        for _ in range(4):
            if readers:
                reading.append(await pinned(url))
            under += await rates(seconds // 2)
            if len(reading) > 2:
                await reading.pop(0).close()
        for reader in reading:
            await reader.close()
        after = await rates(seconds)
    stop.set()
    await filling
    await hand.close()
    await filler.close()
    return before, under, after


def phases(before: list[float], under: list[float], after: list[float]) -> dict[str, float]:
    """Return what the rates under the readers and after them are of the usual one before."""
    usual = median(before)
    return {
        "under readers, median": median(under) / usual,
        "under readers, worst three seconds": min(sum(under[i : i + 3]) for i in range(len(under) - 2)) / 3 / usual,
        "after them, first five seconds": sum(after[:5]) / 5 / usual,
        "after them, then": median(after[5:]) / usual,
    }


async def measure_readers(url: str, control_url: str, seconds: int) -> dict[str, Any]:
    """Compare the rates, also with those of the same seconds without readers: checkpoints and growth come to both."""
    rates = await follow(url, seconds, readers=True)
    control = await follow(control_url, seconds, readers=False)
    return {
        "before the readers, jobs/s": median(rates[0]),
        **{f"{name}, of the rate before": ratio for name, ratio in phases(*rates).items()},
        **{f"{name}, in a run without readers": ratio for name, ratio in phases(*control).items()},
    }


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__ or "", jobs=50_000, rounds=3)
    parser.add_argument("--ready", type=int, default=1_000_000)
    parser.add_argument("--scheduled", type=int, default=1_000_000)
    parser.add_argument("--finished", type=int, default=10_000_000)
    parser.add_argument("--churn", type=int, default=200_000)
    parser.add_argument("--seconds", type=int, default=20, help="before and after the readers")
    options = parser.parse_args()
    worlds = {"finished": options.finished, "scheduled": options.scheduled, "ready": options.ready}
    with benchmark_database(options.url) as url:
        with databases(url, "empty", "deep", "held") as urls:
            results = run(measure_depth(urls, options.jobs, options.rounds, worlds, options.churn))
        with databases(url, "readers", "control") as urls:
            results |= run(measure_readers(urls["readers"], urls["control"], options.seconds))
    show(results, as_json=options.json)


if __name__ == "__main__":
    main()

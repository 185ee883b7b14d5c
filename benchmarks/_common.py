"""What the benchmarks share: the database, filling and emptying it, medians, what to say of the machine."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from uno_jobs.bench.limits import BATCH as CHUNK
from uno_jobs.bench.limits import rows_of
from uno_jobs.bench.machine import run, surroundings
from uno_jobs.embedded import EmbeddedPostgres
from uno_jobs.storage import migrations

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

FOLDER = Path(__file__).parent
DATABASE = f"uno_jobs_benchmark_{os.getpid()}"

__all__ = ["CHUNK", "rows_of", "run", "surroundings"]

ENQUEUE = (
    "SELECT uno_jobs.enqueue_plain($1::text[]::uuid[], $2::text[], $3::text[], $4::text[], $5::smallint[], "
    "$6::text[], $7::text[], NULL, NULL, NULL, NULL, false)"
)


def arguments(description: str, *, jobs: int = 20_000, rounds: int = 5) -> argparse.ArgumentParser:
    """Return a parser with the options that all have."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("url", nargs="?", help="a server to use; default: an embedded one, durable, of its own")
    parser.add_argument("--jobs", type=int, default=jobs)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", action="store_true")
    return parser


@contextlib.contextmanager
def benchmark_database(url: str | None) -> Generator[str]:
    """Give the URL of a migrated database of its own, which is dropped at the end.

    The embedded server is durable: fsync and synchronous_commit on, as PostgreSQL has them by default.
    """
    with contextlib.ExitStack() as stack:
        if url is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="uno-jobs-benchmark-"))
            url = stack.enter_context(EmbeddedPostgres.dev(folder)).url
        asyncio.run(_execute(url, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)", f"CREATE DATABASE {DATABASE}"))
        stack.callback(lambda: asyncio.run(_execute(url, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")))
        parts = urlsplit(url)
        own = urlunsplit(parts._replace(path=f"/{DATABASE}"))
        migrations.upgrade(own)
        yield own


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def empty(connection: Any) -> None:
    """Remove all jobs."""
    await connection.execute(
        "TRUNCATE uno_jobs.jobs, uno_jobs.live_jobs, uno_jobs.attempts, uno_jobs.outcomes, uno_jobs.workers"
    )


async def settle(connection: Any) -> None:
    """Leave nothing to autovacuum or a checkpoint that the last round began."""
    await connection.execute("VACUUM (ANALYZE) uno_jobs.live_jobs")
    await connection.execute("VACUUM (ANALYZE) uno_jobs.jobs")
    await connection.execute("CHECKPOINT")


async def fill(connection: Any, jobs: int) -> None:
    """Enqueue so many no-op jobs."""
    for start in range(0, jobs, CHUNK):
        rows = rows_of(start, min(start + CHUNK, jobs), "noop")
        await connection.execute(ENQUEUE, *rows)
    await settle(connection)


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def show(results: dict[str, Any], *, as_json: bool) -> None:
    """Print results, for people or for programs."""
    if as_json:
        json.dump(results, sys.stdout, indent=2)
        print()
        return
    for name, value in results.items():
        if isinstance(value, dict):
            print(f"{name}: " + ", ".join(f"{key} {inner}" for key, inner in value.items()))
        else:
            print(f"{name}: {value:,.3g}" if isinstance(value, float) and value < 100 else f"{name}: {value:,.0f}")

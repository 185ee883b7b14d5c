"""What the benchmarks share: the database, filling and emptying it, medians, what to say of the machine."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import uuid_utils

from uno_jobs.embedded import EmbeddedPostgres
from uno_jobs.storage import migrations

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator, Sequence

FOLDER = Path(__file__).parent
DATABASE = f"uno_jobs_benchmark_{os.getpid()}"
CHUNK = 1000

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


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run with uvloop where it is installed, as a worker does."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


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
        rows = rows_of(start, min(start + CHUNK, jobs))
        await connection.execute(ENQUEUE, *rows)
    await settle(connection)


def rows_of(start: int, end: int) -> tuple[list[Any], ...]:
    """Return the columns of so many no-op jobs: ids, tasks, versions, queues, priorities, args, kwargs."""
    count = end - start
    return (
        [str(uuid_utils.uuid7()) for _ in range(count)],
        ["noop"] * count,
        ["1.0"] * count,
        ["default"] * count,
        [5] * count,
        [f"[{i}]" for i in range(start, end)],
        ["{}"] * count,
    )


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


async def surroundings(connection: Any) -> dict[str, Any]:
    """Return what was measured on."""
    settings = {
        name: await connection.fetchval("SELECT current_setting($1)", name) for name in ("fsync", "synchronous_commit")
    }
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "postgresql": (await connection.fetchval("SHOW server_version")).split()[0],
        "asyncpg": version("asyncpg"),
        **settings,
    }


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

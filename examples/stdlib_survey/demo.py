"""The demo: a job for each file of the standard library, one batch rolled back, questions in SQL; then a workflow.

``scripts/demo`` runs it; ``python -m examples.stdlib_survey.demo --help`` lists its options.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import sysconfig
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from examples.stdlib_survey import report, screen
from examples.stdlib_survey.app import Base, SourceFile, parse_source
from examples.stdlib_survey.drawing import draw_library, tell
from examples.stdlib_survey.worker import PROGRAM, ROOT, worker
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from uno_jobs import Queue
from uno_jobs.embedded import EmbeddedPostgres
from uno_jobs.errors import UnoJobsError
from uno_jobs.storage import migrations
from uno_jobs.storage.urls import hide_password, sqlalchemy_url

if TYPE_CHECKING:
    from collections.abc import Generator
    from datetime import datetime

BATCH = 100
ROLLED_BACK = 3
"""Which batch is rolled back, counted from 0 (the last one, where there are fewer)."""
APP = "examples.stdlib_survey.app"
WORKER_OPTIONS = f"--app {APP} --queue survey --processes 2 --concurrency 2 --until-empty"


class ChangedMyMind(Exception):
    """Raised on purpose in the middle of a transaction."""


class DemoFailed(Exception):
    """The demo did not show what it promises."""


@dataclass
class Survey:
    """What was enqueued, and what was taken back."""

    since: datetime
    enqueued: int = 0
    taken_back: list[UUID] = field(default_factory=list[UUID])
    seen_inside: tuple[int, int] = (0, 0)
    """Rows and jobs of the batch that was rolled back, as its own transaction saw them."""


def standard_library(limit: int | None) -> list[Path]:
    """Return the source files of the standard library of this Python, without installed packages."""
    root = Path(sysconfig.get_path("stdlib"))
    files = (
        path
        for path in sorted(root.rglob("*.py"))
        if not {"site-packages", "dist-packages"} & set(path.relative_to(root).parts) and os.access(path, os.R_OK)
    )
    return list(islice(files, limit))


def module_name(path: Path) -> str:
    """Return the name under which a file of the library is imported."""
    parts = path.relative_to(sysconfig.get_path("stdlib")).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


async def enqueue_all(engine: AsyncEngine, files: list[Path]) -> Survey:
    """Write a row and enqueue a job for each file, batch by batch, each batch in one transaction of ours."""
    queue = Queue(engine)
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    unlucky = min(ROLLED_BACK, len(batches) - 1)
    async with AsyncSession(engine) as session:
        survey = Survey(since=(await session.execute(select(func.clock_timestamp()))).scalar_one())
    with screen.progress("enqueued", len(files)) as show:
        for number, batch in enumerate(batches):
            with contextlib.suppress(ChangedMyMind):
                async with AsyncSession(engine) as session, session.begin():
                    jobs = [parse_source.s(str(path)) for path in batch]
                    handles = await queue.enqueue_many(jobs, connection=session)
                    session.add_all(
                        SourceFile(module=module_name(path), path=str(path), size=path.stat().st_size, job_id=handle.id)
                        for path, handle in zip(batch, handles, strict=True)
                    )
                    await session.flush()
                    if number == unlucky:
                        survey.taken_back = [handle.id for handle in handles]
                        survey.seen_inside = await report.count_pair(session, survey.taken_back)
                        raise ChangedMyMind
                survey.enqueued += len(batch)
            show(survey.enqueued + len(survey.taken_back))
    return survey


async def run_all(engine: AsyncEngine, url: str, total: int) -> None:
    """Run a worker with two processes until nothing is left, and watch the view."""
    with worker(url, WORKER_OPTIONS) as process, screen.progress("finished", total) as show:
        left = total
        while process.poll() is None:
            async with engine.connect() as connection:
                left = await connection.scalar(text(report.UNFINISHED)) or 0
            show(total - left)
            await asyncio.sleep(0.2)
        if process.returncode != 0:
            raise DemoFailed(f"the worker ended with exit status {process.returncode}")
        show(total)
    async with engine.connect() as connection:
        if left := await connection.scalar(text(report.UNFINISHED)):
            raise DemoFailed(f"the worker stopped with {left} jobs unfinished")


async def prove_rollback(engine: AsyncEngine, survey: Survey) -> None:
    """Show that the batch that was rolled back left nothing, and that nothing else is missing or too much."""
    async with engine.connect() as connection:
        rows, jobs = await report.count_pair(connection, survey.taken_back)
        strays = await connection.scalar(text(report.STRAYS), {"since": survey.since})
        kept = await connection.scalar(select(func.count()).select_from(SourceFile))
    inside_rows, inside_jobs = survey.seen_inside
    screen.step("The batch that was rolled back")
    screen.say(f"before the rollback, seen by its own transaction: {inside_rows} rows, {inside_jobs} jobs")
    screen.say(f"after the rollback, seen by everybody:            {rows} rows, {jobs} jobs")
    screen.say(f"of the rest: {kept:,} rows, {survey.enqueued:,} jobs enqueued, {strays} jobs without a row")
    expected = len(survey.taken_back)
    if (inside_rows, inside_jobs, rows, jobs, strays, kept) != (expected, expected, 0, 0, 0, survey.enqueued):
        raise DemoFailed("the rolled-back batch is not as it should be")


async def run(url: str, output: Path, limit: int | None) -> None:
    """Do the whole survey on a migrated database, and draw the picture."""
    engine = create_async_engine(sqlalchemy_url(url, "asyncpg"))
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.execute(text("TRUNCATE source_files"))
        files = standard_library(limit)
        if not files:
            raise DemoFailed(f"there are no source files in {sysconfig.get_path('stdlib')}")
        screen.step(f"Enqueueing {len(files):,} files of the standard library of Python {sys.version.split()[0]}")
        screen.say(f"{BATCH} rows of source_files and their {BATCH} jobs in each transaction")
        survey = await enqueue_all(engine, files)
        screen.say(f"{survey.enqueued:,} jobs committed, {len(survey.taken_back)} rolled back on purpose")
        screen.step("Running them")
        screen.say(f"uno-jobs worker {WORKER_OPTIONS}")
        await run_all(engine, url, survey.enqueued)
        async with engine.connect() as connection:
            await report.print_report(connection)
        await prove_rollback(engine, survey)
        tell(await draw_library(engine, url, output, limit))
    finally:
        await engine.dispose()


@contextlib.contextmanager
def database(given: str | None, *, keep: bool) -> Generator[str]:
    """Give the URL of the database to use: the one given, that of ``.uno-jobs/``, or a temporary one."""
    if given is not None:
        screen.step(f"Using {hide_password(given)}")
        yield given
        return
    screen.step("Starting PostgreSQL")
    with EmbeddedPostgres.dev(ROOT / ".uno-jobs") if keep else EmbeddedPostgres.temporary() as server:
        screen.say(f"PostgreSQL {server.version}, " + ("kept in .uno-jobs/" if keep else "deleted at the end"))
        yield server.url


def say_goodbye(*, given: bool, kept: bool) -> None:
    """Say what to try next."""
    program = os.path.relpath(PROGRAM)
    example = os.path.relpath(__file__)
    hints = [
        ("A database in .uno-jobs/, and a worker that reloads your code:", f"{program} dev --app {APP} --queue survey"),
        (
            "In another terminal, with the URL that it prints in UNO_JOBS_DATABASE_URL:",
            f"""{program} enqueue parse_source --args '["{example}"]'\n      {program} jobs list""",
        ),
        ("A first application of your own:", "README.md"),
    ]
    if not given and not kept:
        hints.insert(0, ("The same as before, with the database kept in .uno-jobs/:", "scripts/demo --keep"))
    screen.step("What to try next")
    for why, command in hints:
        screen.say(f"{why}\n      {command}")


def main() -> int:
    """Run the demo; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Survey the standard library with jobs.")
    parser.add_argument("--database-url", metavar="URL", help="use this database instead of an embedded one")
    parser.add_argument("--keep", action="store_true", help="keep the embedded database, in .uno-jobs/")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N files")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", default=ROOT / "build", help="for stdlib.dot and stdlib.svg"
    )
    options = parser.parse_args()
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        with database(options.database_url, keep=options.keep) as url:
            migrations.upgrade(url)
            asyncio.run(run(url, options.output.absolute(), options.limit))
            say_goodbye(given=options.database_url is not None, kept=options.keep)
    except (DemoFailed, UnoJobsError, OSError) as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("scripts/demo: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``uno-jobs bench``: what it says, that it leaves nothing behind however it ends, and that it touches nothing else."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from tests.cli.conftest import PROGRAM, execute
from uno_jobs.bench import limits
from uno_jobs.bench.jobs import pause
from uno_jobs.bench.place import MARK, temporary_schema
from uno_jobs.bench.processes import workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Command

    Connection = asyncpg.Connection[asyncpg.Record]

LIMIT = 60.0
TINY = ("bench", "--jobs", "30", "--rounds", "1", "--concurrency", "5")
LONG = ("bench", "--jobs", "1000", "--rounds", "1000")
RATES = {"enqueue_one", "enqueue_bulk", "drain", "drain_processes"}
LATENCIES = {"start_p50", "start_p99", "step_p50", "step_p99"}
SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'uno\\_jobs\\_bench\\_%' ORDER BY 1"
AT_WORK = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'uno-jobs claimer'
"""
OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
# Rows with the transactions that wrote them: of the schema that is the application's own.
OWN = "SELECT xmin::text, ctid::text, l::text FROM uno_jobs.live_jobs l"


def schemas(url: str) -> list[str]:
    return [row[0] for row in execute(url, SCHEMAS)]


def wait_until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@contextmanager
def measuring(url: str) -> Iterator[subprocess.Popen[str]]:
    """A long run, its workers at work."""
    process = subprocess.Popen(
        [*PROGRAM, *LONG], env=os.environ | {"UNO_JOBS_DATABASE_URL": url}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_until(lambda: process.poll() is not None or schemas(url))
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_run(command: Command, with_tasks: str) -> None:
    database_url = with_tasks
    execute(database_url, "SELECT uno_jobs.enqueue(task => 'send_email', args => '[\"a@b.c\"]')")
    before = execute(database_url, OWN)
    assert before
    result = command(*TINY, "--json", url=database_url)
    assert (result.status, schemas(database_url)) == (0, [])
    said = result.json
    assert (said["jobs"], said["rounds"], said["concurrency"], said["processes"]) == (30, 1, 5, 2)
    assert said["measured_on"]["postgresql"]
    assert set(said["figures"]) == RATES | LATENCIES
    for name, figure in said["figures"].items():
        assert figure["unit"] == ("ms" if name in LATENCIES else "jobs/s")
        assert figure["value"] > 0
        assert figure["ratio"] == pytest.approx(figure["value"] / figure["limit"])
    # It says first where it works, and never a password.
    first = result.err.splitlines()[0]
    assert urlsplit(database_url).path in first
    password = urlsplit(database_url).password
    assert password is None or password not in result.err + result.out
    assert execute(database_url, OWN) == before


def test_the_table(command: Command, empty_database_url: str) -> None:
    """Also where uno-jobs is not installed; with one process there is one drain."""
    result = command(*TINY, "--processes", "1", url=empty_database_url)
    assert result.status == 0
    assert "enqueue one by one" in result.out
    assert "drain, 1 process" in result.out
    assert "2 processes" not in result.out
    assert execute(empty_database_url, "SELECT 1 FROM pg_namespace WHERE nspname LIKE 'uno%'") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at_work", [False, True], ids=["while it migrates", "with workers"])
def test_a_signal(empty_database_url: str, number: signal.Signals, at_work: bool) -> None:
    """A second one changes nothing: there is only cleaning up to do."""
    with measuring(empty_database_url) as process:
        if at_work:
            wait_until(lambda: execute(empty_database_url, AT_WORK) != [(0,)])
        process.send_signal(number)
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out) == (128 + number, ""), err
    assert "Traceback" not in err
    assert schemas(empty_database_url) == []
    assert execute(empty_database_url, OTHERS) == [(0,)]


def test_a_killed_run_is_cleaned_up_by_the_next(command: Command, empty_database_url: str) -> None:
    with measuring(empty_database_url) as process:
        wait_until(lambda: execute(empty_database_url, AT_WORK) != [(0,)])
        process.kill()
        process.wait()
    [left] = schemas(empty_database_url)
    # Its workers end by themselves.
    wait_until(lambda: execute(empty_database_url, OTHERS) == [(0,)])
    result = command(*TINY, "--processes", "1", url=empty_database_url)
    assert result.status == 0
    assert f"removed the schema {left}" in result.err
    assert schemas(empty_database_url) == []


def test_only_leftovers_are_removed(empty_database_url: str) -> None:
    """Neither what another run works in, nor what only looks like a leftover; nor is an error in the way of the end."""
    execute(empty_database_url, "CREATE SCHEMA uno_jobs_bench_theirs")
    execute(empty_database_url, f"COMMENT ON SCHEMA uno_jobs_bench_theirs IS '{MARK}'")
    execute(empty_database_url, "CREATE SCHEMA uno_jobs_bench_0123abcd")

    async def fail() -> None:
        async with temporary_schema(empty_database_url, pytest.fail):
            assert len(await asyncio.to_thread(schemas, empty_database_url)) == 4
            raise LookupError

    async def both() -> None:
        async with temporary_schema(empty_database_url, pytest.fail) as first:
            with pytest.raises(LookupError):
                await fail()
            assert first in await asyncio.to_thread(schemas, empty_database_url)

    asyncio.run(both())
    assert schemas(empty_database_url) == ["uno_jobs_bench_0123abcd", "uno_jobs_bench_theirs"]


def test_a_role_that_may_make_no_schemas(command: Command, empty_database_url: str) -> None:
    role, password = f"poor_{secrets.token_hex(4)}", secrets.token_hex(8)
    execute(empty_database_url, f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    try:
        parts = urlsplit(empty_database_url)
        url = urlunsplit(parts._replace(netloc=f"{role}:{password}@{parts.netloc.rpartition('@')[2]}"))
        result = command(*TINY, url=url)
        assert result.status == 1
        assert f"the role '{role}' may not create schemas" in result.err
        assert f'GRANT CREATE ON DATABASE "{parts.path[1:]}" TO "{role}"' in result.err
        assert schemas(empty_database_url) == []
    finally:
        execute(empty_database_url, f"DROP ROLE {role}")


async def test_a_bare_insert_that_fails_is_not_waited_for(database_url: str, db: Connection) -> None:
    await limits.make_table(db, "uno_jobs")
    await db.execute("""
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the disk is full'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON uno_jobs.bare_jobs EXECUTE FUNCTION fail()
        """)
    with pytest.raises(asyncpg.RaiseError, match="the disk is full"):
        async with asyncio.timeout(LIMIT / 2):
            await limits.start_latencies(database_url, 1, pause, schema="uno_jobs")


async def test_what_takes_too_long_at_work_is_not_said_of_the_start(database_url: str, db: Connection) -> None:
    with pytest.raises(TimeoutError, match="too slow"):
        async with workers(db, database_url, "uno_jobs", processes=1, concurrency=1):
            raise TimeoutError("too slow")


def test_behind_a_pooler(command: Command, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNO_JOBS_POOLED", "true")
    result = command(*TINY, url=database_url)
    assert (result.status, schemas(database_url)) == (2, [])
    assert "past the pooler" in result.err

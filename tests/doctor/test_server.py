"""The checks of the server and its sessions: each finds its trouble, and is quiet without it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.doctor.conftest import look
from tests.pgbouncer import needs_pgbouncer, pgbouncer
from tests.postgres import Postgres
from uno_jobs.doctor import Limits, Status, check_names, examine
from uno_jobs.doctor.server import judge
from uno_jobs.errors import DatabaseUnavailable, InvalidOption

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.storage.lab import Lab

pytestmark = pytest.mark.server_versions

DOCS = Path(__file__).parents[2] / "docs"
AT_ONCE = Limits(snapshot_age=(0, 3600), snapshot_transactions=(0, 50_000_000))


async def test_all_checks_are_quiet_on_a_sound_database(lab: Lab) -> None:
    report = await examine(lab.url)
    # Others' sessions on the same server hold no snapshot of this database.
    assert [(one.check, one.status) for one in report.findings] == [(name, Status.OK) for name in check_names()]
    assert report.worst is Status.OK


async def test_what_cannot_be_examined_at_all(lab: Lab) -> None:
    with pytest.raises(DatabaseUnavailable):
        await examine("postgresql://postgres@127.0.0.1:1/nowhere")
    with pytest.raises(InvalidOption, match="no check 'nonsense'; the checks are server, schema"):
        await examine(lab.url, checks=["nonsense"])


@pytest.mark.parametrize(
    ("number", "is_standby", "status", "says"),
    [
        (140011, False, Status.ERROR, "needs 15"),
        (150000, False, Status.OK, None),
        (180003, False, Status.OK, None),
        (190001, False, Status.WARNING, "tested up to PostgreSQL 18"),
        (170001, True, Status.ERROR, "primary"),
    ],
)
def test_servers(number: int, is_standby: bool, status: Status, says: str | None) -> None:
    found = judge(number, str(number // 10000), is_standby=is_standby)
    assert found.status is status
    assert says is None or says in (found.advice or "")


async def test_the_hosts_clock(lab: Lab) -> None:
    await look(lab.url, "clock", Status.OK)
    ahead = await look(lab.url, "clock", Status.WARNING, time=lambda: time.time() + 10)
    assert "10 s ahead of the server's" in ahead.seen
    behind = await look(lab.url, "clock", Status.ERROR, time=lambda: time.time() - 90)
    assert "90 s behind the server's" in behind.seen


async def test_connections_near_a_limit(lab: Lab) -> None:
    await look(lab.url, "connections", Status.OK)
    database = await lab.eye.fetchval("SELECT current_database()")
    await lab.eye.execute(f'ALTER DATABASE "{database}" CONNECTION LIMIT 40')
    await look(lab.url, "connections", Status.OK)
    await lab.eye.execute(f'ALTER DATABASE "{database}" CONNECTION LIMIT 2')
    found = await look(lab.url, "connections", Status.ERROR)
    assert f"2 of 2 connections of the database {database} are in use" in found.seen


@pytest.mark.parametrize(("kind", "status"), [("SUPERUSER", Status.OK), ("NOSUPERUSER", Status.ERROR)])
async def test_a_superuser_is_not_held_to_its_roles_limit(lab: Lab, kind: str, status: Status) -> None:
    role = f"limited_{await lab.eye.fetchval('SELECT pg_backend_pid()')}"
    await lab.eye.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret' {kind} CONNECTION LIMIT 1")
    try:
        await look(f"postgresql://{role}:secret@{lab.url.rpartition('@')[2]}", "connections", status)
    finally:
        await lab.eye.execute(f"DROP ROLE {role}")


@contextlib.asynccontextmanager
async def held(lab: Lab, *, isolation: str = "repeatable_read") -> AsyncIterator[Any]:
    """A session that has begun a transaction and seen something in it."""
    session = await asyncpg.connect(lab.url, server_settings={"application_name": "a long report"})
    try:
        transaction = session.transaction(isolation=isolation)
        await transaction.start()
        await session.execute("SELECT count(*) FROM uno_jobs.live_jobs")
        yield session
    finally:
        await session.close()


async def test_who_holds_a_snapshot(lab: Lab) -> None:
    await look(lab.url, "snapshots", Status.OK, limits=AT_ONCE)
    async with held(lab, isolation="read_committed"):
        # Idle, and has written nothing: it holds nothing back.
        await look(lab.url, "snapshots", Status.OK, limits=AT_ONCE)
    async with held(lab) as session:
        await look(lab.url, "snapshots", Status.OK)
        found = await look(lab.url, "snapshots", Status.WARNING, limits=AT_ONCE)
        pid = session.get_server_pid()
        assert found.seen.startswith(f"pid {pid} (role ")
        assert "application 'a long report'" in found.seen
        assert f"pg_terminate_backend({pid})" in (found.advice or "")
        await look(lab.url, "snapshots", Status.ERROR, limits=Limits(snapshot_age=(0, 0)))


async def test_another_role_sees_no_snapshots_and_is_told_which_right_it_lacks(lab: Lab) -> None:
    role = f"doctor_{await lab.eye.fetchval('SELECT pg_backend_pid()')}"
    await lab.eye.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    url = f"postgresql://{role}:secret@{lab.url.rpartition('@')[2]}"
    try:
        async with held(lab):
            found = await look(url, "snapshots", Status.UNKNOWN, limits=AT_ONCE)
            assert found.advice == "GRANT pg_read_all_stats TO this role"
            await lab.eye.execute(f"GRANT pg_read_all_stats TO {role}")
            await look(url, "snapshots", Status.WARNING, limits=AT_ONCE)
        # It may not look into the schema either, but connections are there for all to see.
        report = await examine(url)
        assert "permission denied" in report.of("queues").seen
        assert report.of("queues").status is Status.UNKNOWN
        assert report.of("schema").status is Status.UNKNOWN
        assert report.of("connections").status is Status.OK
    finally:
        await lab.eye.execute(f"DROP ROLE {role}")


async def test_with_the_rights_that_the_docs_name_a_role_sees_all(lab: Lab) -> None:
    role = f"monitoring_{await lab.eye.fetchval('SELECT pg_backend_pid()')}"
    grants = re.search(r"^GRANT .*?(?=^```)", (DOCS / "doctor.md").read_text(), re.DOTALL | re.MULTILINE)
    assert grants is not None
    await lab.eye.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA uno_jobs FROM PUBLIC")
    await lab.eye.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    try:
        await lab.eye.execute(grants.group().replace("TO monitoring", f"TO {role}"))
        report = await examine(f"postgresql://{role}:secret@{lab.url.rpartition('@')[2]}")
        assert [one for one in report.findings if one.status is not Status.OK] == []
    finally:
        await lab.eye.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_a_lock_on_a_table_costs_one_check_its_answer(lab: Lab) -> None:
    session = await lab.session()
    async with session.transaction():
        await session.execute("LOCK TABLE uno_jobs.workers")
        report = await examine(lab.url, checks=["workers", "vacuum"])
    assert report.of("workers").status is Status.UNKNOWN
    assert "gave up" in report.of("workers").seen
    assert report.of("vacuum").status is Status.OK


async def test_the_queue_of_notifications(lab: Lab) -> None:
    await look(lab.url, "notify", Status.OK, limits=Limits(notify_queue=(1e-9, 1)))
    listener = await lab.session()
    await listener.execute("LISTEN something")
    async with listener.transaction():
        # What is sent meanwhile cannot be freed.
        await listener.fetchval("SELECT 1")
        for _ in range(3):
            await lab.eye.execute("SELECT pg_notify('something', repeat('x', 7000) || n) FROM generate_series(1, 20) n")
        found = await look(lab.url, "notify", Status.WARNING, limits=Limits(notify_queue=(1e-9, 1)))
        assert f"pid {listener.get_server_pid()}" in (found.advice or "")


async def test_dead_rows_and_autovacuum(lab: Lab) -> None:
    few = Limits(dead_rows=(1, 1_000_000))
    await look(lab.url, "vacuum", Status.OK, limits=few)
    await lab.eye.execute("ALTER TABLE uno_jobs.live_jobs SET (autovacuum_enabled = false)")
    found = await look(lab.url, "vacuum", Status.ERROR, limits=few)
    assert found.seen.startswith("autovacuum is switched off for it")
    await lab.eye.execute("ALTER TABLE uno_jobs.live_jobs SET (autovacuum_enabled = true)")
    await lab.put(50)
    await lab.eye.execute("DELETE FROM uno_jobs.live_jobs")
    await lab.eye.execute("DELETE FROM uno_jobs.jobs")
    await lab.eye.execute("SELECT pg_stat_force_next_flush()")
    await lab.until("SELECT n_dead_tup > 0 FROM pg_stat_user_tables WHERE relname = 'live_jobs'")
    found = await look(lab.url, "vacuum", Status.WARNING, limits=few)
    assert "live_jobs has 50 dead rows" in found.seen
    await look(lab.url, "vacuum", Status.OK)
    await lab.eye.execute("VACUUM uno_jobs.live_jobs")
    await lab.until("SELECT n_dead_tup = 0 FROM pg_stat_user_tables WHERE relname = 'live_jobs'")
    assert "last vacuumed" in (await look(lab.url, "vacuum", Status.OK, limits=few)).seen


@needs_pgbouncer
async def test_a_pooler_that_was_not_declared(database_url: str, tmp_path: Path) -> None:
    await look(database_url, "pooler", Status.OK)
    with pgbouncer(database_url, tmp_path) as url:
        assert [one.status for one in (await examine(url, pooled=True)).findings] == [Status.OK] * len(check_names())
    ignoring = tmp_path / "ignoring"
    ignoring.mkdir()
    ignored = (
        "default_transaction_isolation,default_transaction_read_only,default_transaction_deferrable,statement_timeout,"
        "lock_timeout,idle_in_transaction_session_timeout,idle_session_timeout,jit,tcp_keepalives_idle,search_path,"
        "tcp_keepalives_interval,tcp_keepalives_count,tcp_user_timeout,extra_float_digits"
    )
    with pgbouncer(database_url, ignoring, settings=f"ignore_startup_parameters = {ignored}\n") as url:
        # Declared it is well; not declared, its sessions look like our own until they are shared.
        await look(url, "pooler", Status.OK, pooled=True)
        found = await look(url, "pooler", Status.ERROR)
        assert "UNO_JOBS_POOLED" in (found.advice or "")


async def test_prepared_transactions_slots_and_standbys(tmp_path: Path) -> None:
    with Postgres() as server:
        await asyncio.to_thread(server.start, "max_prepared_transactions=2", "wal_level=replica")
        eye = await asyncpg.connect(server.url)
        try:
            await look(server.url, "snapshots", Status.OK, limits=AT_ONCE)
            await eye.execute("CREATE TABLE t (n int)")
            await eye.execute("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'forgotten'")
            found = await look(server.url, "snapshots", Status.WARNING, limits=AT_ONCE)
            assert "the prepared transaction 'forgotten'" in found.seen
            await eye.execute("ROLLBACK PREPARED 'forgotten'")
            await look(server.url, "snapshots", Status.OK, limits=AT_ONCE)
            with Postgres(of=server) as standby:
                await eye.execute("SELECT pg_create_physical_replication_slot('mine', true)")
                await asyncio.to_thread(
                    standby.start,
                    "max_prepared_transactions=2",
                    "hot_standby_feedback=on",
                    "primary_slot_name=mine",
                    "wal_receiver_status_interval=1",
                )
                assert (await look(standby.url, "server", Status.ERROR)).seen.endswith("so no jobs")
                async with asyncio.timeout(60):
                    while not await eye.fetchval("SELECT xmin IS NOT NULL FROM pg_replication_slots"):
                        await asyncio.sleep(0.05)
                found = await look(server.url, "snapshots", Status.WARNING, limits=AT_ONCE)
                assert "the replication slot 'mine'" in found.seen
                await look(server.url, "snapshots", Status.OK)
            # Left behind, it holds back what it held when it was last used.
            async with asyncio.timeout(60):
                while await eye.fetchval("SELECT active FROM pg_replication_slots"):
                    await asyncio.sleep(0.05)
            found = await look(server.url, "snapshots", Status.WARNING, limits=AT_ONCE)
            assert "pg_drop_replication_slot('mine')" in (found.advice or "")
        finally:
            await eye.close()

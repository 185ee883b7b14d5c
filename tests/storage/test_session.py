"""Sessions of uno-jobs' own, under a role and a database whose settings would stop a worker (hazard 22)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.storage.lab import Lab
from uno_jobs.errors import ConfigurationError, DatabaseUnavailable
from uno_jobs.storage.session import connect
from uno_jobs.storage.urls import hide_password

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.server_versions

HOSTILE = {
    "default_transaction_isolation": "'repeatable read'",
    "default_transaction_read_only": "on",
    "statement_timeout": "'5s'",
    "lock_timeout": "'1ms'",
    "idle_in_transaction_session_timeout": "'1ms'",
    "idle_session_timeout": "'1s'",
    "search_path": "pg_catalog",
    "DateStyle": "'SQL, DMY'",
    "TimeZone": "'Asia/Kolkata'",
}


@pytest.fixture
async def hostile_url(database_url: str) -> AsyncIterator[str]:
    connection = await asyncpg.connect(database_url)
    role, database = await connection.fetchrow("SELECT quote_ident(current_user), quote_ident(current_database())")
    for name, value in HOSTILE.items():
        await connection.execute(f"ALTER ROLE {role} IN DATABASE {database} SET {name} = {value}")
    yield database_url
    await connection.execute("SET default_transaction_read_only = off")
    await connection.execute(f"ALTER ROLE {role} IN DATABASE {database} RESET ALL")
    await connection.close()


async def test_a_sessions_settings_are_its_own(hostile_url: str) -> None:
    plain = await asyncpg.connect(hostile_url)
    ours = await connect(hostile_url, name="a worker")
    try:
        show = (
            "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'), "
            + ", ".join(
                f"current_setting('{name}')"
                for name in ("statement_timeout", "lock_timeout", "search_path", "TimeZone")
            )
        )
        hostile = ["repeatable read", "on", "5s", "1ms", "pg_catalog", "Asia/Kolkata"]
        assert list(await plain.fetchrow(show)) == hostile
        assert list(await ours.fetchrow(show)) == ["read committed", "off", "0", "0", "uno_jobs, pg_temp", "UTC"]
        assert await ours.fetchval("SHOW application_name") == "a worker"
        assert await ours.fetchval("SHOW idle_session_timeout") == "0"
        assert await ours.fetchval("SHOW idle_in_transaction_session_timeout") == "0"
    finally:
        plain.terminate()
        await ours.close()


async def test_a_job_runs_under_a_hostile_role(hostile_url: str) -> None:
    lab = await Lab.open(hostile_url)
    try:
        hand, other = await lab.hand(), await lab.hand()
        ids = await lab.put(4)
        async with hand.connection.transaction():
            mine = await hand.claim(2)
            # Under repeatable read this statement would end in 40001 once the first claim has committed.
            async with other.connection.transaction():
                await other.connection.fetchval("SELECT count(*) FROM uno_jobs.live_jobs")
                assert [job["id"] for job in await other.claim()] == ids[2:]
        assert [job["id"] for job in mine] == ids[:2]
        assert await hand.succeed(ids[:2]) == {}
        assert await other.end(ids[2:], "retried", delay=0) == {}
        assert await lab.states() == {"succeeded": 2, "ready": 2}
    finally:
        await lab.close()


async def test_a_claim_sees_what_was_committed_since_its_transaction_began(hostile_url: str) -> None:
    lab = await Lab.open(hostile_url)
    try:
        hand, other = await lab.hand(), await lab.hand()
        ids = await lab.put(2)
        async with other.connection.transaction():
            await other.connection.fetchval("SELECT count(*) FROM uno_jobs.live_jobs")
            assert [job["id"] for job in await hand.claim(1)] == ids[:1]
            assert [job["id"] for job in await other.claim()] == ids[1:]
    finally:
        await lab.close()


@pytest.mark.parametrize("password", ["sec/ret", "s@cret", "sec?ret", "sec#ret", "se:c@r/et"])
async def test_a_password_that_should_have_been_encoded_is_not_shown(password: str) -> None:
    url = f"postgresql://user:{password}@127.0.0.1:1/db"
    assert hide_password(url) == "postgresql://user:***@127.0.0.1:1/db"
    with pytest.raises((ConfigurationError, DatabaseUnavailable)) as raised:
        await connect(url)
    assert not any(part in str(raised.value) for part in ("sec", "cret", "ret@", "c@r"))
    assert raised.value.__cause__ is None or not isinstance(raised.value.__cause__, ValueError)


@pytest.mark.parametrize("url", ["postgresql://u@127.0.0.1:bad/db", "postgresql://u@127.0.0.1:1/db?sslmode=bogus"])
async def test_a_url_that_cannot_be_read_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        await connect(url)

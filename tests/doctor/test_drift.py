"""Changes of the schema by hand are found, whatever they are; a DBA's own affairs are left alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.doctor.conftest import look
from uno_jobs.doctor import Status
from uno_jobs.storage import migrations
from uno_jobs.storage.checking import differences

if TYPE_CHECKING:
    from tests.storage.lab import Lab

pytestmark = pytest.mark.server_versions

DRIFT = [
    ("ALTER TABLE uno_jobs.jobs ADD COLUMN mine text", "the column jobs.mine was added"),
    ("ALTER TABLE uno_jobs.jobs DROP COLUMN metadata CASCADE", "the column jobs.metadata is missing"),
    (
        "ALTER TABLE uno_jobs.hungry ALTER queue TYPE varchar(10)",
        "the column hungry.queue was changed: 'text NOT NULL' is now 'character varying(10) NOT NULL'",
    ),
    ("ALTER TABLE uno_jobs.jobs ALTER args DROP NOT NULL", "the column jobs.args was changed"),
    ("ALTER TABLE uno_jobs.live_jobs ALTER attempt SET DEFAULT 1", "the column live_jobs.attempt was changed"),
    (
        "ALTER TABLE uno_jobs.live_jobs DROP CONSTRAINT state_is_live",
        "constraint live_jobs.state_is_live is missing",
    ),
    ("ALTER TABLE uno_jobs.jobs ADD CONSTRAINT small CHECK (priority < 9)", "the constraint jobs.small was added"),
    ("ALTER TABLE uno_jobs.outcomes SET UNLOGGED", "the table outcomes was changed: 'logged' is now 'unlogged'"),
    ("ALTER TABLE uno_jobs.jobs ENABLE ROW LEVEL SECURITY", "the table jobs was changed"),
    (
        "DROP INDEX uno_jobs.live_jobs_ready; "
        "CREATE INDEX live_jobs_ready ON uno_jobs.live_jobs (queue, seq) WHERE state = 'ready'",
        "the index live_jobs_ready was changed",
    ),
    ("CREATE INDEX mine ON uno_jobs.live_jobs (task)", "the index mine was added"),
    (
        "CREATE TRIGGER mine BEFORE INSERT ON uno_jobs.jobs FOR EACH ROW "
        "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "the trigger jobs.mine was added",
    ),
    ("CREATE RULE mine AS ON DELETE TO uno_jobs.jobs DO INSTEAD NOTHING", "the rule jobs.mine was added"),
    ("ALTER FUNCTION uno_jobs.sweep() RESET search_path", "the function sweep was changed"),
    ("ALTER FUNCTION uno_jobs.clock() VOLATILE", "the function clock was changed"),
    ("ALTER SEQUENCE uno_jobs.ready_seq CACHE 100", "the sequence ready_seq was changed"),
    ("ALTER TYPE uno_jobs.job_state ADD VALUE 'lost'", "the type job_state was changed"),
    (
        "ALTER DOMAIN uno_jobs.priority DROP CONSTRAINT priority_is_0_to_9",
        "the type priority was changed: 'smallint CHECK (((VALUE >= 0) AND (VALUE <= 9)))' is now 'smallint'",
    ),
    (
        "CREATE FUNCTION uno_jobs.cancel(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "the function cancel(integer) was added",
    ),
]

LEFT_ALONE = """
    ALTER TABLE uno_jobs.live_jobs SET (fillfactor = 70, autovacuum_vacuum_threshold = 100);
    ALTER INDEX uno_jobs.live_jobs_ready SET (fillfactor = 80);
    CREATE TABLE uno_jobs.of_the_dba (id int PRIMARY KEY);
    CREATE VIEW uno_jobs.for_the_dashboard AS SELECT count(*) FROM uno_jobs.jobs;
    COMMENT ON TABLE uno_jobs.jobs IS 'ours';
    GRANT SELECT ON uno_jobs.job_status TO PUBLIC;
    REINDEX TABLE uno_jobs.live_jobs;
"""


@pytest.mark.parametrize(("damage", "says"), DRIFT)
async def test_each_change_is_found(lab: Lab, damage: str, says: str) -> None:
    await lab.eye.execute(damage)
    found = await look(lab.url, "schema", Status.ERROR)
    assert [row["difference"] for row in found.details if says in row["difference"]]
    assert any(says in one for one in await differences(lab.url))


async def test_a_views_other_text_is_found(lab: Lab) -> None:
    text = await lab.eye.fetchval("SELECT pg_get_viewdef('uno_jobs.failed_jobs'::regclass)")
    assert "'failed'" in text
    changed = text.replace("'failed'", "'cancelled'")
    await lab.eye.execute(f"CREATE OR REPLACE VIEW uno_jobs.failed_jobs AS {changed}")
    assert "the view failed_jobs was changed" in (await look(lab.url, "schema", Status.ERROR)).seen


async def test_what_is_a_dbas_affair_is_left_alone(lab: Lab) -> None:
    await lab.eye.execute(LEFT_ALONE)
    await look(lab.url, "schema", Status.OK)
    assert await differences(lab.url) == []


async def test_after_an_upgrade_of_the_server_views_are_not_compared(lab: Lab) -> None:
    """The next major version may tell them otherwise."""
    await lab.eye.execute("UPDATE uno_jobs.schema_info SET made_on = made_on - 1")
    await lab.eye.execute("UPDATE uno_jobs.schema_objects SET definition = definition || ' ' WHERE kind = 'view'")
    await look(lab.url, "schema", Status.OK)
    await lab.eye.execute("ALTER TABLE uno_jobs.jobs ADD COLUMN mine text")
    await look(lab.url, "schema", Status.ERROR)


async def test_another_versions_sql_is_found(lab: Lab) -> None:
    """What it recorded is then not to be relied on: this code's SQL is."""
    await lab.eye.execute("UPDATE uno_jobs.schema_info SET made_from = 'another'")
    assert "made by other SQL" in (await look(lab.url, "schema", Status.ERROR)).seen
    await lab.eye.execute("DROP FUNCTION uno_jobs.sweep")
    await lab.eye.execute("DELETE FROM uno_jobs.schema_objects WHERE name LIKE 'sweep%'")
    assert "the function sweep is missing" in (await look(lab.url, "schema", Status.ERROR)).seen


async def test_an_index_that_a_concurrent_build_left_invalid_is_found(lab: Lab) -> None:
    await lab.eye.execute(
        "UPDATE pg_catalog.pg_index SET indisvalid = false WHERE indexrelid = 'uno_jobs.live_jobs_ready'::regclass"
    )
    assert "the index live_jobs_ready is not valid" in (await look(lab.url, "schema", Status.ERROR)).seen


async def test_a_schema_that_is_missing_or_of_another_age(lab: Lab, empty_database_url: str) -> None:
    await lab.eye.execute("UPDATE uno_jobs.schema_info SET revision = 0")
    assert "uno-jobs db upgrade" in ((await look(lab.url, "schema", Status.ERROR)).advice or "")
    found = await look(empty_database_url, "schema", Status.ERROR)
    assert "is not in this database" in found.seen
    assert "is not in this database" in (await look(empty_database_url, "queues", Status.UNKNOWN)).seen


@pytest.mark.parametrize("schema", ["Weird Name-2", "user"])
async def test_a_schema_of_another_name(empty_database_url: str, schema: str) -> None:
    await asyncio.to_thread(migrations.upgrade, empty_database_url, schema)
    await look(empty_database_url, "schema", Status.OK, schema=schema)

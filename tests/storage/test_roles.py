"""The roles: what each may do is what its list says, and nothing else."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import uuid_utils.compat as uuids

from uno_jobs.errors import ConfigurationError
from uno_jobs.storage.migrations import upgrade
from uno_jobs.storage.roles import ENQUEUER, NAMES, OPERATOR, PLAIN, PUBLIC, READER, WORKER, roles_sql, view_names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.roles import Roles
    from tests.storage.lab import Lab

FUNCTIONS = {"enqueuer": ENQUEUER, "worker": WORKER, "reader": READER, "operator": OPERATOR}


@pytest.fixture
async def enqueuer(roles: Roles) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(roles.enqueuer)
    yield connection
    await connection.close()


async def rights(lab: Lab, name: str, schema: str = "uno_jobs") -> dict[str, set[str]]:
    """Return what a role may do in the schema, everybody's rights included."""
    functions = await lab.eye.fetch(
        "SELECT p.proname::text FROM pg_proc p WHERE p.pronamespace = quote_ident($2)::regnamespace"
        " AND has_function_privilege($1, p.oid, 'EXECUTE')",
        name,
        schema,
    )
    tables = await lab.eye.fetch(
        """
        SELECT c.relname::text, r.what FROM pg_class c
        CROSS JOIN unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS r (what)
        WHERE c.relnamespace = quote_ident($2)::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND (has_table_privilege($1, c.oid, r.what)
               OR r.what IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                  AND has_any_column_privilege($1, c.oid, r.what))
        UNION ALL
        SELECT c.relname::text, r.what FROM pg_class c
        CROSS JOIN unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) AS r (what)
        WHERE c.relnamespace = quote_ident($2)::regnamespace AND c.relkind = 'S'
          AND has_sequence_privilege($1, c.oid, r.what)
        """,
        name,
        schema,
    )
    schemas = await lab.eye.fetch(
        "SELECT w.what FROM unnest(ARRAY['USAGE', 'CREATE']) AS w (what) WHERE has_schema_privilege($1, $2, w.what)",
        name,
        schema,
    )
    return {
        "functions": {row[0] for row in functions},
        "tables": {f"{row[1]} {row[0]}" for row in tables},
        "schema": {row[0] for row in schemas},
    }


def wanted(role: str) -> dict[str, set[str]]:
    tables = set[str]() if role == "enqueuer" else {f"SELECT {view}" for view in view_names()}
    return {"functions": set(FUNCTIONS[role]), "tables": tables, "schema": {"USAGE"}}


async def test_each_function_runs_with_the_rights_that_its_place_asks_for(lab: Lab) -> None:
    rows = await lab.eye.fetch(
        """
        SELECT p.proname::text AS name, p.prosecdef AS definer, p.proconfig AS settings,
               EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                       WHERE a.grantee = 0) AS public
        FROM pg_proc p WHERE p.pronamespace = 'uno_jobs'::regnamespace
        """
    )
    assert {row["name"] for row in rows} >= PUBLIC
    assert len({row["name"] for row in rows}) == len(rows), "GRANT names functions without their arguments"
    assert {row["name"] for row in rows if row["definer"]} == PUBLIC - PLAIN
    assert not [row["name"] for row in rows if row["public"]]
    # Nobody's objects come between a function with its owner's rights and those that it means.
    assert {s for row in rows if row["definer"] for s in row["settings"] if s.startswith("search_path=")} == {
        "search_path=uno_jobs, pg_temp"
    }
    assert all(any(s.startswith("search_path=") for s in row["settings"] or ()) for row in rows if row["definer"])


async def test_each_role_has_the_rights_of_its_list_and_no_others(lab: Lab, roles: Roles) -> None:
    for role, name in roles.names.items():
        assert await rights(lab, name) == wanted(role)


async def test_run_again_after_an_upgrade_it_renews_the_rights(lab: Lab, roles: Roles) -> None:
    enqueuer, worker, reader, _ = roles.names.values()
    sql = roles_sql(**roles.names)
    await lab.eye.execute(sql)
    # What an older version granted, and what the upgrade has made anew.
    await lab.eye.execute(f"""
        GRANT SELECT ON uno_jobs.jobs TO "{enqueuer}"; GRANT UPDATE (args) ON uno_jobs.jobs TO "{reader}";
        GRANT EXECUTE ON FUNCTION uno_jobs.claim TO "{enqueuer}"; GRANT ALL ON uno_jobs.ready_seq TO "{worker}";
        GRANT CREATE ON SCHEMA uno_jobs TO "{worker}";
        DO $$
        DECLARE v_sql text := pg_get_functiondef('uno_jobs.cancel'::regproc);
        BEGIN
            DROP FUNCTION uno_jobs.cancel;
            EXECUTE v_sql;
        END $$;
        """)
    assert "cancel" in (await rights(lab, enqueuer))["functions"]
    await asyncio.to_thread(upgrade, lab.url)
    assert "cancel" not in (await rights(lab, enqueuer))["functions"]
    await lab.eye.execute(sql)
    for role, name in roles.names.items():
        assert await rights(lab, name) == wanted(role)


async def test_in_a_schema_and_under_names_that_need_quotes(lab: Lab) -> None:
    token = secrets.token_hex(4)
    names = {role: f"{token} the user's {role}" for role in NAMES}
    await asyncio.to_thread(upgrade, lab.url, "The Jobs")
    await lab.eye.execute(roles_sql("The Jobs", **names))
    try:
        for role, name in names.items():
            assert await rights(lab, name, "The Jobs") == wanted(role)
            assert await rights(lab, name) == {"functions": set(), "tables": set(), "schema": set()}
    finally:
        for name in names.values():
            await lab.eye.execute(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"')


async def test_the_owner_cannot_be_made_one_of_them(lab: Lab) -> None:
    owner = await lab.eye.fetchval("SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'uno_jobs'")
    with pytest.raises(asyncpg.RaiseError, match="owns the schema uno_jobs"):
        await lab.eye.execute(roles_sql(enqueuer="nobody_1", worker=owner, reader="nobody_2", operator="nobody_3"))
    await lab.eye.execute("ROLLBACK")
    assert await lab.eye.fetchval("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'nobody\\__'") == 0


@pytest.mark.parametrize("name", ["", "x" * 64, "pg_worker", "public", "none", 'a"b', "a$do$b", "a\nb", "a\\b"])
def test_names_that_will_not_do(name: str) -> None:
    with pytest.raises(ConfigurationError, match="role's name"):
        roles_sql(worker=name)


def test_two_roles_need_two_names() -> None:
    with pytest.raises(ConfigurationError, match="a name of its own"):
        roles_sql(worker="app", reader="app")


async def test_an_enqueuer_enqueues_by_sql_and_workers_hear_of_it(
    lab: Lab, enqueuer: asyncpg.Connection[asyncpg.Record]
) -> None:
    hand = await lab.hand()
    await hand.register("default", tasks=json.dumps([task("t", unique=True)]))
    heard: asyncio.Queue[str] = asyncio.Queue()
    ear = await lab.session()
    await ear.add_listener(
        await lab.eye.fetchval("SELECT channel FROM uno_jobs.about()"), lambda *a: heard.put_nowait(a[3])
    )
    await hand.gateway.mark_hungry(hand.id, ["default"], 60)
    id_ = await enqueuer.fetchval("SELECT uno_jobs.enqueue('t', '[1]')")
    async with asyncio.timeout(30):
        assert await heard.get() == "ready default"
    # Its uniqueness, too, holds against what it cannot read.
    assert await enqueuer.fetchval("SELECT uno_jobs.enqueue('t', '[1]')") == id_
    later = await enqueuer.fetchval("SELECT uno_jobs.enqueue('t', '[2]', delay => '1 hour', metadata => '{\"a\": 1}')")
    assert await lab.states() == {"ready": 1, "scheduled": 1}
    assert (await lab.live(later)) is not None
    assert [job["id"] for job in await hand.claim()] == [id_]


@pytest.mark.parametrize(
    "sql",
    [
        *(f"SELECT * FROM uno_jobs.{view}" for view in sorted(view_names())),
        "SELECT * FROM uno_jobs.jobs",
        "SELECT * FROM uno_jobs.schema_info",
        "SELECT nextval('uno_jobs.ready_seq')",
        "INSERT INTO uno_jobs.queues VALUES ('default', now(), 'me')",
        "UPDATE uno_jobs.live_jobs SET priority = 0",
        "DELETE FROM uno_jobs.live_jobs",
        "TRUNCATE uno_jobs.jobs",
        "SELECT uno_jobs.cancel(gen_random_uuid())",
        "SELECT uno_jobs.retry(gen_random_uuid())",
        "SELECT * FROM uno_jobs.job_end(gen_random_uuid())",
        "SELECT uno_jobs.held(gen_random_uuid())",
        "SELECT uno_jobs.enqueue_one(gen_random_uuid(), false, 't', '1', 'q', 5::smallint, '[]', '{}', NULL, NULL,"
        " NULL, NULL, false, 'return')",
        "SELECT uno_jobs.remove_jobs('{}')",
        "SELECT uno_jobs.finish_joins('{}')",
        "SELECT uno_jobs.wake('{default}')",
        "SELECT uno_jobs.set_retention('succeeded', '0')",
        "CREATE FUNCTION uno_jobs.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TABLE uno_jobs.mine (a int)",
        "DROP VIEW uno_jobs.job_status",
    ],
)
async def test_an_enqueuer_can_do_nothing_else(enqueuer: asyncpg.Connection[asyncpg.Record], sql: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await enqueuer.execute(sql)


async def test_an_enqueuer_cannot_reach_into_what_is_there(
    lab: Lab, enqueuer: asyncpg.Connection[asyncpg.Record]
) -> None:
    hand = await lab.hand()
    [there, running] = await lab.put(2)
    assert len(await hand.claim(1)) == 1
    edge = "SELECT uno_jobs.enqueue_edges(ARRAY[$1::uuid], ARRAY[$2::uuid], ARRAY['chain'], ARRAY[0])"
    for parent, child in ((there, uuids.uuid7()), (running, uuids.uuid7()), (uuids.uuid7(), there)):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="is there already"):
            await enqueuer.execute(edge, parent, child)
    # Nor take the results of others for arguments of its own.
    for step in ({"kind": "chain", "flow": str(there), "names": ["a"]}, {"takes": False, "then": str(there)}):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="from outside"):
            await put_step(enqueuer, uuids.uuid7(), step)
    # Nor end what has not run: only empty groups of the workflow named are over when it starts.
    workflow = uuids.uuid7()
    join = await put_step(lab.eye, workflow, None, task=None)
    await enqueuer.execute("SELECT uno_jobs.start_workflow($1, $2, '{}', false)", uuids.uuid7(), [there, running, join])
    await enqueuer.execute("SELECT uno_jobs.start_workflow($1, $2, '{}', false)", workflow, [there, running])
    assert await lab.states() == {"running": 1, "ready": 1, "waiting": 1}
    await enqueuer.execute("SELECT uno_jobs.start_workflow($1, $2, '{}', false)", workflow, [join])
    assert await lab.states() == {"running": 1, "ready": 1, "succeeded": 1}


async def test_a_reader_reads_every_view_and_nothing_else(lab: Lab, roles: Roles) -> None:
    await lab.put(2)
    await (await lab.hand()).claim(1)
    reader = await asyncpg.connect(roles.reader)
    try:
        for view in sorted(view_names()):
            await reader.fetch(f"SELECT * FROM uno_jobs.{view}")
        assert await reader.fetchval("SELECT count(*) FROM uno_jobs.job_status") == 2
        for sql in (
            "SELECT * FROM uno_jobs.jobs",
            "DELETE FROM uno_jobs.job_parents",
            "UPDATE uno_jobs.job_parents SET position = 1",
            "INSERT INTO uno_jobs.task_status (task) VALUES ('t')",
            "SELECT uno_jobs.cancel(gen_random_uuid())",
            "SELECT uno_jobs.enqueue('t')",
            "CREATE TABLE uno_jobs.mine (a int)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await reader.execute(sql)
    finally:
        await reader.close()


async def test_a_name_of_the_callers_own_is_not_taken_for_one_of_the_schemas(lab: Lab, roles: Roles) -> None:
    # What lies in front on the caller's path, temporary tables and operators included, is not what the functions use.
    session = await asyncpg.connect(roles.worker)
    try:
        await session.execute("""
            CREATE TEMP TABLE live_jobs (id uuid);
            CREATE TEMP TABLE jobs (id uuid);
            CREATE FUNCTION pg_temp.statement_timestamp() RETURNS timestamptz
            LANGUAGE sql AS $$ SELECT 'epoch'::timestamptz $$;
            SET search_path = pg_temp, uno_jobs;
            """)
        await session.execute(
            "SELECT uno_jobs.enqueue_plain("
            "$1, '{t}', '{1}', '{default}', '{5}', '{[]}', ARRAY['{}'], NULL, NULL, NULL, NULL, false)",
            [uuids.uuid7()],
        )
        assert await session.fetchval("SELECT count(*) FROM pg_temp.jobs") == 0
    finally:
        await session.close()
    created = await lab.eye.fetchval("SELECT created_at FROM uno_jobs.job_status")
    assert created.year > 2000


async def test_a_trigger_of_the_dbas_keeps_its_path_whoever_enqueues(lab: Lab, roles: Roles) -> None:
    """Naively its function, which names a table without a schema, writes into a temporary one of the caller's."""
    await lab.eye.execute("""
        CREATE TABLE uno_jobs.audit (id uuid);
        CREATE FUNCTION uno_jobs.note() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO audit SELECT NEW.id; RETURN NULL; END $$;
        CREATE TRIGGER note AFTER INSERT ON uno_jobs.jobs FOR EACH ROW EXECUTE FUNCTION uno_jobs.note();
        """)
    session = await asyncpg.connect(roles.enqueuer)
    try:
        await session.execute("CREATE TEMPORARY TABLE audit (id uuid)")
        await session.execute(
            "SELECT uno_jobs.enqueue_single($1, 't', '1', 'default', 5::int2, '[]', '{}', NULL, true)", uuids.uuid7()
        )
        assert await session.fetchval("SELECT count(*) FROM audit") == 0
    finally:
        await session.close()
    assert await lab.eye.fetchval("SELECT count(*) FROM uno_jobs.audit") == 1


def task(name: str, **options: Any) -> dict[str, Any]:
    return {
        "task": name, "version": "1", "sort_key": "1", "description": None, "schema": {},
        "parameters": [{"name": "a", "kind": "positional_or_keyword", "required": True}],
        "options": {"queue": "default", "priority": 5, **options},
    }  # fmt: skip


async def put_step(connection: Any, workflow: Any, step: dict[str, Any] | None, *, task: str | None = "t") -> Any:
    """Insert one job of a workflow, or a join; returns its id."""
    id_ = uuids.uuid7()
    await connection.execute(
        "SELECT uno_jobs.enqueue_steps($1, ARRAY[$2::uuid], ARRAY[$3::text], ARRAY[$4::text], '{default}', '{5}',"
        " '{[]}', ARRAY['{}'], ARRAY[NULL::text], '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{false}',"
        " ARRAY[$5::text], '{false}')",
        workflow,
        id_,
        task,
        None if task is None else "1",
        None if step is None else json.dumps(step),
    )
    return id_

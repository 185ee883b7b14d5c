"""``SELECT uno_jobs.enqueue(...)``: the same rules as the Python client's, from what a worker recorded of its tasks."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from uno_jobs.tasks import TaskRegistry, task
from uno_jobs.worker.identity import describe

if TYPE_CHECKING:
    from tests.storage.lab import Hand, Lab

pytestmark = pytest.mark.server_versions


def define() -> list[dict[str, Any]]:
    """Return what a worker with these tasks records of them."""
    with TaskRegistry.isolated() as registry:

        @task(queue="mail", priority="high", expires=3600)
        async def send(to: str, subject: str = "Hello", *, copies: int = 1) -> None: ...

        @task
        async def many(first: int, /, *rest: int, **options: str) -> None: ...

        @task(unique=True)
        async def once(a: int, b: list[int] = [1, 2], options: dict | None = None) -> None: ...  # noqa: B006 - part of the test

        @task(unique=True, unique_until="started")
        async def until_start(a: int) -> None: ...

        @task(unique=True, unique_key="the one", on_duplicate="raise")
        async def fixed(a: int) -> None: ...

        @task(unique=True, unique_key=lambda user: f"user-{user}")
        async def keyed(user: int, other: int = 0) -> None: ...

        for version in ("1.9", "1.10", "1.2", "1.10-beta"):

            @task(name="versioned", version=version)
            async def versioned() -> None: ...

        return describe(registry)


@pytest.fixture
async def worker(lab: Lab) -> Hand:
    hand = await lab.hand()
    await hand.register("mail", "default", tasks=json.dumps(define()))
    return hand


async def enqueue(lab: Lab, name: str, on: Any = None, **given: Any) -> uuid.UUID:
    """Call the function by named arguments, each value written as a literal."""
    named = "".join(f", {key} => {value}" for key, value in given.items())
    return await (on or lab.eye).fetchval(f"SELECT uno_jobs.enqueue('{name}'{named})")


async def job(lab: Lab, id_: uuid.UUID) -> asyncpg.Record:
    return await lab.one("SELECT * FROM uno_jobs.job_status WHERE id = $1", id_)


async def test_the_tasks_own_options_hold(lab: Lab, worker: Hand) -> None:
    id_ = await enqueue(lab, "send", args="""'["a@b.c"]'""")
    row = await job(lab, id_)
    assert (row["state"], row["task"], row["version"], row["queue"], row["priority"]) == (
        "ready",
        "send",
        "1.0",
        "mail",
        3,
    )
    assert row["expires_at"] - row["created_at"] == timedelta(hours=1)
    assert id_.version == 7
    (claimed,) = await worker.claim(queues=["mail"], known=["send@1.0"])
    assert (claimed["args"], claimed["kwargs"]) == ('["a@b.c"]', "{}")


async def test_what_the_caller_says_wins(lab: Lab, worker: Hand) -> None:
    id_ = await enqueue(
        lab, "send", kwargs="""'{"to": "x"}'""", queue="'slow'", priority="'low'", delay="'90 seconds'",
        expires="'1 day'", metadata="""'{"trace": 7}'""",
    )  # fmt: skip
    row = await job(lab, id_)
    assert (row["state"], row["queue"], row["priority"], json.loads(row["metadata"])) == (
        "scheduled",
        "slow",
        7,
        {"trace": 7},
    )
    assert row["scheduled_at"] - row["created_at"] == timedelta(seconds=90)
    assert row["expires_at"] - row["created_at"] == timedelta(days=1)


@pytest.mark.parametrize(
    ("priority", "number"), [("critical", 1), ("high", 3), ("normal", 5), ("low", 7), ("0", 0), ("9", 9)]
)
async def test_names_of_priorities(lab: Lab, worker: Hand, priority: str, number: int) -> None:
    id_ = await enqueue(lab, "versioned", priority=f"'{priority}'")
    assert (await job(lab, id_))["priority"] == number


async def test_a_time_to_run_at(lab: Lab, worker: Hand) -> None:
    id_ = await enqueue(lab, "versioned", run_at="'2100-01-01 00:00+00'")
    row = await job(lab, id_)
    assert row["state"] == "scheduled"
    assert row["scheduled_at"] == datetime.fromisoformat("2100-01-01T00:00+00:00")
    past = await enqueue(lab, "versioned", run_at="'2000-01-01 00:00+00'")
    assert (await job(lab, past))["state"] == "ready"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, 'argument "to" is missing'),
        ({"args": "'[1, 2, 3]'"}, "task send takes 2 positional arguments, 3 were given"),
        ({"args": "'[1]'", "kwargs": """'{"to": 2}'"""}, 'argument "to" is given twice'),
        ({"args": "'[1]'", "kwargs": """'{"too": 2}'"""}, 'task send has no parameter "too"'),
        ({"args": "'{}'"}, "args must be a JSON array"),
        ({"args": "NULL"}, "args must be a JSON array"),
        ({"args": "'[1]'", "kwargs": "'[]'"}, "kwargs a JSON object"),
        ({"args": "'[1]'", "metadata": "'[]'"}, "metadata must be a JSON object"),
        ({"args": "'[1]'", "priority": "'urgent'"}, 'not "urgent"'),
        ({"args": "'[1]'", "priority": "'10'"}, 'not "10"'),
        ({"args": "'[1]'", "delay": "'1 s'", "run_at": "now()"}, "give delay or run_at, not both"),
        ({"args": "'[1]'", "delay": "'-1 s'"}, "must not be negative"),
        ({"args": "'[1]'", "expires": "'-1 s'"}, "must not be negative"),
        ({"args": "'[1]'", "queue": "''"}, "1 to 128 characters, this one has 0"),
        ({"args": "'[1]'", "queue": "repeat('ß', 129)"}, "1 to 128 characters, this one has 129"),
        ({"args": "'[1]'", "on_duplicate": "'ignore'"}, 'not "ignore"'),
    ],
)
async def test_a_wrong_call_says_what_is_wrong(lab: Lab, worker: Hand, given: dict[str, str], says: str) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError) as refused:
        await enqueue(lab, "send", **given)
    assert says in str(refused.value)
    assert await lab.states() == {}


async def test_an_unknown_task_or_version(lab: Lab, worker: Hand) -> None:
    with pytest.raises(asyncpg.UndefinedObjectError, match='no living worker knows a task named "nothing"') as refused:
        await enqueue(lab, "nothing")
    assert "Start a worker" in refused.value.hint
    with pytest.raises(asyncpg.UndefinedObjectError, match='version 7 of a task named "send"'):
        await enqueue(lab, "send", args="'[1]'", version="'7'")


async def test_the_highest_version_that_a_living_worker_knows(lab: Lab, worker: Hand) -> None:
    """Hazard 36: what a canary knew before it was rolled back is nobody's to run."""
    assert (await job(lab, await enqueue(lab, "versioned")))["version"] == "1.10"
    canary = await lab.hand()
    with TaskRegistry.isolated() as registry:

        @task(name="versioned", version="2.0")
        async def versioned(a: int) -> None: ...

        await canary.register(tasks=json.dumps(describe(registry)))
    assert (await job(lab, await enqueue(lab, "versioned", args="'[1]'")))["version"] == "2.0"
    await canary.gateway.worker_state(canary.id, "stopped")
    assert (await job(lab, await enqueue(lab, "versioned")))["version"] == "1.10"
    # A version that is named needs no living worker; its own parameters hold.
    assert (await job(lab, await enqueue(lab, "versioned", version="'2.0'", args="'[1]'")))["version"] == "2.0"
    with pytest.raises(asyncpg.InvalidParameterValueError, match='argument "a" is missing'):
        await enqueue(lab, "versioned", version="'2.0'")


async def test_a_worker_that_beats_no_more_is_not_alive(lab: Lab, worker: Hand) -> None:
    await lab.eye.execute("UPDATE uno_jobs.workers SET beat_at = now() - interval '1 minute'")
    with pytest.raises(asyncpg.UndefinedObjectError, match="no living worker"):
        await enqueue(lab, "versioned")
    await worker.gateway.beat([worker.id])
    await enqueue(lab, "versioned")


async def test_open_parameters(lab: Lab, worker: Hand) -> None:
    bind = (
        "SELECT uno_jobs.bind_arguments(task, parameters, $1::text::jsonb, $2::text::jsonb)::text"
        " FROM uno_jobs.task_versions WHERE task = 'many'"
    )
    bound = json.loads(await lab.eye.fetchval(bind, "[1, 2, 3]", '{"x": "y"}'))
    assert bound == {"first": 1, "rest": [2, 3], "options": {"x": "y"}}
    assert json.loads(await lab.eye.fetchval(bind, "[1]", "{}")) == {"first": 1, "rest": [], "options": {}}
    # A positional-only parameter's name is free for the open ones.
    assert json.loads(await lab.eye.fetchval(bind, "[1]", '{"first": 2}'))["options"] == {"first": 2}
    with pytest.raises(asyncpg.InvalidParameterValueError, match='argument "first" is missing'):
        await lab.eye.fetchval(bind, "[]", '{"first": 2}')


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ("[1]", {}),
        ("[]", {"a": 1}),
        ("[1, [1, 2]]", {}),
        ("[1]", {"options": None}),
        ("[]", {"options": None, "a": 1, "b": [1, 2]}),
    ],
)
async def test_equal_calls_are_one_job(lab: Lab, worker: Hand, args: str, kwargs: dict[str, Any]) -> None:
    """Hazard 24: by name, with defaults filled in, in whatever order they are written."""
    first = await enqueue(lab, "once", args="'[1]'")
    assert await enqueue(lab, "once", args=f"'{args}'", kwargs=f"'{json.dumps(kwargs)}'") == first
    assert await lab.states() == {"ready": 1}


@pytest.mark.parametrize("args", ["[2]", "[1, [2, 1]]", "[1, [1, 2], {}]"])
async def test_other_calls_are_other_jobs(lab: Lab, worker: Hand, args: str) -> None:
    first = await enqueue(lab, "once", args="'[1]'")
    assert await enqueue(lab, "once", args=f"'{args}'") != first


async def test_python_and_sql_agree_on_the_key_of_a_call(lab: Lab, worker: Hand) -> None:
    with TaskRegistry.isolated():

        @task(unique=True)
        async def once(a: int, b: list[int] = [1, 2], options: dict | None = None) -> None: ...  # noqa: B006 - part of the test

        named = once.parameters.dump([1], {}).named_json
    await enqueue(lab, "once", args="'[1]'")
    row = await lab.one("SELECT unique_key, uno_jobs.unique_hash($1::text::jsonb) AS hash FROM uno_jobs.jobs", named)
    assert row["unique_key"] == row["hash"]


async def test_a_key_is_free_when_its_job_has_ended_or_started(lab: Lab, worker: Hand) -> None:
    ended = await enqueue(lab, "once", args="'[1]'")
    started = await enqueue(lab, "until_start", args="'[1]'")
    await worker.claim(known=["once@1.0", "until_start@1.0"])
    assert await enqueue(lab, "once", args="'[1]'") == ended
    assert await enqueue(lab, "until_start", args="'[1]'") != started
    assert await worker.succeed([ended]) == {}
    assert await enqueue(lab, "once", args="'[1]'") != ended


async def test_a_fixed_key_and_a_refusal(lab: Lab, worker: Hand) -> None:
    first = await enqueue(lab, "fixed", args="'[1]'")
    with pytest.raises(asyncpg.UniqueViolationError, match=str(first)):
        await enqueue(lab, "fixed", args="'[2]'")
    assert await enqueue(lab, "fixed", args="'[2]'", on_duplicate="'return'") == first
    assert await enqueue(lab, "fixed", args="'[3]'", on_duplicate="'replace'") == first
    assert json.loads((await job(lab, first))["args"]) == [3]
    assert await enqueue(lab, "fixed", args="'[2]'", unique_key="'another'") != first


async def test_a_key_that_python_computes_is_asked_for(lab: Lab, worker: Hand) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match="computed by its Python code") as refused:
        await enqueue(lab, "keyed", args="'[1]'")
    assert "unique_key" in refused.value.hint
    first = await enqueue(lab, "keyed", args="'[1]'", unique_key="'user-1'")
    assert await enqueue(lab, "keyed", args="'[1, 2]'", unique_key="'user-1'") == first


async def test_a_key_makes_any_task_unique(lab: Lab, worker: Hand) -> None:
    first = await enqueue(lab, "versioned", unique_key="'k'")
    assert await enqueue(lab, "versioned", unique_key="'k'", version="'1.9'") == first, "the scope is the name"
    assert await enqueue(lab, "versioned") != first


async def test_the_same_id_twice_is_one_job(lab: Lab, worker: Hand) -> None:
    id_ = uuid.uuid4()
    for _ in range(2):
        assert await enqueue(lab, "versioned", id=f"'{id_}'") == id_
    assert await lab.states() == {"ready": 1}
    # Also when it has long ended.
    await worker.claim(known=["versioned@1.10"])
    await worker.succeed([id_])
    assert await enqueue(lab, "versioned", id=f"'{id_}'") == id_
    assert await lab.states() == {"succeeded": 1}


async def test_an_id_of_a_duplicate_leaves_nothing_behind(lab: Lab, worker: Hand) -> None:
    first = await enqueue(lab, "once", args="'[1]'")
    assert await enqueue(lab, "once", args="'[1]'", id=f"'{uuid.uuid4()}'") == first
    assert await lab.states() == {"ready": 1}


async def test_from_a_trigger_in_the_applications_transaction(lab: Lab, worker: Hand) -> None:
    app = await asyncpg.connect(lab.url)
    try:
        await app.execute("""
            CREATE TABLE customers (id integer, mail text);
            CREATE FUNCTION welcome() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM uno_jobs.enqueue('send', kwargs => jsonb_build_object('to', new.mail));
                RETURN NULL;
            END $$;
            CREATE TRIGGER welcome AFTER INSERT ON customers FOR EACH ROW EXECUTE FUNCTION welcome()""")
        await app.execute("INSERT INTO customers SELECT n, n || '@example.com' FROM generate_series(1, 3) AS n")
        assert await lab.states() == {"ready": 3}
        await app.execute("BEGIN; INSERT INTO customers VALUES (4, 'no'); ROLLBACK")
        assert await lab.states() == {"ready": 3}
    finally:
        await app.close()
    jobs = await worker.claim(queues=["mail"], known=["send@1.0"])
    assert [json.loads(job["kwargs"]) for job in jobs] == [{"to": f"{n}@example.com"} for n in (1, 2, 3)]


@pytest.mark.parametrize("commits", [True, False])
async def test_a_racing_duplicate_waits_and_answers_rightly(lab: Lab, worker: Hand, commits: bool) -> None:
    """Hazard 10: one statement would have found no row; the caller's transaction is not broken either way."""
    one, two = await lab.session(), await lab.session()
    transaction = one.transaction()
    await transaction.start()
    first = await enqueue(lab, "once", one, args="'[1]'")
    async with two.transaction():
        answer = asyncio.create_task(enqueue(lab, "once", two, args="'[1]'"))
        await lab.blocked(two)
        await (transaction.commit() if commits else transaction.rollback())
        assert (await answer == first) is commits
        await two.execute("SELECT 1")
    assert await lab.states() == {"ready": 1}


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_a_lost_race_at_higher_levels_is_a_serialization_failure(lab: Lab, worker: Hand, isolation: Any) -> None:
    one, two = await lab.session(), await lab.session()
    first, second = one.transaction(), two.transaction(isolation=isolation)
    await first.start()
    await enqueue(lab, "once", one, args="'[1]'")
    await second.start()
    await two.fetchval("SELECT 1 FROM uno_jobs.jobs")
    answer = asyncio.create_task(enqueue(lab, "once", two, args="'[1]'"))
    await lab.blocked(two)
    await first.commit()
    with pytest.raises(asyncpg.SerializationError):
        await answer
    await second.rollback()
    assert await lab.states() == {"ready": 1}


async def test_bulks_that_name_the_same_jobs_in_another_order_do_not_deadlock(lab: Lab) -> None:
    """By ids of the caller's; each row is held up before the next one, so that the order shows."""
    ids = sorted(uuid.uuid4() for _ in range(2))
    one, two, gate = await lab.session(), await lab.session(), await lab.session()

    async def bulk(on: Any, order: list[uuid.UUID]) -> list[asyncpg.Record]:
        return await on.fetch(
            "SELECT * FROM uno_jobs.enqueue_careful($1, ARRAY[true, true], ARRAY['t', 't'], ARRAY['1', '1'],"
            " ARRAY['default', 'default'], ARRAY[5, 5]::smallint[], ARRAY['[]', '[]'], ARRAY['{}', '{}'],"
            " ARRAY[NULL, NULL]::text[], ARRAY[NULL, NULL]::float8[], ARRAY[NULL, NULL]::timestamptz[],"
            " ARRAY[NULL, NULL]::float8[], ARRAY[NULL, NULL]::text[], ARRAY[NULL, NULL]::text[], ARRAY[false, false],"
            " ARRAY['return', 'return'], false)",
            order,
        )

    await lab.eye.execute("""
        CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END $$;
        CREATE TRIGGER gate AFTER INSERT ON uno_jobs.jobs FOR EACH ROW EXECUTE FUNCTION gate()""")
    # Whoever inserts first stops behind the first row; then both go on.
    await gate.execute("SELECT pg_advisory_lock(1)")
    bulks = [asyncio.create_task(bulk(one, ids)), asyncio.create_task(bulk(two, ids[::-1]))]
    await lab.blocked(one)
    await lab.blocked(two)
    await gate.execute("SELECT pg_advisory_unlock(1)")
    async with asyncio.timeout(30):
        first, second = await asyncio.gather(*bulks)
    assert {row["id"] for row in first} == {row["id"] for row in second} == set(ids)
    assert sorted(row["is_duplicate"] for row in [*first, *second]) == [False, False, True, True]
    assert {row["place"]: row["id"] for row in second} == {1: ids[1], 2: ids[0]}


async def test_ids_are_of_version_7_and_of_now(lab: Lab) -> None:
    before = await lab.eye.fetchval("SELECT extract(epoch FROM clock_timestamp()) * 1000")
    ids = [row[0] for row in await lab.eye.fetch("SELECT uno_jobs.uuid_v7() FROM generate_series(1, 1000)")]
    after = await lab.eye.fetchval("SELECT extract(epoch FROM clock_timestamp()) * 1000")
    assert {(id_.version, id_.variant) for id_ in ids} == {(7, uuid.RFC_4122)}
    assert len(set(ids)) == 1000
    assert all(before - 1 <= id_.int >> 80 <= after + 1 for id_ in ids)

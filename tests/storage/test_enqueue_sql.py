"""``SELECT uno_jobs.enqueue(...)``: the same rules as the Python client's, from what a worker recorded of its tasks."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.storage.recorded import enqueue, job
from uno_jobs.tasks import TaskRegistry, task
from uno_jobs.worker.identity import describe

if TYPE_CHECKING:
    from tests.storage.lab import Hand, Lab

pytestmark = pytest.mark.server_versions


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

        await canary.register(tasks=json.dumps(describe(registry, registry.known())))
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


async def test_ids_are_of_version_7_and_of_now(lab: Lab) -> None:
    before = await lab.eye.fetchval("SELECT extract(epoch FROM clock_timestamp()) * 1000")
    ids = [row[0] for row in await lab.eye.fetch("SELECT uno_jobs.uuid_v7() FROM generate_series(1, 1000)")]
    after = await lab.eye.fetchval("SELECT extract(epoch FROM clock_timestamp()) * 1000")
    assert {(id_.version, id_.variant) for id_ in ids} == {(7, uuid.RFC_4122)}
    assert len(set(ids)) == 1000
    assert all(before - 1 <= id_.int >> 80 <= after + 1 for id_ in ids)

"""Uniqueness in SQL: by arguments, keys and ids, in races and in bulk."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.storage.recorded import bulk, enqueue, job
from uno_jobs.tasks import TaskRegistry, task

if TYPE_CHECKING:
    from tests.storage.lab import Hand, Lab

pytestmark = pytest.mark.server_versions


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


@pytest.mark.parametrize("by", ["ids", "keys"])
async def test_bulks_that_name_the_same_jobs_in_another_order_do_not_deadlock(lab: Lab, by: str) -> None:
    """Each row is held up before the next one, so that the order shows."""
    ids = sorted(uuid.uuid4() for _ in range(4))
    one, two, gate = await lab.session(), await lab.session(), await lab.session()
    await lab.eye.execute("""
        CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END $$;
        CREATE TRIGGER gate AFTER INSERT ON uno_jobs.jobs FOR EACH ROW EXECUTE FUNCTION gate()""")
    # Whoever inserts first stops behind the first row; then both go on.
    await gate.execute("SELECT pg_advisory_lock(1)")
    calls = [bulk(one, ids[:2]), bulk(two, ids[1::-1])] if by == "ids" else [
        bulk(one, ids[:2], ["k1", "k2"]), bulk(two, ids[2:], ["k2", "k1"])
    ]  # fmt: skip
    bulks = [asyncio.create_task(call) for call in calls]
    await lab.blocked(one)
    await lab.blocked(two)
    await gate.execute("SELECT pg_advisory_unlock(1)")
    async with asyncio.timeout(30):
        first, second = await asyncio.gather(*bulks)
    assert len({row["id"] for row in first}) == 2
    # The second names them the other way round, and is answered so.
    assert {row["place"]: row["id"] for row in second} == {3 - row["place"]: row["id"] for row in first}
    assert sorted(row["is_duplicate"] for row in [*first, *second]) == [False, False, True, True]
    assert await lab.states() == {"ready": 2}


@pytest.mark.parametrize(("on_duplicate", "runs"), [("return", [1]), ("replace", [3])])
async def test_a_key_given_twice_in_a_bulk_counts_once(lab: Lab, on_duplicate: str, runs: list[int]) -> None:
    """With replace the last one wins."""
    ids = [uuid.uuid4() for _ in range(3)]
    rows = await bulk(lab.eye, ids, ["k", "other", "k"], on_duplicate, ["[1]", "[2]", "[3]"])
    assert {row["place"]: (row["id"], row["is_duplicate"]) for row in rows} == {
        1: (ids[0], False),
        2: (ids[1], False),
        3: (ids[0], True),
    }
    assert json.loads((await job(lab, ids[0]))["args"]) == runs

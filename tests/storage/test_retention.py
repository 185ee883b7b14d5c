"""Retention: what is removed and what is kept, in which order it is looked at, and that it is not looked at twice."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.storage.history import forget_rests, prune, put_finished, there
from tests.storage.workflows import Node, put_workflow

if TYPE_CHECKING:
    from uuid import UUID

    from tests.storage.lab import Lab

pytestmark = pytest.mark.server_versions


async def rule(lab: Lab, state: str, keep: str | None, **of: str) -> None:
    named = "".join(f", {scope} => '{name}'" for scope, name in of.items())
    await lab.eye.execute(f"SELECT uno_jobs.set_retention('{state}', $1::text::interval{named})", keep)


async def test_each_outcome_has_its_time(lab: Lab) -> None:
    over = [
        *await put_finished(lab, 3, age=7.1),
        *await put_finished(lab, 3, age=7.1, state="cancelled"),
        *await put_finished(lab, 3, age=30.1, state="failed"),
    ]
    kept = [
        *await put_finished(lab, 3, age=6.9),
        *await put_finished(lab, 3, age=6.9, state="cancelled"),
        *await put_finished(lab, 3, age=29.9, state="failed"),
    ]
    live = await lab.put(2)
    assert await prune(lab) == 9
    assert await there(lab, over) == []
    assert await there(lab, kept) == kept
    assert [await lab.live(id_) is not None for id_ in live] == [True, True]


async def test_a_task_comes_before_its_queue_and_that_before_the_default(lab: Lab) -> None:
    await rule(lab, "succeeded", "2 days", queue="mail")
    await rule(lab, "succeeded", "4 days", task="send")
    await rule(lab, "succeeded", None, task="keep")
    groups = {
        (task, queue, age): await put_finished(lab, age=age, task=task, queue=queue)
        for task in ("send", "keep", "t")
        for queue in ("mail", "default")
        for age in (1.0, 3.0, 5.0, 8.0)
    }
    await prune(lab)
    left = {group for group, ids in groups.items() if await there(lab, ids)}
    assert left == {
        ("send", "mail", 1.0), ("send", "mail", 3.0), ("send", "default", 1.0), ("send", "default", 3.0),
        *(("keep", queue, age) for queue in ("mail", "default") for age in (1.0, 3.0, 5.0, 8.0)),
        ("t", "mail", 1.0), ("t", "default", 1.0), ("t", "default", 3.0), ("t", "default", 5.0),
    }  # fmt: skip


async def test_another_rule_is_in_force_at_once_for_all_that_there_is(lab: Lab) -> None:
    """Naively the walks have passed these jobs by, and would not come again."""
    (id_,) = await put_finished(lab, age=20, state="failed", task="send")
    assert await prune(lab) == 0
    await rule(lab, "failed", "10 days", task="send")
    assert await prune(lab) == 1
    assert await there(lab, [id_]) == []
    (id_,) = await put_finished(lab, age=20, state="failed", task="send")
    assert await lab.eye.fetchval("SELECT uno_jobs.unset_retention(task => 'send')") == 1
    assert await prune(lab) == 0
    assert await lab.eye.fetchval("SELECT uno_jobs.unset_retention(task => 'send')") == 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("set_retention('ready', '1 day')", "state is succeeded, failed or cancelled, not 'ready'"),
        ("set_retention(NULL, '1 day')", "not NULL"),
        ("set_retention('failed', '-1 day')", "from nothing to 1000 years"),
        ("set_retention('failed', '1001 years')", "from nothing to 1000 years"),
        ("set_retention('failed', '1 day', queue => 'a', task => 'b')", "not for both"),
        ("set_retention('failed', '1 day', queue => '')", "cannot be empty"),
        ("unset_retention()", "the default can be set, not removed"),
        ("unset_retention(task => 'a', state => 'ready')", "not 'ready'"),
    ],
)
async def test_bad_rules_change_nothing(lab: Lab, call: str, said: str) -> None:
    before = await lab.eye.fetch("SELECT * FROM uno_jobs.retention ORDER BY scope, name, state")
    with pytest.raises(asyncpg.DataError, match=said):
        await lab.eye.execute(f"SELECT uno_jobs.{call}")
    assert await lab.eye.fetch("SELECT * FROM uno_jobs.retention ORDER BY scope, name, state") == before


async def test_nothing_of_a_job_is_left_in_any_table(lab: Lab) -> None:
    """Whatever table bears a job's id, also one that is added later."""
    workflow = uuid.uuid4()
    one, two = await put_finished(lab, 2, age=40, workflow=workflow)
    insert = {
        "progress": "VALUES ($1, now() - interval '40 days', 0.5, 'half')",
        "cancel_requests": "VALUES ($1, now() - interval '40 days', NULL)",
        "result_waiters": "VALUES ($1, gen_random_uuid(), now() + interval '1 hour')",
    }
    for table, values in insert.items():
        await lab.eye.execute(f"INSERT INTO uno_jobs.{table} {values}", one)
    await lab.eye.execute("INSERT INTO uno_jobs.job_edges VALUES ($1, $2, 'chain', 0)", one, two)
    await prune(lab)
    columns = await lab.eye.fetch(
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
        "WHERE c.relnamespace = 'uno_jobs'::regnamespace AND c.relkind = 'r' AND a.atttypid = 'uuid'::regtype "
        "AND NOT a.attisdropped AND (c.relname, a.attname) NOT IN "
        "(('retention_walks', 'reached'), ('retention_walks', 'kept_workflow'))"
    )
    assert ("job_edges", "child_id") in {tuple(row) for row in columns}
    for table, column in columns:
        left = await lab.eye.fetchval(f"SELECT count(*) FROM uno_jobs.{table} WHERE {column} IN ($1, $2)", one, two)
        assert (table, column, left) == (table, column, 0)


async def test_a_workflow_goes_whole(lab: Lab) -> None:
    """Naively the step that succeeded goes first, and a retry of the one that failed finds nothing before it."""
    waits, over, runs = (uuid.uuid4() for _ in range(3))
    first = [
        *await put_finished(lab, age=20, workflow=waits),
        *await put_finished(lab, age=20, state="failed", workflow=waits),
    ]
    second = [
        *await put_finished(lab, 3, age=31, workflow=over),
        *await put_finished(lab, age=31, state="failed", workflow=over),
    ]
    third = await put_finished(lab, age=60, workflow=runs)
    (live,) = await lab.put()
    await lab.eye.execute("UPDATE uno_jobs.jobs SET workflow_id = $1 WHERE id = $2", runs, live)
    assert await prune(lab, 2) == 4
    assert await there(lab, [*first, *second, *third]) == [*first, *third]


@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_workflows_across_the_edges_of_steps(lab: Lab, limit: int) -> None:
    workflows = [uuid.uuid4() for _ in range(6)]
    ids: list[UUID] = []
    for place, workflow in enumerate(workflows * 2):
        ids += await put_finished(lab, 2, age=40 - place / 100, workflow=workflow)
    kept = [*ids[2:4], *ids[14:16]]
    await lab.eye.execute("UPDATE uno_jobs.outcomes SET finished_at = now() WHERE id = $1", kept[3])
    assert await prune(lab, limit) == 20
    assert await there(lab, ids) == kept


async def test_what_an_unfinished_job_waits_for_is_kept(lab: Lab) -> None:
    """Also outside of a workflow."""
    ids = await put_workflow(lab, [Node(), Node((0,))])
    await lab.eye.execute("UPDATE uno_jobs.jobs SET workflow_id = NULL")
    hand = await lab.hand()
    await hand.claim()
    await hand.succeed(ids[:1])
    await lab.eye.execute("UPDATE uno_jobs.outcomes SET finished_at = now() - interval '1 year'")
    await rule(lab, "succeeded", "0")
    await prune(lab)
    assert await there(lab, ids[:1]) == ids[:1]
    await hand.claim()
    await hand.succeed(ids[1:])
    await forget_rests(lab)
    assert await prune(lab) == 2


@pytest.mark.parametrize("late", ["a long delay", "an id of the caller's", "a clock behind", "a clock ahead"])
async def test_the_lap_finds_what_the_walks_have_passed(lab: Lab, late: str) -> None:
    await put_finished(lab, 5, age=8)
    assert await prune(lab) == 5
    if late == "a long delay":
        ids = await put_finished(lab, 3, age=60, ended=7.1)
    elif late == "an id of the caller's":
        ids = await put_finished(lab, 3, age=7.1)
        for table, column in (("jobs", "id"), ("outcomes", "id"), ("attempts", "job_id")):
            await lab.eye.execute(
                f"UPDATE uno_jobs.{table} SET {column} = overlay({column}::text placing 'f' from 1)::uuid"
            )
        ids = [uuid.UUID("f" + str(id_)[1:]) for id_ in ids]
    else:
        ids = await put_finished(lab, 3, age=30 if late == "a clock behind" else -5, ended=7.1)
    await forget_rests(lab)
    assert await prune(lab, 2) == 3
    assert await there(lab, ids) == []


async def test_a_straggler_does_not_hold_up_the_walk(lab: Lab) -> None:
    """Naively all that was enqueued after a job that ran for long would be kept as long as that one."""
    slow = await put_finished(lab, 3, age=7.5, ended=6.99)
    others = await put_finished(lab, 20, age=7.4)
    assert await prune(lab, 5) == 20
    assert await there(lab, [*slow, *others]) == slow
    await lab.eye.execute("UPDATE uno_jobs.outcomes SET finished_at = now() - interval '7 days'")
    await forget_rests(lab)
    assert await prune(lab, 5) == 3


async def test_what_is_kept_is_not_looked_at_again(lab: Lab) -> None:
    """Neither by the walks nor, for ten minutes, by the lap."""
    await put_finished(lab, 500, age=20, state="failed")
    await put_finished(lab, 20, age=8)
    await prune(lab)
    assert await lab.eye.fetchval("SELECT walked FROM uno_jobs.prune(1000)") == 0
    await put_finished(lab, 5, age=7.5)
    row = await lab.one("SELECT * FROM uno_jobs.prune(1000)")
    assert (row["walked"], row["removed"]) == (5, 5)


async def test_two_at_once_do_not_do_it_twice(lab: Lab) -> None:
    await put_finished(lab, 10, age=8)
    one, other = await lab.session(), await lab.session()
    transaction = one.transaction()
    await transaction.start()
    assert await one.fetchval("SELECT removed FROM uno_jobs.prune(4)") > 0
    # Neither waits for the other: the first has the walks.
    assert await other.fetchval("SELECT walked FROM uno_jobs.prune(4)", timeout=30) == 0
    await transaction.commit()
    assert await prune(lab, on=other) + 4 >= 6
    assert await lab.eye.fetchval("SELECT count(*) FROM uno_jobs.jobs") == 0

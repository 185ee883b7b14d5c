"""A success that is recorded in the transaction of the work itself: fenced by its lease, last before the commit."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.storage.workflows import Node, put_workflow

if TYPE_CHECKING:
    from uuid import UUID

    from tests.storage.lab import Hand, Lab

pytestmark = pytest.mark.server_versions


async def begin(session: Any, lease: int) -> Any:
    transaction = session.transaction()
    await transaction.start()
    await session.execute(f"SET LOCAL unojobs.lease = '{lease}'")
    return transaction


async def finish(session: Any, id_: UUID, lease: int, result: str = "null") -> None:
    await session.execute("SELECT uno_jobs.finish_in_transaction($1, $2, $3)", id_, lease, result)


async def claimed(lab: Lab) -> tuple[UUID, Hand]:
    (id_,) = await lab.put()
    hand = await lab.hand()
    await hand.register()
    await hand.claim()
    return id_, hand


async def test_the_success_is_there_with_the_commit_and_not_before(lab: Lab) -> None:
    id_, hand = await claimed(lab)
    before = await lab.live(id_)
    assert before is not None
    session = await lab.session()
    transaction = await begin(session, hand.leases[id_])
    await finish(session, id_, hand.leases[id_], '{"n": 1}')
    assert await lab.live(id_) == before
    assert await lab.outcome(id_) is None
    await transaction.commit()
    assert await lab.live(id_) is None
    outcome = await lab.outcome(id_)
    assert outcome is not None
    assert (outcome["state"], outcome["attempt"], json.loads(outcome["result"])) == ("succeeded", 1, {"n": 1})
    attempt = await lab.one("SELECT * FROM uno_jobs.attempts")
    assert (attempt["lease"], attempt["outcome"], attempt["worker_id"]) == (hand.leases[id_], "succeeded", hand.id)
    # What the worker sends besides is harmless: the same again is nothing, another outcome is stale.
    assert await hand.succeed([id_]) == {}
    assert await hand.end(id_, "retried", delay=0) == {id_: "stale"}


async def test_a_rollback_leaves_the_job_as_it_was(lab: Lab) -> None:
    id_, hand = await claimed(lab)
    before = await lab.live(id_)
    session = await lab.session()
    transaction = await begin(session, hand.leases[id_])
    await finish(session, id_, hand.leases[id_])
    await transaction.rollback()
    assert await lab.live(id_) == before
    assert await hand.succeed([id_]) == {}


async def test_another_lease_is_over(lab: Lab) -> None:
    id_, hand = await claimed(lab)
    before = await lab.live(id_)
    session = await lab.session()
    wrong = hand.leases[id_] ^ 1
    transaction = await begin(session, wrong)
    with pytest.raises(asyncpg.PostgresError, match="lease of job") as caught:
        await finish(session, id_, wrong)
    assert caught.value.sqlstate == "UJ001"  # pyright: ignore[reportAttributeAccessIssue]
    await transaction.rollback()
    assert await lab.live(id_) == before


@pytest.mark.parametrize("claimed_again", [False, True])
async def test_after_a_rescue_the_lease_is_over(lab: Lab, claimed_again: bool) -> None:
    id_, hand = await claimed(lab)
    session = await lab.session()
    transaction = await begin(session, hand.leases[id_])
    assert await hand.gateway.rescue(hand.id, "a test", 3) == {id_}
    if claimed_again:
        assert len(await (await lab.hand()).claim()) == 1
    with pytest.raises(asyncpg.PostgresError, match="lease of job"):
        await finish(session, id_, hand.leases[id_])
    await transaction.rollback()
    assert await lab.states() == {"running" if claimed_again else "ready": 1}


async def test_the_worker_may_have_got_a_new_id(lab: Lab) -> None:
    id_, hand = await claimed(lab)
    heir = await lab.hand()
    assert await heir.gateway.adopt(hand.id, heir.id, [id_], [hand.leases[id_]]) == {id_}
    session = await lab.session()
    transaction = await begin(session, hand.leases[id_])
    await finish(session, id_, hand.leases[id_])
    await transaction.commit()
    assert await lab.eye.fetchval("SELECT worker_id FROM uno_jobs.attempts") == heir.id


async def test_a_transaction_that_was_not_begun_for_the_job_is_refused(lab: Lab) -> None:
    id_, hand = await claimed(lab)
    session = await lab.session()
    transaction = await begin(session, hand.leases[id_])
    await session.execute("COMMIT; BEGIN")
    with pytest.raises(asyncpg.PostgresError, match="inside its block") as caught:
        await finish(session, id_, hand.leases[id_])
    assert caught.value.sqlstate == "UJ002"  # pyright: ignore[reportAttributeAccessIssue]
    await transaction.rollback()
    assert await lab.states() == {"running": 1}


async def test_it_waits_for_whoever_holds_the_row(lab: Lab) -> None:
    id_, hand = await claimed(lab)
    session, blocker = await lab.session(), await lab.session()
    blocking = blocker.transaction()
    await blocking.start()
    await blocker.execute("SELECT FROM uno_jobs.live_jobs WHERE id = $1 FOR UPDATE", id_)
    transaction = await begin(session, hand.leases[id_])
    finishing = asyncio.create_task(finish(session, id_, hand.leases[id_]))
    await lab.blocked(session)
    await blocking.rollback()
    await finishing
    await transaction.commit()
    assert await lab.states() == {"succeeded": 1}


async def test_those_who_wait_are_told_and_side_tables_emptied(lab: Lab) -> None:
    id_, hand = await claimed(lab)
    await lab.ask_to_cancel(id_)
    await lab.eye.execute(
        "INSERT INTO uno_jobs.result_waiters VALUES ($1, gen_random_uuid(), now() + interval '1 h')", id_
    )
    heard: asyncio.Queue[str] = asyncio.Queue()
    await lab.eye.add_listener(await hand.gateway.channel(), lambda *told: heard.put_nowait(told[3]))
    session = await lab.session()
    transaction = await begin(session, hand.leases[id_])
    await finish(session, id_, hand.leases[id_])
    await transaction.commit()
    assert await asyncio.wait_for(heard.get(), 20) == f"done {id_}"
    left = "SELECT (SELECT count(*) FROM uno_jobs.cancel_requests) + (SELECT count(*) FROM uno_jobs.result_waiters)"
    assert await lab.eye.fetchval(left) == 0
    assert await lab.states() == {"succeeded": 1}


async def test_the_fate_of_an_attempt(lab: Lab) -> None:
    id_, hand = await claimed(lab)
    lease = hand.leases[id_]
    assert await hand.gateway.attempt_fate(id_, lease) == "running"
    assert await hand.gateway.attempt_fate(id_, lease ^ 1) is None
    await hand.end(id_, "retried", delay=0)
    assert await hand.gateway.attempt_fate(id_, lease) == "retried"


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_the_fate_waits_for_a_commit_that_is_under_way(lab: Lab, end: str) -> None:
    id_, hand = await claimed(lab)
    lease = hand.leases[id_]
    session = await lab.session()
    transaction = await begin(session, lease)
    await finish(session, id_, lease)
    asking = asyncio.create_task(hand.gateway.attempt_fate(id_, lease))
    await lab.blocked(hand.connection)
    await getattr(transaction, end)()
    assert await asking == ("succeeded" if end == "commit" else "running")


async def test_an_error_after_the_commit_is_kept_with_its_attempt(lab: Lab) -> None:
    id_, hand = await claimed(lab)
    lease = hand.leases[id_]
    query = "SELECT error_after_commit FROM uno_jobs.attempts"
    await hand.gateway.set_error_after_commit(id_, lease, "too early")
    await hand.succeed([id_])
    assert await lab.eye.fetchval(query) is None
    await hand.gateway.set_error_after_commit(id_, lease ^ 1, "another's")
    assert await lab.eye.fetchval(query) is None
    await hand.gateway.set_error_after_commit(id_, lease, "ValueError: x")
    assert await lab.eye.fetchval(query) == "ValueError: x"


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_siblings_that_end_at_once_wait_for_each_other(lab: Lab, end: str) -> None:
    one, other, child = await put_workflow(lab, [Node(), Node(), Node((0, 1))])
    hand = await lab.hand()
    await hand.claim()
    first, second = await lab.session(), await lab.session()
    held = await begin(first, hand.leases[one])
    await finish(first, one, hand.leases[one])
    transaction = await begin(second, hand.leases[other])
    finishing = asyncio.create_task(finish(second, other, hand.leases[other]))
    await lab.blocked(second)
    await getattr(held, end)()
    await finishing
    await transaction.commit()
    if end == "rollback":
        assert await hand.succeed([one]) == {}
    row = await lab.live(child)
    assert row is not None
    assert (row["state"], row["pending_parents"]) == ("ready", 0)

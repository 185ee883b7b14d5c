"""Who is notified, and when: sleepers of a queue, once, at the commit; and nobody while nobody sleeps (hazard 13)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.storage.lab import Lab

pytestmark = pytest.mark.server_versions


class Ear:
    """Hears the schema's channel."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._heard: list[str] = []
        self._end = asyncio.Event()
        self._ends = 0

    @classmethod
    async def open(cls, lab: Lab) -> Ear:
        ear = cls(lab)
        session = await lab.session()
        channel = await session.fetchval("SELECT channel FROM uno_jobs.schema_info")
        await session.add_listener(channel, ear._hear)
        return ear

    def _hear(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        if payload == f"end {self._ends}":
            self._end.set()
        else:
            self._heard.append(payload)

    async def heard(self) -> list[str]:
        """Return what was said until now: notifications come in the order of commits, so a last word ends them."""
        self._end.clear()
        self._ends += 1
        await self._lab.eye.execute("SELECT pg_notify(channel, $1) FROM uno_jobs.schema_info", f"end {self._ends}")
        async with asyncio.timeout(30):
            await self._end.wait()
        heard, self._heard = self._heard, []
        return heard


async def test_nobody_sleeps_nobody_is_notified(lab: Lab) -> None:
    ear = await Ear.open(lab)
    await lab.put(3)
    hand = await lab.hand()
    ids = [job["id"] for job in await hand.claim()]
    await hand.end(ids, "retried", delay=0)
    assert await ear.heard() == []


async def test_sleepers_are_notified_once_per_queue_at_the_commit(lab: Lab) -> None:
    ear = await Ear.open(lab)
    hands = [await lab.hand() for _ in range(3)]
    for hand in hands:
        await hand.gateway.mark_hungry(hand.id, ["a", "b"], 60)
    caller = await lab.session()
    async with caller.transaction():
        for _ in range(3):
            await lab.put(20, queue="a", on=caller)
        await lab.put(2, queue="b", on=caller)
        await lab.put(2, queue="nobody's", on=caller)
        assert await ear.heard() == []
    assert sorted(await ear.heard()) == ["ready a", "ready b"]


async def test_a_rollback_tells_nobody(lab: Lab) -> None:
    ear = await Ear.open(lab)
    hand, caller = await lab.hand(), await lab.session()
    await hand.gateway.mark_hungry(hand.id, ["default"], 60)
    transaction = caller.transaction()
    await transaction.start()
    await lab.put(on=caller)
    await transaction.rollback()
    assert await ear.heard() == []


async def test_a_mark_of_hunger_ends_by_itself_and_is_renewed(lab: Lab) -> None:
    ear = await Ear.open(lab)
    hand = await lab.hand()
    await hand.gateway.mark_hungry(hand.id, ["default"], 0)
    await lab.put()
    assert await ear.heard() == []
    await hand.gateway.mark_hungry(hand.id, ["default"], 60)
    await lab.put()
    assert await ear.heard() == ["ready default"]


async def test_whatever_makes_a_job_ready_wakes(lab: Lab) -> None:
    """A retry, a hand-back, a rescue and a promotion say so too (hazard 39)."""
    ear = await Ear.open(lab)
    hand, sleeper = await lab.hand(), await lab.hand()
    await sleeper.gateway.mark_hungry(sleeper.id, ["default"], 600)
    ids = await lab.put(5, notify=False)
    assert await ear.heard() == []
    await hand.claim()
    await hand.end(ids[0], "retried", delay=0)
    assert await ear.heard() == ["ready default"]
    await hand.hand_back(ids[1])
    assert await ear.heard() == ["ready default"]
    await hand.end(ids[2], "retried", delay=3600)
    assert await ear.heard() == []
    await hand.gateway.rescue(hand.id, "gone", 3)
    assert await ear.heard() == ["ready default"]
    await lab.eye.execute(
        "UPDATE uno_jobs.live_jobs SET run_at = now() - interval '1 second' WHERE state = 'scheduled'"
    )
    await hand.gateway.promote(10, await lab.eye.fetchval("SELECT 'epoch'::timestamptz"))
    assert await ear.heard() == ["ready default"]


async def test_the_longest_queue_name_fits_a_notification(lab: Lab) -> None:
    ear = await Ear.open(lab)
    hand = await lab.hand()
    queue = "ß" * 128
    await hand.gateway.mark_hungry(hand.id, [queue], 60)
    await lab.put(queue=queue)
    assert await ear.heard() == [f"ready {queue}"]
    assert len(await hand.claim(queues=[queue])) == 1


async def test_an_enqueue_may_be_part_of_a_prepared_transaction(lab: Lab) -> None:
    """After a NOTIFY, PREPARE TRANSACTION fails: so there must have been none."""
    caller = await lab.session()
    allowed = int(await caller.fetchval("SHOW max_prepared_transactions")) > 0
    sleeper = await lab.hand()
    await sleeper.gateway.mark_hungry(sleeper.id, ["other"], 60)
    if not allowed:
        pytest.skip("this server has max_prepared_transactions = 0")
    await caller.execute("BEGIN")
    await lab.put(on=caller)
    await caller.execute("PREPARE TRANSACTION 'uno_jobs_test'")
    await caller.execute("COMMIT PREPARED 'uno_jobs_test'")
    assert await lab.states() == {"ready": 1}
    await sleeper.gateway.mark_hungry(sleeper.id, ["default"], 60)
    await caller.execute("BEGIN")
    await lab.put(on=caller, notify=False)
    await caller.execute("PREPARE TRANSACTION 'uno_jobs_test'")
    await caller.execute("COMMIT PREPARED 'uno_jobs_test'")
    assert await lab.states() == {"ready": 2}

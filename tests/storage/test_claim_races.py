"""Claims at once: nothing twice, nothing lost, however the transactions interleave; and claims against replacements."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage import invariants

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from tests.storage.lab import Hand, Lab

pytestmark = pytest.mark.server_versions

QUEUES = ("a", "b", "c")

jobs = st.lists(
    st.tuples(st.sampled_from(QUEUES), st.integers(0, 9), st.sampled_from(["1", "1", "1", "2"]), st.integers(1, 6)),
    max_size=12,
)
steps = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.one_of(
            st.tuples(st.just("claim"), st.integers(1, 12), st.permutations(QUEUES), st.integers(1, 3)),
            st.tuples(st.just("commit")),
            st.tuples(st.just("rollback")),
            st.tuples(st.just("put"), st.sampled_from(QUEUES), st.integers(0, 9), st.integers(1, 4)),
        ),
    ),
    max_size=14,
)


class Player:
    """A worker that claims in transactions of its own pace."""

    def __init__(self, lab: Lab, hand: Hand) -> None:
        self.lab = lab
        self.hand = hand
        self.kept: list[UUID] = []
        self.pending: list[UUID] = []
        self.put: list[UUID] = []
        self.transaction: Any = None

    async def do(self, step: tuple[Any, ...]) -> None:
        if self.transaction is None and step[0] in ("claim", "put"):
            self.transaction = self.hand.connection.transaction()
            await self.transaction.start()
        match step:
            case ("claim", slots, queues, count):
                got = await self.hand.claim(slots, queues[:count])
                assert len(got) <= slots
                assert {job["version"] for job in got} <= {"1"}
                self.pending += [job["id"] for job in got]
            case ("put", queue, priority, count):
                self.put += await self.lab.put(count, queue=queue, priority=priority, on=self.hand.connection)
            case (word,) if self.transaction is not None:
                if word == "commit":
                    await self.transaction.commit()
                    self.kept += self.pending
                    self.lab.asked |= set(self.put)
                else:
                    await self.transaction.rollback()
                self.transaction, self.pending, self.put = None, [], []


@given(jobs, steps)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_two_workers_claim_at_once(lab: Lab, jobs: list[Any], steps: list[Any]) -> None:
    await lab.eye.execute("TRUNCATE uno_jobs.jobs, uno_jobs.live_jobs, uno_jobs.attempts, uno_jobs.outcomes")
    lab.asked = set()
    foreign = 0
    for queue, priority, version, count in jobs:
        ids = await lab.put(count, queue=queue, priority=priority, version=version)
        if version == "1":
            lab.asked |= set(ids)
        else:
            foreign += count
    if not hasattr(lab, "hands"):
        lab.hands = [await lab.hand(), await lab.hand()]
    players = [Player(lab, hand) for hand in lab.hands]
    for who, step in steps:
        await players[who].do(step)
    for player in players:
        await player.do(("commit",))
    while got := await players[0].hand.claim(5, QUEUES):
        players[0].kept += [job["id"] for job in got]
    kept = players[0].kept + players[1].kept
    assert len(kept) == len(set(kept)), "claimed twice"
    assert set(kept) == lab.asked, "lost, or claimed before it was committed"
    for player in players:
        assert await player.hand.succeed(player.kept) == {}
    assert await lab.states() == {
        state: count for state, count in (("succeeded", len(kept)), ("ready", foreign)) if count
    }
    await invariants.check(lab.eye)


@given(
    st.lists(st.tuples(st.sampled_from(QUEUES), st.integers(0, 9)), min_size=1, max_size=40),
    st.integers(1, 40),
    st.lists(st.integers(0, 12), min_size=3, max_size=3),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_claim_takes_the_first_of_each_queue_and_leaves_no_slot_free(
    lab: Lab, jobs: list[tuple[str, int]], slots: int, limits: list[int]
) -> None:
    await lab.eye.execute("TRUNCATE uno_jobs.jobs, uno_jobs.live_jobs, uno_jobs.attempts, uno_jobs.outcomes")
    for queue, priority in jobs:
        await lab.put(queue=queue, priority=priority)
    if not hasattr(lab, "hands"):
        lab.hands = [await lab.hand()]
    rows = await lab.eye.fetch("SELECT id, queue FROM uno_jobs.live_jobs ORDER BY priority, seq")
    order = {queue: [row["id"] for row in rows if row["queue"] == queue] for queue in QUEUES}
    taken = await lab.hands[0].claim(slots, QUEUES, limits=limits)
    by_queue = {queue: [job["id"] for job in taken if job["queue"] == queue] for queue in QUEUES}
    offered = {queue: min(limit, len(order[queue])) for queue, limit in zip(QUEUES, limits, strict=True)}
    for queue in QUEUES:
        assert by_queue[queue] == order[queue][: len(by_queue[queue])]
        assert len(by_queue[queue]) <= offered[queue]
    assert len(taken) == min(slots, sum(offered.values()))
    if slots >= len(QUEUES):
        assert all(by_queue[queue] for queue in QUEUES if offered[queue])


async def test_many_workers_drain_a_queue_at_once(lab: Lab) -> None:
    ids = await lab.put(600)

    async def drain() -> list[UUID]:
        hand = await lab.hand()
        mine: list[UUID] = []
        while got := await hand.claim(7):
            mine += [job["id"] for job in got]
            fates = await hand.succeed(job["id"] for job in got)
            # A claim whose snapshot still shows a row as ready locks its new version before it sees what became of it.
            while fates:
                assert set(fates.values()) == {"locked"}
                fates = await hand.succeed(fates)
        return mine

    shares = await asyncio.gather(*(drain() for _ in range(5)))
    done = [id_ for share in shares for id_ in share]
    assert len(done) == len(set(done))
    # A claimer that saw only locked rows may have left early; nobody lost any.
    left = {row["id"] for row in await lab.eye.fetch("SELECT id FROM uno_jobs.live_jobs")}
    assert set(done) | left == set(ids)
    assert not set(done) & left


async def test_a_replacement_that_was_committed_during_the_claim_is_what_runs(lab: Lab) -> None:
    """Hazard 7: joined to jobs in one statement, the claim ran old arguments though the replacer was told otherwise."""
    first = (await lab.put_unique("k", args='["old"]'))["id"]
    hand, replacer = await lab.hand(), await lab.session()
    # The claim has begun, and its statement's snapshot is taken, when it is held up here.
    async with replacer.transaction():
        await replacer.execute("LOCK TABLE uno_jobs.queues IN ACCESS EXCLUSIVE MODE")
        claim = asyncio.create_task(hand.claim())
        await lab.blocked(hand.connection)
        answer = await lab.put_unique("k", on=replacer, on_duplicate="replace", args='["new"]')
        assert (answer["id"], answer["is_duplicate"], answer["replaced"]) == (first, True, True)
    (job,) = await claim
    assert json.loads(job["args"]) == ["new"]


async def test_the_naive_claim_runs_the_old_arguments(lab: Lab) -> None:
    """The test above bites: one statement with a join to jobs fails it."""
    await lab.put_unique("k", args='["old"]')
    naive, replacer = await lab.session(), await lab.session()
    await naive.execute("""
        CREATE FUNCTION pg_temp.wait() RETURNS integer LANGUAGE plpgsql VOLATILE
        AS $$ BEGIN RETURN (SELECT count(*) FROM uno_jobs.queues); END $$""")
    async with replacer.transaction():
        await replacer.execute("LOCK TABLE uno_jobs.queues IN ACCESS EXCLUSIVE MODE")
        claim = asyncio.create_task(
            naive.fetchval("""
                WITH held AS MATERIALIZED (SELECT pg_temp.wait() AS n), picked AS MATERIALIZED (
                    SELECT l.id FROM held, uno_jobs.live_jobs l WHERE l.state = 'ready' AND held.n >= 0
                    ORDER BY l.seq LIMIT 1 FOR UPDATE OF l SKIP LOCKED)
                SELECT j.args::text FROM picked p JOIN uno_jobs.jobs j ON j.id = p.id""")
        )
        await lab.blocked(naive)
        await lab.put_unique("k", on=replacer, on_duplicate="replace", args='["new"]')
    assert json.loads(await claim) == ["old"]


async def test_a_job_that_is_being_claimed_is_not_replaced(lab: Lab) -> None:
    first = (await lab.put_unique("k", args='["old"]'))["id"]
    hand, replacer = await lab.hand(), await lab.session()
    async with hand.connection.transaction():
        (job,) = await hand.claim()
        answer = asyncio.create_task(lab.put_unique("k", on=replacer, on_duplicate="replace", args='["new"]'))
        await lab.blocked(replacer)
    row = await answer
    assert (row["id"], row["is_duplicate"], row["replaced"]) == (first, True, False)
    assert json.loads(job["args"]) == ["old"]
    assert (await lab.one("SELECT args::text FROM uno_jobs.jobs"))["args"] == '["old"]'


async def test_a_replacer_that_came_too_late_does_not_hold_up_the_outcome(lab: Lab) -> None:
    """A lock that waited is taken on the new version of the row, before it is seen to run: it must be given back."""
    first = (await lab.put_unique("k"))["id"]
    hand, replacer = await lab.hand(), await lab.session()
    async with replacer.transaction():
        async with hand.connection.transaction():
            await hand.claim()
            # As when the claim comes between the enqueuer's look for the key's holder and this.
            replace = "SELECT uno_jobs.replace_job($1, '[\"new\"]', '{}', NULL)"
            answer = asyncio.create_task(replacer.fetchval(replace, first))
            await lab.blocked(replacer)
        assert await answer is False
        assert await hand.succeed([first]) == {}


async def test_a_job_that_is_being_replaced_is_passed_over(lab: Lab) -> None:
    await lab.put_unique("k", args='["old"]')
    (other,) = await lab.put()
    hand, replacer = await lab.hand(), await lab.session()
    async with replacer.transaction():
        await lab.put_unique("k", on=replacer, on_duplicate="replace", args='["new"]')
        assert [job["id"] for job in await hand.claim()] == [other]
    (job,) = await hand.claim()
    assert json.loads(job["args"]) == ["new"]


async def test_what_replacers_were_told_is_what_runs(lab: Lab) -> None:
    """Claims and replacements at once, as they come: the answers agree with the arguments."""
    hand, replacer = await lab.hand(), await lab.session()
    for round_ in range(40):
        id_ = (await lab.put_unique(f"k{round_}", args='["old"]'))["id"]

        async def replace(round_: int = round_) -> asyncpg.Record:
            return await lab.put_unique(f"k{round_}", on=replacer, on_duplicate="replace", args='["new"]')

        claimed, answer = await asyncio.gather(hand.claim(), replace())
        claimed = claimed or await hand.claim()
        assert answer["id"] == id_
        assert [json.loads(job["args"]) for job in claimed] == [["new"] if answer["replaced"] else ["old"]]

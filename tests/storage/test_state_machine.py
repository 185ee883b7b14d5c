"""Any sequence of moves over the real SQL, against a model in plain Python."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.storage import invariants
from tests.storage.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from tests.storage.lab import Hand
    from uno_jobs.testing.databases import Databases

MAX_LOST = 3
LATER = 3600.0
TABLES = (
    *("jobs", "live_jobs", "attempts", "outcomes", "cancel_requests", "result_waiters", "progress", "workers"),
    *("job_edges", "pending_releases", "pending_counts"),
)

_place: dict[str, Any] = {}


@pytest.fixture(scope="module", autouse=True)
def database(databases: Databases) -> Iterator[None]:
    """One database and one event loop for all runs: each run empties the tables."""
    with databases.migrated() as url, asyncio.Runner() as runner:
        _place.update(url=url, run=runner.run, lab=runner.run(Lab.open(url)))
        yield
        runner.run(_place["lab"].close())


@pytest.fixture(autouse=True)
def sound() -> None:
    """Each run checks the invariants itself."""


@dataclass(eq=False)
class Job:
    """What the model knows of a job."""

    id: UUID
    priority: int
    key: str | None
    place: int | None
    """Its place among the ready, the lower the earlier."""
    state: str = "ready"
    attempt: int = 0
    failures: int = 0
    lost: int = 0
    suspect: bool = False
    cancel_asked: bool = False
    worker: int | None = None
    leases: list[tuple[int, int]] = field(default_factory=list)
    """Each (worker, lease) under which it has run."""

    @property
    def unfinished(self) -> bool:
        return self.state not in {"succeeded", "failed", "cancelled"}


class Life(RuleBasedStateMachine):
    """Three workers, and callers who enqueue, cancel and retry."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Job] = []
        self.clock = 0
        self.hands: list[Hand] = []

    def run(self, coroutine: Any) -> Any:
        return _place["run"](coroutine)

    @property
    def lab(self) -> Lab:
        return _place["lab"]

    def next_place(self) -> int:
        self.clock += 1
        return self.clock

    @initialize()
    def begin(self) -> None:
        async def go() -> None:
            await self.lab.eye.execute("TRUNCATE " + ", ".join(f"uno_jobs.{table}" for table in TABLES))
            if "hands" not in _place:
                _place["hands"] = [await self.lab.hand() for _ in range(3)]
            self.hands = _place["hands"]
            for hand in self.hands:
                hand.id = uuid.uuid4()
                await hand.register()

        self.run(go())

    def in_state(self, *states: str) -> list[Job]:
        return [job for job in self.jobs if job.state in states]

    def held_by(self, worker: int) -> list[Job]:
        return [job for job in self.jobs if job.state == "running" and job.worker == worker]

    # --- callers ---

    @rule(
        count=st.integers(1, 3),
        priority=st.sampled_from([1, 5, 9]),
        later=st.booleans(),
    )
    def enqueue(self, count: int, priority: int, later: bool) -> None:
        ids = self.run(self.lab.put(count, priority=priority, delay=LATER if later else None))
        for id_ in ids:
            self.jobs.append(Job(id_, priority, None, None if later else self.next_place()))
            self.jobs[-1].state = "scheduled" if later else "ready"

    @rule(key=st.sampled_from(["a", "b"]))
    def enqueue_unique(self, key: str) -> None:
        row = self.run(self.lab.put_unique(key))
        holder = next((job for job in self.jobs if job.key == key and job.unfinished), None)
        assert row["is_duplicate"] == (holder is not None)
        if holder is not None:
            assert row["id"] == holder.id
        else:
            self.jobs.append(Job(row["id"], 5, key, self.next_place()))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        answer = self.run(self.lab.eye.fetchval("SELECT uno_jobs.cancel($1, 'enough')", job.id))
        if not job.unfinished:
            assert answer == "finished"
        elif job.state == "running":
            assert answer == "requested"
            job.cancel_asked = True
        else:
            assert answer == "cancelled"
            self.over(job, "cancelled")

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.jobs))
        holder = next((one for one in self.jobs if one.key == job.key and one.unfinished), None) if job.key else None
        allowed = (job.state in {"failed", "cancelled"} and holder is None) or job.state == "scheduled"
        with contextlib.nullcontext() if allowed else pytest.raises(asyncpg.PostgresError) as refused:
            self.run(self.lab.eye.execute("SELECT uno_jobs.retry($1)", job.id))
        if allowed:
            if job.state != "scheduled":
                job.failures = job.lost = 0
                job.suspect = job.cancel_asked = False
            job.state, job.place = "ready", self.next_place()
        elif job.state in {"failed", "cancelled"}:
            assert holder is not None
            assert refused is not None
            assert str(holder.id) in str(refused.value)

    @precondition(lambda self: self.in_state("scheduled"))
    @rule(data=st.data())
    def time_passes(self, data: st.DataObject) -> None:
        due = data.draw(st.lists(st.sampled_from(self.in_state("scheduled")), unique=True, min_size=1))

        async def go() -> int:
            for number, job in enumerate(due):
                await self.lab.eye.execute(
                    "UPDATE uno_jobs.live_jobs SET run_at = statement_timestamp() - $2 * interval '1 ms' WHERE id = $1",
                    job.id,
                    1000 - number,
                )
            floor = await self.lab.eye.fetchval("SELECT '-infinity'::timestamptz")
            return (await self.hands[0].gateway.promote(100, floor)).promoted

        assert self.run(go()) == len(due)
        for job in due:
            job.state, job.place = "ready", self.next_place()

    # --- workers ---

    @rule(worker=st.integers(0, 2), slots=st.integers(1, 4))
    def claim(self, worker: int, slots: int) -> None:
        hand = self.hands[worker]
        got = self.run(hand.claim(slots))
        ready = sorted(self.in_state("ready"), key=lambda job: (job.priority, job.place or 0))
        assert [row["id"] for row in got] == [job.id for job in ready[:slots]]
        for job, row in zip(ready, got, strict=False):
            assert (row["attempt"], row["failures"]) == (job.attempt + 1, job.failures)
            assert (row["lost"], row["suspect"]) == (job.lost, job.suspect)
            job.state, job.worker = "running", worker
            job.attempt += 1
            job.leases.append((worker, hand.leases[job.id]))

    @precondition(lambda self: self.in_state("running"))
    @rule(data=st.data(), retried_later=st.booleans())
    def end(self, data: st.DataObject, retried_later: bool) -> None:
        worker = data.draw(st.sampled_from(sorted({job.worker for job in self.in_state("running")})))
        jobs = data.draw(st.lists(st.sampled_from(self.held_by(worker)), unique=True, min_size=1))
        how = data.draw(st.sampled_from(["succeeded", "failed", "retried", "snoozed", "cancelled", "handed_back"]))
        hand = self.hands[worker]
        ids = [job.id for job in jobs]
        for job in jobs:
            hand.leases[job.id] = job.leases[-1][1]
        if how == "succeeded":
            assert self.run(hand.succeed(ids)) == {}
        else:
            assert self.run(hand.end(ids, how, delay=LATER if retried_later else 0)) == {}
        # Of one batch nobody promises an order; among all others each draws a later place.
        for job in self.run(self.in_order(jobs)):
            self.ended(job, how, later=retried_later)

    async def in_order(self, jobs: list[Job]) -> list[Job]:
        places = dict(
            await self.lab.eye.fetch(
                "SELECT id, seq FROM uno_jobs.live_jobs WHERE id = ANY ($1)", [job.id for job in jobs]
            )
        )
        return sorted(jobs, key=lambda job: places.get(job.id) or 0)

    def ended(self, job: Job, how: str, *, later: bool) -> None:
        failed = how in {"failed", "retried"}
        job.failures += failed
        if how == "succeeded":
            self.over(job, "succeeded")
        elif job.cancel_asked or how == "cancelled":
            self.over(job, "cancelled")
        elif how == "failed":
            self.over(job, "failed")
        else:
            job.worker = None
            if how == "handed_back":
                job.state = "ready"
            elif later:
                job.state, job.place = "scheduled", None
            else:
                job.state, job.place = "ready", self.next_place()

    @precondition(lambda self: any(job.leases for job in self.jobs))
    @rule(data=st.data(), how=st.sampled_from(["succeeded", "retried", "lost"]))
    def end_too_late(self, data: st.DataObject, how: str) -> None:
        """A lease that is over changes nothing, and whoever names it learns it."""
        job = data.draw(st.sampled_from([job for job in self.jobs if job.leases]))
        over = job.leases[:-1] if job.state == "running" else job.leases
        if not over:
            return
        worker, lease = data.draw(st.sampled_from(over))
        hand = self.hands[worker]
        before = self.run(self.ended_as(job, lease))
        hand.leases[job.id] = lease
        fates = self.run(hand.succeed([job.id]) if how == "succeeded" else hand.end(job.id, how, delay=0))
        # What was recorded so already may be sent again, since a reply can be lost.
        same = before == how or (how == "retried" and before == "failed")
        assert fates == ({} if same else {job.id: "stale"})

    async def ended_as(self, job: Job, lease: int) -> str:
        return await self.lab.eye.fetchval(
            "SELECT outcome::text FROM uno_jobs.attempts WHERE job_id = $1 AND lease = $2", job.id, lease
        )

    @rule(worker=st.integers(0, 2))
    def dies(self, worker: int) -> None:
        """A worker's process is gone: what it ran is given back, and another takes its place."""
        hand = self.hands[worker]
        held = self.held_by(worker)
        assert self.run(hand.gateway.rescue(hand.id, "killed", MAX_LOST)) == {job.id for job in held}
        for job in held:
            alone = len(held) == 1
            job.lost += alone
            job.suspect = job.suspect or not alone
            job.worker = None
            if job.cancel_asked:
                self.over(job, "cancelled")
            elif job.lost >= MAX_LOST:
                self.over(job, "failed")
            else:
                job.state = "ready"
        # Its leases stay those of the one that died.
        for job in self.jobs:
            job.leases = [one for one in job.leases if one[0] != worker]
        hand.id = uuid.uuid4()
        self.run(hand.register())

    def over(self, job: Job, state: str) -> None:
        job.state, job.worker, job.place, job.cancel_asked = state, None, None, False

    # --- what must be true ---

    @invariant()
    def the_database_agrees(self) -> None:
        rows = self.run(
            self.lab.eye.fetch(
                "SELECT s.id, s.state::text, s.attempt, s.failures, s.lost, "
                "EXISTS (SELECT FROM uno_jobs.cancel_requests c WHERE c.job_id = s.id) FROM uno_jobs.job_status s"
            )
        )
        there = {row[0]: tuple(row)[1:] for row in rows}
        assert there == {
            job.id: (job.state, job.attempt, job.failures, job.lost, job.cancel_asked) for job in self.jobs
        }

    def teardown(self) -> None:
        self.run(invariants.check(self.lab.eye, retried_by_hand=True))


def test_any_sequence_of_moves_leaves_what_the_model_says() -> None:
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )

"""What a worker process holds: jobs that run here, and outcomes that the database has not confirmed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from uuid import UUID

    from uno_jobs.context import Job
    from uno_jobs.outcomes import Outcome
    from uno_jobs.runners.invocation import Plan

MAX_UNSENT: Final = 5_000
"""Outcomes that may wait to be sent before nothing more is claimed."""


class Holding:
    """One job under one lease."""

    __slots__ = ("cancel_reason", "disowned", "hand_back_reason", "job", "locked", "outcome", "plan", "runner")

    def __init__(self, job: Job, plan: Plan | None) -> None:
        self.job = job
        self.plan = plan
        self.runner: asyncio.Task[None] | None = None
        self.outcome: Outcome | None = None
        self.cancel_reason: str | None = None
        """Why somebody cancelled it, if anybody did."""
        self.hand_back_reason: str | None = None
        """Why the worker gives it up, if it does."""
        self.locked = 0
        """How often its row was locked when its outcome was sent."""
        self.disowned = False
        """Its lease is over: whatever comes of it is not sent."""


class Holdings:
    """All jobs that this process has claimed and not yet accounted for. Belongs to one event loop."""

    def __init__(self, concurrency: int, limits: dict[str, int]) -> None:
        # Not by id and lease: the hash of a UUID costs more than all else that is done here.
        self.running: set[Holding] = set()
        self.unsent: set[Holding] = set()
        self._concurrency = concurrency
        self._limits = limits
        self._by_queue: dict[str, int] = dict.fromkeys(limits, 0)
        self.changed = asyncio.Event()
        """Set whenever a slot became free or an outcome was sent."""

    @property
    def free(self) -> int:
        """How many more jobs may be claimed now."""
        return 0 if len(self.unsent) > MAX_UNSENT else self._concurrency - len(self.running)

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing is left to send."""
        return not self.running and not self.unsent

    def limit(self, queue: str) -> int:
        """Return how many more jobs of a queue may be claimed now, as far as the queue's own limit goes."""
        limit = self._limits.get(queue)
        return self._concurrency if limit is None else limit - self._by_queue[queue]

    def started(self, holding: Holding) -> None:
        """A job was claimed: it takes up a slot."""
        self.running.add(holding)
        if self._by_queue and (queue := holding.job.queue) in self._by_queue:
            self._by_queue[queue] += 1

    def ended(self, holding: Holding) -> None:
        """A job's run is over: its slot is free, its outcome still to be sent."""
        self.running.remove(holding)
        if self._by_queue and (queue := holding.job.queue) in self._by_queue:
            self._by_queue[queue] -= 1
        if not holding.disowned:
            self.unsent.add(holding)
        self.changed.set()

    def sent(self, holding: Holding) -> None:
        """An outcome is durable, or moot."""
        self.unsent.discard(holding)
        self.changed.set()

    def leases(self) -> tuple[list[Any], list[int]]:
        """Return ids and leases of all that is held."""
        held = [*self.running, *self.unsent]
        return [one.job.id for one in held], [one.job.lease for one in held]

    def by_lease(self) -> dict[tuple[UUID, int], Holding]:
        """Return what runs by id and lease: a job that was taken away wrongly may be back while its old run stops."""
        return {(one.job.id, one.job.lease): one for one in self.running}

    def known(self) -> set[tuple[UUID, int]]:
        """Return id and lease of all that is held."""
        return set(zip(*self.leases(), strict=True))

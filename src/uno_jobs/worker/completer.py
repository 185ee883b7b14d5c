"""The completer: makes outcomes durable, in batches that grow by themselves.

The next batch leaves when the one before is answered: an idle worker answers at once, a busy one in large batches.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from uno_jobs.outcomes import Cancelled, ErrorRecord, Failed, HandedBack, Lost, Outcome, Retried, Snoozed, Succeeded
from uno_jobs.worker.line import LINE_TROUBLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.worker.holdings import Holding, Holdings
    from uno_jobs.worker.identity import Identity
    from uno_jobs.worker.line import Line

logger = logging.getLogger("uno_jobs.worker")

MAX_BATCH: Final = 1_000
MAX_BYTES: Final = 4_000_000

LOCKED_WAIT: Final = 0.005
"""Seconds, times the number of tries so far, before outcomes are sent again whose rows were all locked."""

_DATA_ERRORS: Final = ("22", "23", "54")
"""SQLSTATE classes that are the fault of what was sent: data exception, constraint, limit."""


class Completer:
    """Sends outcomes; one that cannot be stored never holds up the others."""

    def __init__(
        self,
        line: Line,
        identity: Identity,
        holdings: Holdings,
        durable: Callable[[Holding], None],
        in_doubt: Callable[[], None],
    ) -> None:
        self._line = line
        self._identity = identity
        self._holdings = holdings
        self._durable = durable
        self._in_doubt = in_doubt
        self._waiting: list[Holding] = []
        self._news = asyncio.Event()
        self._stopping = False

    def submit(self, holding: Holding) -> None:
        """Take an outcome over."""
        self._waiting.append(holding)
        self._news.set()

    def stop(self) -> None:
        """End when everything is sent."""
        self._stopping = True
        self._news.set()

    async def run(self) -> None:
        """Send what is submitted until stopped and done."""
        while True:
            if not self._waiting:
                if self._stopping:
                    return
                self._news.clear()
                await self._news.wait()
                continue
            batch = self._take()
            locked = await self._send(batch)
            if locked:
                # Somebody holds their rows: others go first. Nearly always it is another worker's claim that is about
                # to commit, so the next try comes soon and only later ones wait.
                self._waiting.extend(locked)
                if len(self._waiting) == len(locked):
                    await asyncio.sleep(min(one.locked for one in locked) * LOCKED_WAIT)

    def _take(self) -> list[Holding]:
        waiting = self._waiting
        size = 0
        for count, holding in enumerate(waiting[:MAX_BATCH]):
            size += _size(holding.outcome)
            if size > MAX_BYTES and count:
                break
        else:
            count = min(len(waiting), MAX_BATCH)
        batch, self._waiting = waiting[:count], waiting[count:]
        return batch

    async def _send(self, batch: list[Holding]) -> list[Holding]:
        """Send a batch, whatever it takes; returns those whose rows were locked."""
        while True:
            # While the database was away the reconciler may have found out that a lease is over.
            batch = [holding for holding in batch if not holding.disowned]
            if not batch:
                return []
            gateway = await self._line.get()
            try:
                refused = await gateway.finish(self._identity.id, *_arrays(batch))
            except LINE_TROUBLE as error:
                self._line.drop(error)
                self._in_doubt()
            except asyncpg.PostgresError as error:
                if str(getattr(error, "sqlstate", ""))[:2] not in _DATA_ERRORS:
                    raise
                return await self._halve(batch, error)
            else:
                return self._settled(batch, {(row[0], row[1]): row[2] for row in refused})

    async def _halve(self, batch: list[Holding], error: asyncpg.PostgresError) -> list[Holding]:
        """The database refused a batch for what is in it: find the culprit."""
        if len(batch) > 1:
            middle = len(batch) // 2
            return await self._send(batch[:middle]) + await self._send(batch[middle:])
        holding = batch[0]
        logger.error(
            "an outcome cannot be stored; the job fails instead",
            extra={"job_id": str(holding.job.id), "task": holding.job.task, "error": str(error)},
        )
        holding.outcome = Failed(
            ErrorRecord(
                "uno_jobs.errors.ResultNotStorable",
                f"the database refused the outcome: {type(error).__name__}",
            )
        )
        return await self._send(batch)

    def _settled(self, batch: list[Holding], fates: dict[tuple[Any, int], str]) -> list[Holding]:
        locked: list[Holding] = []
        for holding in batch:
            fate = fates.get((holding.job.id, holding.job.lease)) if fates else None
            if fate is None:
                self._holdings.sent(holding)
                self._durable(holding)
            elif fate == "locked":
                holding.locked = min(holding.locked + 1, 20)
                locked.append(holding)
            else:
                self._holdings.sent(holding)
                logger.warning(
                    "an outcome came too late: the lease is over and the job is in other hands",
                    extra={
                        "job_id": str(holding.job.id),
                        "task": holding.job.task,
                        "attempt": holding.job.attempt,
                    },
                )
        return locked


def _size(outcome: Outcome | None) -> int:
    if type(outcome) is Succeeded:
        return len(outcome.result)
    match outcome:
        case Failed(error) | Retried(error, _) | Lost(error):
            return len(error.message) + len(error.traceback or "")
        case _:
            return 0


def _arrays(batch: list[Holding]) -> tuple[list[Any], list[int], list[str], str, list[int | None]]:
    ids: list[Any] = []
    leases: list[int] = []
    results: list[str] = []
    peaks: list[int | None] = []
    others: list[dict[str, Any]] = []
    for holding in batch:
        outcome = holding.outcome
        if type(outcome) is Succeeded:
            ids.append(holding.job.id)
            leases.append(holding.job.lease)
            results.append(outcome.result)
            if outcome.peak_memory is not None:
                # Most batches have none, and where the list ends there are no more.
                peaks.extend([None] * (len(ids) - 1 - len(peaks)))
                peaks.append(outcome.peak_memory)
        else:
            others.append({"id": str(holding.job.id), "lease": holding.job.lease, **_record(outcome)})
            if outcome is not None and outcome.peak_memory is not None:
                others[-1]["peak_memory"] = outcome.peak_memory
    while results and results[-1] == "null":
        results.pop()
    return ids, leases, results, json.dumps(others), peaks


def _record(outcome: Outcome | None) -> dict[str, Any]:
    match outcome:
        case Failed(error):
            return {"outcome": "failed", **_error(error)}
        case Retried(error, delay):
            return {"outcome": "retried", "delay": delay, **_error(error)}
        case Snoozed(delay):
            return {"outcome": "snoozed", "delay": delay}
        case Cancelled(reason):
            return {"outcome": "cancelled", "error": reason}
        case HandedBack(reason):
            return {"outcome": "handed_back", "error": reason}
        case Lost(error, max_lost):
            return {"outcome": "lost", "alone": True, "max_lost": max_lost, **_error(error)}
        case _:
            raise AssertionError(f"{outcome!r} is no outcome for here")


def _error(error: ErrorRecord) -> dict[str, Any]:
    return {"error_type": error.type, "error": error.message, "traceback": error.traceback}

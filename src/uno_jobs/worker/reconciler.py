"""The reconciler: compares what the database believes that this worker runs with what it runs.

A claim or an outcome whose reply was lost, a lease that somebody ended, a cancellation asked for: all are found here.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from uno_jobs.transactions.state import committed_result
from uno_jobs.worker.line import LINE_TROUBLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.worker.holdings import Holding, Holdings
    from uno_jobs.worker.identity import Identity
    from uno_jobs.worker.line import Line

logger = logging.getLogger("uno_jobs.worker")

EVERY: Final = 5.0
EVERY_POOLED: Final = 1.0
"""Where no notification tells of a cancellation."""


class Reconciler:
    """Compares every few seconds and whenever asked."""

    def __init__(
        self,
        line: Line,
        identity: Identity,
        holdings: Holdings,
        gate: asyncio.Lock,
        stop_job: Callable[[Holding], None],
        *,
        pooled: bool = False,
    ) -> None:
        self._line = line
        self._identity = identity
        self._holdings = holdings
        self._gate = gate
        self._stop_job = stop_job
        self._pooled = pooled
        self._asked = asyncio.Event()
        self._stopping = False
        self.rounds = 0
        """How many comparisons have been made."""

    def ask(self) -> None:
        """Compare soon: something is in doubt."""
        self._asked.set()

    def stop(self) -> None:
        """Compare no more."""
        self._stopping = True
        self._asked.set()

    async def run(self) -> None:
        """Compare until stopped."""
        while not self._stopping:
            try:
                async with asyncio.timeout(EVERY_POOLED if self._pooled else EVERY):
                    await self._asked.wait()
            except TimeoutError:
                pass
            self._asked.clear()
            if not self._stopping:
                await self._compare()

    async def _compare(self) -> None:
        # No claim may be under way: its rows would be in the database and not yet here.
        async with self._gate, self._line.turn:
            gateway = await self._line.get()
            before = self._holdings.by_lease().keys()
            me = self._identity.id
            try:
                if self._pooled:
                    # A restart of the server behind a pooler need not break a connection of ours.
                    await self._identity.on_connect(gateway)
                    me = self._identity.id
                rows = await gateway.held(me)
                known = self._holdings.known()
                lost = [row for row in rows if (row[0], row[1]) not in known]
                # What was sent while we asked is known no more, and its row is gone: look again before giving it up.
                if lost:
                    rows_now = {(row[0], row[1]) for row in await gateway.held(me)}
                    lost = [row for row in lost if (row[0], row[1]) in rows_now]
                if lost:
                    given = await gateway.hand_back(
                        me,
                        [row[0] for row in lost],
                        [row[1] for row in lost],
                        "the reply to its claim was lost",
                    )
                    logger.warning("jobs were claimed without a reply; handed back", extra={"jobs": len(given)})
            except LINE_TROUBLE as error:
                self._line.drop(error)
                self._asked.set()
                return
        if me != self._identity.id:
            self._asked.set()  # what was read is of an id that was given up meanwhile
            return
        granted = {(row[0], row[1]) for row in rows}
        running = self._holdings.by_lease()
        for key, holding in running.items():
            if key in before and key not in granted:
                self._disown(holding)
        for row in rows:
            holding = running.get((row[0], row[1])) if row[2] else None
            if holding is not None and holding.cancel_reason is None and committed_result(holding.job) is None:
                holding.cancel_reason = "cancelled on request"
                self._stop_job(holding)
        self.rounds += 1

    def _disown(self, holding: Holding) -> None:
        state = holding.job.transaction_state
        if holding.disowned or (state is not None and state.settled_here):
            return  # known, or its own transaction has ended it, or is about to
        holding.disowned = True
        logger.warning(
            "the lease of a running job is over; stopping it here",
            extra={"job_id": str(holding.job.id), "task": holding.job.task, "attempt": holding.job.attempt},
        )
        self._stop_job(holding)

"""What ``Queue`` does with a queue as a whole: pauses, resumes, weighs and purges it by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uno_jobs.queue.core import QueueCore
from uno_jobs.queue.moves import parse_reason
from uno_jobs.queue.steering import PURGE_BATCH, parse_weight
from uno_jobs.tasks.checks import flag, parse_queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.storage.connections.link import Steps, T


class SteeredQueue(QueueCore):
    """The part of ``Queue`` that is about queues and not about jobs; ``SyncQueue`` has the same, not awaited."""

    if TYPE_CHECKING:

        async def _by(self, connection: Any, steps: Callable[[bool], Steps[T]], *, whole: bool) -> T: ...

        async def _by_own(self, steps: Steps[T], *, whole: bool) -> T: ...

    async def pause_queue(
        self, queue: str, reason: str | None = None, *, create: bool = False, connection: Any = None
    ) -> bool:
        """Pause a queue: workers take nothing more from it, what runs goes on.

        Args:
            queue: The queue.
            reason: Why, for ``queue_status`` and ``uno-jobs explain``.
            create: Also where no setting, no living worker and no unfinished job names it.
            connection: As for ``enqueue``: the pause stands or falls with its transaction.

        Returns:
            False where it was paused already; nothing was changed then.

        Raises:
            QueueNotFound: There is no such queue; the message says which there are.
            InvalidOption: The name or the reason will not do.
        """
        name, why, force = parse_queue(queue), parse_reason(reason), flag(create, "create")
        return await self._by(
            connection, lambda _: self.pause_steps(name, why, create=force), whole=connection is not None
        )

    async def resume_queue(self, queue: str, *, connection: Any = None) -> bool:
        """Let workers take from a paused queue again; those that sleep are woken.

        Returns:
            False where it was not paused.

        Raises:
            QueueNotFound, InvalidOption: As ``pause_queue``.
        """
        name = parse_queue(queue)
        return await self._by(
            connection, lambda two_phase: self.resume_steps(name, two_phase=two_phase), whole=connection is not None
        )

    async def set_queue_weight(self, queue: str, weight: int, *, create: bool = False, connection: Any = None) -> None:
        """Give a queue its share of each worker's free slots beside other queues that have work: 1 to 100, else 1.

        Raises:
            QueueNotFound, InvalidOption: As ``pause_queue``.
        """
        name, share, force = parse_queue(queue), parse_weight(weight), flag(create, "create")
        await self._by(connection, lambda _: self.weigh_steps(name, share, create=force), whole=connection is not None)

    async def count_purgeable(self, queue: str) -> int:
        """Return how many jobs ``purge_queue`` would cancel now; every one is counted, which takes its time.

        Raises:
            QueueNotFound, InvalidOption: As ``pause_queue``.
        """
        return await self._by_own(self.count_purgeable_steps(parse_queue(queue)), whole=False)

    async def purge_queue(self, queue: str, reason: str | None = None, *, connection: Any = None) -> int:
        """Cancel all jobs of a queue that do not run; those enqueued meanwhile stay.

        Args:
            queue: The queue.
            reason: Why; kept with each job.
            connection: As for ``enqueue``: all in its transaction. Without it, 5,000 in each of as many as it takes.

        Returns:
            How many jobs were cancelled; those cancelled because they waited for one of them are not counted.

        Raises:
            QueueNotFound, InvalidOption: As ``pause_queue``.
        """
        name, why = parse_queue(queue), parse_reason(reason)
        if connection is not None:
            done = await self._by(
                connection, lambda two_phase: self.purge_steps(name, why, two_phase=two_phase), whole=True
            )
            return done[0]
        purged, before = 0, None
        while True:
            got, before = await self._by_own(
                self.purge_steps(name, why, two_phase=False, before=before, at_most=PURGE_BATCH), whole=False
            )
            if not got:
                return purged
            purged += got

"""How far a job's own transaction is: what the block, the run and the worker know of each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uno_jobs.context import Job


@dataclass(slots=True)
class TransactionState:
    """Belongs to one attempt; made when its first transaction is."""

    is_open: bool = False
    """A block is being worked on."""
    committing: bool = False
    """The commit is under way: the job's row may be gone, and nobody knows yet."""
    committed: str | None = None
    """The result, JSON text, once the success is durable."""
    lease_lost: bool = False
    """The attempt was over before its commit; whatever else comes of it is moot."""
    error_after_commit: str | None = None
    """What the task raised after the commit."""

    @property
    def settled_here(self) -> bool:
        """Whether the job's row may be missing although nobody took the job away."""
        return self.committing or self.committed is not None


def committed_result(job: Job) -> str | None:
    """Return the result, as JSON text, that the job's own transaction has committed; None: it has not."""
    state = job.transaction_state
    return None if state is None else state.committed

"""What jobs that run in this process can ask of their worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uno_jobs.transactions.ending import succeed_with_additions

if TYPE_CHECKING:
    from uno_jobs.context import Job
    from uno_jobs.runners.invocation import Plan, Plans
    from uno_jobs.transactions.source import Transactions
    from uno_jobs.worker.progress import ProgressWriter


class WorkerControl:
    """The ``JobControl`` of jobs on the worker's event loop and threads."""

    def __init__(self, progress: ProgressWriter, plans: Plans, transactions: Transactions) -> None:
        self._plans = plans
        self._transactions = transactions
        self.report_progress = progress.report_progress
        self.flush_progress = progress.flush_progress

    def plan(self, job: Job) -> Plan:
        """See ``JobControl``."""
        return self._plans.get(job.task, job.version)

    def transactions(self) -> Transactions:
        """See ``JobControl``."""
        return self._transactions

    async def succeed(self, job: Job, result: str) -> None:
        """See ``JobControl``."""
        await succeed_with_additions(job, result)

    def transaction_changed(self, job: Job) -> None:
        """See ``JobControl``: the worker reads it where it stands."""

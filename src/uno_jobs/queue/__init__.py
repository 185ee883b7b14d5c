"""Enqueueing: queues, handles and the process's default queue."""

from __future__ import annotations

from uno_jobs.queue.default import configure, get_default_queue, get_default_sync_queue
from uno_jobs.queue.handles import JobHandle, SyncJobHandle
from uno_jobs.queue.moves import CancelResult
from uno_jobs.queue.queue import Queue
from uno_jobs.queue.status import JobStatus
from uno_jobs.queue.sync import SyncQueue
from uno_jobs.queue.workflow_status import WorkflowGraph, WorkflowStatus, WorkflowStep

__all__ = [
    "CancelResult",
    "JobHandle",
    "JobStatus",
    "Queue",
    "SyncJobHandle",
    "SyncQueue",
    "WorkflowGraph",
    "WorkflowStatus",
    "WorkflowStep",
    "configure",
    "get_default_queue",
    "get_default_sync_queue",
]

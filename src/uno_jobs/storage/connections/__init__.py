"""Connections on which jobs are enqueued: adapters for what callers hand in, and the queue's own."""

from __future__ import annotations

from uno_jobs.storage.connections.adapt import adapt
from uno_jobs.storage.connections.link import AsyncLink, Rows, Statement, Steps, SyncLink
from uno_jobs.storage.connections.running import run, run_sync

__all__ = ["AsyncLink", "Rows", "Statement", "Steps", "SyncLink", "adapt", "run", "run_sync"]

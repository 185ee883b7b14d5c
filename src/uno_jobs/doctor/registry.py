"""The checks, in the order in which they are made and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from uno_jobs.doctor.capacity import connections, notify
from uno_jobs.doctor.clock import clock
from uno_jobs.doctor.drift import schema
from uno_jobs.doctor.pooler import pooler
from uno_jobs.doctor.queues import queues, versions
from uno_jobs.doctor.retention import retention
from uno_jobs.doctor.server import server
from uno_jobs.doctor.vacuum import snapshots, vacuum
from uno_jobs.doctor.waiting import waiting
from uno_jobs.doctor.workers import workers

if TYPE_CHECKING:
    from uno_jobs.doctor.check import Check

CHECKS: Final[tuple[Check, ...]] = (
    server, schema, pooler, clock, connections, workers, queues, versions, waiting, snapshots, vacuum, notify,
    retention,
)  # fmt: skip


def check_names() -> tuple[str, ...]:
    """Return the names of all checks, in order."""
    return tuple(one.name for one in CHECKS)

"""Lanes: the tasks of a worker by what limits how many of their jobs may run, each claimed for by itself."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from uno_jobs.runners.child.modules import can_be_imported
from uno_jobs.worker.floors import ScanFloors

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.runners.child.pool import Pool
    from uno_jobs.tasks.definition import Task
    from uno_jobs.tasks.registry import Registry
    from uno_jobs.worker.holdings import Holdings

logger = logging.getLogger("uno_jobs.worker")


class Lane:
    """Tasks that share a limit, and where the claims for them stand.

    Args:
        known: What is claimed, as ``name@version``.
        free: Says how many more jobs may be claimed now.
    """

    __slots__ = ("floors", "free", "known", "turn")

    def __init__(self, known: list[str], free: Callable[[], int]) -> None:
        self.known = known
        self.free = free
        self.floors = ScanFloors()
        self.turn = 0
        """How many claims there have been: the queues take turns at being the first."""


def make_lanes(
    registry: Registry, known: tuple[tuple[str, str], ...], holdings: Holdings, pool: Pool | None
) -> list[Lane]:
    """Return the lanes of a worker: one for what runs in its process, one for what runs in children, if there is any.

    Without a pool everything runs in the worker's process. Jobs that want a child which could not import their task are
    not claimed.
    """
    here: list[str] = []
    in_children: list[str] = []
    nowhere: set[Task[..., Any, Any]] = set()
    for name, version in known:
        task, _ = registry.resolve(name, version)
        if pool is None or task.config.runs_in != "process":
            here.append(f"{name}@{version}")
        elif can_be_imported(task):
            in_children.append(f"{name}@{version}")
        else:
            nowhere.add(task)
    for task in nowhere:
        module = task.function.__module__
        logger.warning("jobs of task %s are left to other workers: no child process could import %s", task, module)
    lanes: list[Lane] = []
    if in_children and pool is not None:
        lanes.append(Lane(in_children, lambda: min(pool.free, holdings.free)))
    if here or not lanes:
        lanes.append(Lane(here, lambda: holdings.free))
    return lanes

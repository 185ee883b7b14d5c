"""Which of its tasks a worker can run: not those whose limits cannot be held here."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from uno_jobs.runners.limits.limits import Limits, unsupported

if TYPE_CHECKING:
    from uno_jobs.tasks.registry import Registry
    from uno_jobs.worker.config import WorkerConfig

logger = logging.getLogger("uno_jobs.worker")


def able(registry: Registry, config: WorkerConfig) -> tuple[tuple[str, str], ...]:
    """Return each (name, version) that this worker runs, and say which it does not, or not within their limits.

    Jobs of a task whose limits cannot be held stay ready for a worker that can, unless ``allow_unlimited``.
    """
    known: list[tuple[str, str]] = []
    for name, version in registry.known():
        task, _ = registry.resolve(name, version)
        why = _unheld(Limits.of(task.config), config)
        if why is None or config.allow_unlimited:
            known.append((name, version))
        if why is not None and (name, version) == (task.config.name, task.config.version):
            _say(str(task), why, allowed=config.allow_unlimited)
    return tuple(known)


def _unheld(limits: Limits, config: WorkerConfig) -> str | None:
    if limits and config.child_processes == 0:
        return "limits need child processes, and this worker is to have none"
    return unsupported(limits)


def _say(task: str, why: str, *, allowed: bool) -> None:
    if allowed:
        logger.warning("task %s runs without its limits, as allowed: %s", task, why)
    else:
        logger.warning("jobs of task %s are not run here, since its limits cannot be held: %s", task, why)

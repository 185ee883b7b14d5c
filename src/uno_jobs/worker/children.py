"""The pool of child processes that a worker uses, by its configuration."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from uno_jobs.runners.child.modules import modules_of, wants_child
from uno_jobs.runners.child.pool import Pool, default_size
from uno_jobs.runners.child.protocol import ChildConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.tasks.registry import Registry
    from uno_jobs.worker.config import WorkerConfig


def make_pool(
    config: WorkerConfig,
    registry: Registry,
    freed: Callable[[], None],
    announce: Callable[[dict[str, Any]], None],
) -> Pool | None:
    """Return a worker's pool, not yet open; None if it is to have none.

    The children import what the worker was told to import; where it was told nothing, as inside somebody's program, the
    modules that its tasks' functions are from.
    """
    if config.child_processes == 0:
        return None
    told = ChildConfig(
        modules=config.app or modules_of(registry),
        path=tuple(sys.path),
        url=config.url,
        schema=config.schema,
        pooled=config.pooled,
        max_result_size=config.max_result_size,
        log_format=config.log_format,
        log_level=config.log_level,
    )
    return Pool(
        told,
        size=config.child_processes or default_size(),
        max_jobs=config.child_max_jobs,
        warm=any(wants_child(task) for task in registry.all()),
        freed=freed,
        announce=announce,
    )

"""The process's default queue: the one that was configured, else one made from the settings on first use."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from typing_extensions import TypeVar

from uno_jobs.errors import ConfigurationError
from uno_jobs.queue.queue import Queue
from uno_jobs.queue.sync import SyncQueue

if TYPE_CHECKING:
    from collections.abc import Generator

    from uno_jobs.queue.core import QueueCore

    Q = TypeVar("Q", bound=QueueCore)

_lock = threading.RLock()
_queue: Queue | None = None
_sync_queue: SyncQueue | None = None


def configure(queue: Queue | SyncQueue | None) -> None:
    """Make a queue the default of this process, for ``task.enqueue(...)`` and ``task.enqueue_sync(...)``.

    One of either colour serves for both: the other is made from the same database and settings.

    Args:
        queue: The queue; None: none, so that one is made from the settings again.

    Raises:
        ConfigurationError: It is no queue.
    """
    global _queue, _sync_queue
    if queue is not None and not isinstance(queue, Queue | SyncQueue):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
        raise ConfigurationError(f"configure() takes a Queue or a SyncQueue, not {queue!r}")
    with _lock:
        _queue = queue if isinstance(queue, Queue) else None
        _sync_queue = queue if isinstance(queue, SyncQueue) else None


@contextlib.contextmanager
def configured(queue: Queue | SyncQueue) -> Generator[None]:
    """Make a queue the default of this process for a block; afterwards it is what it was.

    Raises:
        ConfigurationError: It is no queue.
    """
    global _queue, _sync_queue
    before = _queue, _sync_queue
    configure(queue)
    try:
        yield
    finally:
        with _lock:
            _queue, _sync_queue = before


def get_default_queue() -> Queue:
    """Return the default queue.

    Raises:
        ConfigurationError: None was configured, and no setting names a database.
    """
    global _queue
    with _lock:
        if _queue is None:
            _queue = Queue() if _sync_queue is None else _twin(Queue, _sync_queue)
        return _queue


def get_default_sync_queue() -> SyncQueue:
    """Return the default queue for synchronous callers.

    Raises:
        ConfigurationError: None was configured, and no setting names a database.
    """
    global _sync_queue
    with _lock:
        if _sync_queue is None:
            _sync_queue = SyncQueue() if _queue is None else _twin(SyncQueue, _queue)
        return _sync_queue


def _twin(kind: type[Q], queue: QueueCore) -> Q:
    return kind(
        queue.database,
        schema=queue.schema,
        notify=queue.notify,
        max_payload_size=queue.max_payload_size,
        pooled=queue.pooled,
    )

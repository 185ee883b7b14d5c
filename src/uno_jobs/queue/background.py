"""An event loop on a thread of its own, on which synchronous queues use asynchronous connections."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

from uno_jobs.storage.connections.foreign import keep_foreign

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from uno_jobs.storage.connections.link import T

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_pid = 0


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop, and block until it is done."""
    future = asyncio.run_coroutine_threadsafe(work, _running_loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop, _pid
    with _lock:
        if _loop is not None and _pid == os.getpid():
            return _loop
        if _loop is not None:
            keep_foreign(_loop)
        _loop, _pid = asyncio.new_event_loop(), os.getpid()
        threading.Thread(target=_loop.run_forever, name="uno-jobs-sync-queue", daemon=True).start()
        return _loop


def _after_fork() -> None:
    """Another thread may have held the lock at the fork, and does not exist in the child."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)

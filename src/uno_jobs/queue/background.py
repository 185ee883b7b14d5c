"""An event loop on a thread of its own, on which synchronous queues use asynchronous connections."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, Protocol

from uno_jobs.storage.connections.foreign import keep_foreign

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from uno_jobs.storage.connections.link import T

AT_EXIT: Final = 2.0
"""Seconds that the connections have, together, to be closed when the program ends."""


class Closable(Protocol):
    """What has something open on the background loop."""

    async def close(self) -> None:
        """Close it."""
        ...


_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_pid = 0
_open: weakref.WeakSet[Closable] = weakref.WeakSet()


def close_at_exit(something: Closable) -> None:
    """Close something on the background loop when the program ends, if it is there still."""
    _open.add(something)


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


async def _close_all() -> None:
    """Spare the server a connection that breaks off; nobody is left to be told if that fails."""
    try:
        async with asyncio.timeout(AT_EXIT):
            await asyncio.gather(*(one.close() for one in list(_open)), return_exceptions=True)
    except TimeoutError:
        pass


def _at_exit() -> None:
    # In a child that never used it, the loop is the parent's.
    if _loop is not None and _pid == os.getpid():
        wait_for(_close_all())


def _after_fork() -> None:
    """Another thread may have held the lock at the fork, and does not exist in the child."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)

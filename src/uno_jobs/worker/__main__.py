"""The worker process, as a supervisor starts it: ``python -m uno_jobs.worker``."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.errors import (
    CodeTooOld,
    ConfigurationError,
    SchemaNotInstalled,
    SchemaTooOld,
    UnoJobsError,
    UnsupportedServer,
)
from uno_jobs.worker.config import ENVIRONMENT, WorkerConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

logger = logging.getLogger("uno_jobs.worker")

NOT_WORTH_A_RESTART: Final = 3
"""Exit status for what a new start would not mend."""
SAME_SIGNAL: Final = 1.0
"""Seconds within which signals count as one."""
LAST_WORDS: Final = 0.5
"""Seconds for what an application leaves running on the event loop."""
ORPHANED: Final = 4
"""Exit status of a worker whose supervisor is gone."""

COLLECT_AT: Final = 10_000
"""New objects after which the garbage collector looks at them, in place of Python's 700 to 2,000."""


class Control:
    """The socket to the supervisor: what happens here goes out, and its end means that the supervisor is gone."""

    def __init__(self, fd: int | None) -> None:
        self._socket = None if fd is None else socket.socket(fileno=fd)

    def announce(self, event: dict[str, Any]) -> None:
        """Tell the supervisor, if there is one."""
        if self._socket is not None:
            # A supervisor that is gone is noticed by the reader.
            with contextlib.suppress(OSError):
                self._socket.sendall(json.dumps(event).encode() + b"\n")

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop at once when the supervisor is gone: nobody beats for us, and others will run our jobs."""
        if self._socket is not None:
            self._socket.setblocking(True)
            loop.add_reader(self._socket.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        assert self._socket is not None
        try:
            gone = not self._socket.recv(4096, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            gone = True  # it died before it had read all that was said: that is a reset, not an end of file
        if gone:
            logger.error("the supervisor is gone; stopping at once")
            os._exit(ORPHANED)


class Signals:
    """Passes signals on, but those that come within a second of one another as one.

    systemd signals every process of a unit, and the supervisor passes its signal on as well: that is one request to
    stop, not a request and a second one to make haste.
    """

    def __init__(self, action: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self._action = action
        self._loop = loop
        self._last = float("-inf")

    def __call__(self) -> None:
        now = self._loop.time()
        if now - self._last >= SAME_SIGNAL:
            self._last = now
            self._action()


async def run(config: WorkerConfig, control: Control) -> None:
    """Run one worker until it is told to stop."""
    from uno_jobs.worker.worker import Worker

    worker = Worker(config, announce=control.announce)
    loop = asyncio.get_running_loop()
    obey = Signals(worker.drain, loop)
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_, obey)
    control.watch(loop)
    await worker.run()


def main() -> int:
    """Start a worker as its configuration says; returns the exit status."""
    from uno_jobs.logs import configure_logging
    from uno_jobs.tasks.discovery import discover_tasks

    thresholds = gc.get_threshold()
    config = WorkerConfig.from_json(os.environ[ENVIRONMENT])
    configure_logging(config.log_format, config.log_level)
    control = Control(config.control_fd)
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as python -m does
    try:
        if config.app:
            discover_tasks(list(config.app))
        _collect_rarely(thresholds)
        _run_loop(run(config, control))
    except (ConfigurationError, SchemaNotInstalled, SchemaTooOld, CodeTooOld, UnsupportedServer) as error:
        logger.error("the worker cannot start: %s", error)
        return NOT_WORTH_A_RESTART
    except UnoJobsError:
        logger.exception("the worker cannot start")
        return NOT_WORTH_A_RESTART
    return 0


def _collect_rarely(thresholds: tuple[int, int, int]) -> None:
    """Look for garbage less often, and never in what was imported, unless the application has its own mind about that.

    A busy worker makes some twenty objects a job that live until its outcome is stored; looking through them at every
    700 new ones was a tenth of its time.
    """
    if gc.isenabled() and gc.get_threshold() == thresholds:
        gc.freeze()
        gc.set_threshold(COLLECT_AT, *thresholds[1:])


def _run_loop(main_: Coroutine[Any, Any, None]) -> None:
    """Run to the end, and no longer: ``asyncio.run`` would wait for tasks that swallow cancellation, and for threads.

    Their jobs have been handed back by then, so that each further moment is one in which a job may run twice.
    """
    try:
        import uvloop
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main_)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=LAST_WORDS))


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    # Threads that would not stop must not keep a process whose jobs are in other hands.
    os._exit(status)

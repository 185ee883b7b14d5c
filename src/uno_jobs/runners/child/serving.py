"""The child's side: takes one job after another from its worker and runs it in the main thread.

The event loop is left while a synchronous function runs: it has the main thread to itself, where SIGTERM can interrupt
it, and may use an event loop of its own. There is no other thread, which a task that forks would have to fear.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import itertools
import logging
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.errors import Terminated, UnoJobsError
from uno_jobs.outcomes import Failed
from uno_jobs.runners.child.protocol import MAX_READ, ChildConfig, Lines, encode, pack_outcome, unpack_job
from uno_jobs.runners.invocation import Plans
from uno_jobs.runners.limits.inside import Bounds
from uno_jobs.runners.limits.limits import Limits
from uno_jobs.runners.records import record_error
from uno_jobs.transactions.ending import succeed_with_additions
from uno_jobs.transactions.source import Transactions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from uno_jobs.context import Job
    from uno_jobs.outcomes import Outcome
    from uno_jobs.runners.invocation import Plan

logger = logging.getLogger("uno_jobs.child")

CUT_OFF: Final = 4
"""Exit status of a child that can no longer speak with its worker while it has a job."""

Answered = tuple[Any, BaseException | None]


class Server:
    """Serves the worker at the other end of a socket; also the ``JobControl`` of the jobs that run here."""

    def __init__(self, config: ChildConfig, sock: socket.socket) -> None:
        self._socket = sock
        self._sending = threading.Lock()
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._outside = Outside(self._loop)
        self._plans = Plans(threads=self._outside, max_result_size=config.max_result_size, own_timeout=False)
        self._transactions = Transactions(config.url, config.schema, pooled=config.pooled)
        self._bounds = Bounds()
        self._job: Job | None = None
        self._task: asyncio.Task[None] | None = None
        self._lines = Lines()
        self._left = False
        self._flushes: dict[int, asyncio.Future[None]] = {}
        self._numbers = itertools.count()

    def serve(self) -> None:
        """Run jobs until the worker closes the socket."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        # A Ctrl-C in the terminal is the supervisor's to obey. Not SIG_IGN, which programs started here would inherit.
        signal.signal(signal.SIGINT, _ignore)
        os.register_at_fork(after_in_child=self._after_fork)
        self._loop.add_reader(self._socket.fileno(), self._listen)
        self._say({"say": "ready"})
        while not self._left:
            self._loop.run_forever()
            self._outside.call()
            self._end_if_forked()
        self._loop.run_until_complete(self._transactions.close())

    # --- the worker's words ---

    def _listen(self) -> None:
        """Take in what the worker has said."""
        try:
            data = self._socket.recv(MAX_READ, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            for message in self._lines.feed(data):
                self._heed(message)
        elif self._job is not None:
            os._exit(CUT_OFF)
        else:
            self._leave()

    def _heed(self, message: dict[str, Any]) -> None:
        match message["do"]:
            case "run":
                self._job = unpack_job(message["job"], self)
                self._start(self._job)
            case "cancel":
                job = self._job
                if job is not None and job.lease == message["lease"]:
                    job.cancel_requested = True
                    self._interrupt()
            case "flushed":
                self._flushed(message["number"])
            case other:
                raise AssertionError(f"the worker said {other!r}")

    def _leave(self) -> None:
        self._left = True
        self._loop.stop()

    # --- running ---

    def _start(self, job: Job) -> None:
        try:
            plan = self._plans.get(job.task, job.version)
        except UnoJobsError as error:
            self._end(job, Failed(record_error(error)))
            return
        # A context of its own: what a job sets there is not seen by the next.
        self._task = self._loop.create_task(self._run(plan, job), context=contextvars.copy_context())

    async def _run(self, plan: Plan, job: Job) -> None:
        outcome: Outcome | None
        self._bounds.apply(Limits.of(plan.options))
        try:
            outcome = await plan.perform(job)
        except asyncio.CancelledError:
            outcome = None
        except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt and the like are the job's error here
            outcome = Failed(record_error(error))
        peak = self._bounds.lift()
        self._end_if_forked()
        if outcome is not None and peak is not None:
            outcome = dataclasses.replace(outcome, peak_memory=peak)
        self._end(job, outcome)
        self._bounds.prepare()

    def _end(self, job: Job, outcome: Outcome | None) -> None:
        said = {"outcome": None, "values": None} if outcome is None else pack_outcome(outcome)
        self.transaction_changed(job)
        self._job = self._task = None
        self._say({"say": "ended", "lease": job.lease, "worn": not _standard_streams(), **said})

    def _on_sigterm(self, *_: object) -> None:
        # A service manager may send SIGTERM to every process; only the worker's word, which has come before, makes it
        # ours. The event loop hears that itself; while a function runs outside it, nobody else does.
        if self._outside.interruptible:
            self._listen()

    def _interrupt(self) -> None:
        if self._outside.interruptible:
            self._outside.interruptible = False
            raise Terminated("it was told to stop")
        if self._task is not None:
            self._task.cancel()

    # --- what jobs ask for ---

    def report_progress(self, job: Job, fraction: float, message: str) -> None:
        """Tell the worker; from any thread."""
        self._say({"say": "progress", "lease": job.lease, "fraction": fraction, "message": message})

    async def flush_progress(self, job: Job) -> None:
        """Return when the worker has all that was reported in the database."""
        number = next(self._numbers)
        done = self._flushes[number] = asyncio.get_running_loop().create_future()
        self._say({"say": "flush", "lease": job.lease, "number": number})
        await done

    def plan(self, job: Job) -> Plan:
        """Return the plan that the job runs by."""
        return self._plans.get(job.task, job.version)

    def transactions(self) -> Transactions:
        """Return where its own transaction comes from."""
        return self._transactions

    async def succeed(self, job: Job, result: str) -> None:
        """See ``JobControl``."""
        await succeed_with_additions(job, result)

    def transaction_changed(self, job: Job) -> None:
        """Tell the worker how far the job's own transaction is: it must know before the job's row is gone."""
        if job.transaction_state is not None:
            self._say({"say": "transaction", "lease": job.lease, "state": dataclasses.asdict(job.transaction_state)})

    def _flushed(self, number: int) -> None:
        done = self._flushes.pop(number)
        if not done.done():
            done.set_result(None)

    def _say(self, message: dict[str, Any]) -> None:
        data = encode(message)
        try:
            with self._sending:
                self._socket.sendall(data)
        except OSError:
            os._exit(0 if os.getpid() != self._pid else CUT_OFF)

    # --- forks ---

    def _after_fork(self) -> None:
        """What a task forks is not this child: it must not speak for it, nor keep the worker from seeing its end."""
        self._socket.close()
        self._sending = threading.Lock()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def _end_if_forked(self) -> None:
        if os.getpid() != self._pid:
            os._exit(0)


class Outside:
    """Runs synchronous functions in the main thread, outside the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: tuple[Callable[[], Any], asyncio.Future[Answered]] | None = None
        self.interruptible = False
        """Whether a function runs that a signal may interrupt."""

    async def run(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        job: Job | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Run a function, in a copy of the current context, and return what it returns; see ``Threads.run``."""
        context = contextvars.copy_context()
        answer: asyncio.Future[Answered] = self._loop.create_future()
        self._pending = (lambda: context.run(function, *args, **kwargs)), answer
        self._loop.stop()
        result, error = await answer
        if error is not None:
            raise error
        return result

    def call(self) -> None:
        """Run the function that waits, if one does."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        function, answer = pending
        result: Any = None
        raised: BaseException | None = None
        try:
            self.interruptible = True
            result = function()
            self.interruptible = False
        except BaseException as error:  # noqa: BLE001 - raised again where the run is awaited
            self.interruptible = False
            raised = error
        if not answer.done():
            answer.set_result((result, raised))


def _ignore(*_: object) -> None:
    """Do nothing at a signal."""


def _standard_streams() -> bool:
    """Write out what was printed, and say whether the standard streams are still there."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    try:
        for fd in (0, 1, 2):
            os.fstat(fd)
    except OSError:
        return False
    return True

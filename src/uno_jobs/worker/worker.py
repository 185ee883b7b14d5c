"""A worker: its parts put together, their start, their work and their orderly end."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any, Protocol

from uno_jobs.outcomes import Succeeded
from uno_jobs.runners.after_commit import late_end
from uno_jobs.runners.child.runner import ChildRunner
from uno_jobs.runners.hooks import run_hooks, wants_hooks
from uno_jobs.runners.invocation import Plans
from uno_jobs.runners.limits.limiter import Limiter
from uno_jobs.runners.thread import Threads
from uno_jobs.tasks.registry import TaskRegistry
from uno_jobs.transactions.source import Transactions
from uno_jobs.worker.abilities import able
from uno_jobs.worker.beater import Beater
from uno_jobs.worker.children import make_pool
from uno_jobs.worker.chores import Chores
from uno_jobs.worker.claimer import Claimer
from uno_jobs.worker.completer import Completer
from uno_jobs.worker.control import WorkerControl
from uno_jobs.worker.executor import Executor
from uno_jobs.worker.holdings import Holdings
from uno_jobs.worker.identity import Identity
from uno_jobs.worker.lanes import make_lanes
from uno_jobs.worker.line import LINE_TROUBLE, Line
from uno_jobs.worker.listener import Listener
from uno_jobs.worker.progress import ProgressWriter
from uno_jobs.worker.pruner import Pruner
from uno_jobs.worker.reconciler import Reconciler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from uno_jobs.storage.gateway import Gateway
    from uno_jobs.tasks.registry import Registry
    from uno_jobs.worker.config import WorkerConfig
    from uno_jobs.worker.holdings import Holding

logger = logging.getLogger("uno_jobs.worker")

CLEAN_UP = 2.0
"""Seconds of the grace kept for cancelling what is left and handing it back."""


CHILDREN_CLEAN_UP = 0.5
"""Seconds that a job in a child process has for its own clean-up then."""


class Part(Protocol):
    """A part of a worker: ``run`` until ``stop``."""

    async def run(self) -> None: ...

    def stop(self) -> None: ...


class Worker:
    """Runs jobs until told to stop: ``await Worker(config).run()``. Make it inside the event loop that it is to use.

    Args:
        config: What it serves, and where.
        registry: Its tasks; the registry in force, if none is given.
        announce: Told of registration, draining and the end, as a supervisor is.
    """

    def __init__(
        self,
        config: WorkerConfig,
        *,
        registry: Registry | None = None,
        announce: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        registry = registry or TaskRegistry.current()
        self.config = config
        self._announce = announce or _nobody
        self._limited = {name: limit for name, limit in config.queues if limit is not None}
        self.holdings = Holdings(config.concurrency, self._limited)
        known = able(registry, config)
        self.identity = Identity(config, self.holdings, registry, known, self._announce)
        self._lines: list[Line] = []
        self._threads = Threads(min(config.concurrency, 64))
        plans = Plans(threads=self._threads, max_result_size=config.max_result_size, registry=registry)
        # What is rare shares a connection: claims, outcomes and notifications have one each.
        self._side = side = self._line("chores")
        self.progress = ProgressWriter(side)
        self.completer = Completer(
            self._line("completer"), self.identity, self.holdings, self._durable, self._reconcile
        )
        self.pool = make_pool(config, registry, lambda: self.claimer.room(), self._announce)
        self._transactions = Transactions(config.url, config.schema, pooled=config.pooled)
        control = WorkerControl(self.progress, plans, self._transactions)
        self.limiter = Limiter(os.getppid() if config.supervisor_id else os.getpid())
        children = None
        if self.pool is not None:
            children = ChildRunner(self.pool, control, config.max_lost, self.limiter)
        self.executor = Executor(self.holdings, plans, control, self._ended, children)
        self._claim_line = self._line("claimer")
        self.claimer = Claimer(
            config,
            self._claim_line,
            self.identity,
            self.holdings,
            make_lanes(registry, known, self.holdings, self.pool),
            self.executor.dispatch,
            self._reconcile,
        )
        self.reconciler = Reconciler(
            side, self.identity, self.holdings, self.claimer.gate, self.executor.stop_job, pooled=config.pooled
        )
        self.pruner = Pruner(self._line("retention"))
        self.chores = Chores(side, self.identity, config.max_lost, self.claimer.wake, self._reconcile, self.pruner.lead)
        self._parts: list[Part] = [self.reconciler, self.chores, self.pruner, self.completer, self.progress]
        self.listener: Listener | None = None
        if not config.pooled:
            self.listener = Listener(
                self._line("listener"), [name for name, _ in config.queues], self.claimer.wake, self._reconcile
            )
            self._parts.append(self.listener)
        if not config.supervisor_id:
            self._parts.append(Beater(self._line("beat"), self.identity, self._reconcile))
        self._hooks: set[asyncio.Task[None]] = set()
        self._drain = asyncio.Event()
        self._abort = asyncio.Event()
        self.started = asyncio.Event()
        """Set when the worker is registered and claims."""

    def drain(self) -> None:
        """Claim no more, let running jobs end within the grace, then stop. A second call hands them back at once."""
        if self._drain.is_set():
            self._abort.set()
        self._drain.set()

    async def run(self) -> None:
        """Run until drained, or, with ``until_empty``, until there is nothing left to do.

        Cancelled, it hands back what it runs and stops at once.

        Raises:
            SchemaNotInstalled, SchemaTooOld, CodeTooOld, UnsupportedServer: This database is not for this code.
        """
        await self._claim_line.get()
        logger.info("worker started", extra={"worker_id": str(self.identity.id), "tasks": len(self.identity.known)})
        tasks = [asyncio.create_task(part.run(), name=type(part).__name__) for part in self._parts]
        if self.pool is not None:
            self.pool.open()
        claiming = asyncio.create_task(self.claimer.run(), name="Claimer")
        self.started.set()
        end: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._drain.wait()),
            asyncio.create_task(self.claimer.empty.wait()),
        ]
        everything: list[asyncio.Task[Any]] = [*tasks, claiming, *end]
        try:
            done, _ = await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
            _raise_first(done)
            if self.claimer.empty.is_set():
                await self._quietly(self._aside(self._say_what_is_paused))
            await self._shut_down(claiming, tasks)
        except asyncio.CancelledError:
            # Whoever gives up on a worker must not leave its jobs running under a name that nobody beats for.
            self.drain()
            self.drain()
            await self._shut_down(claiming, tasks)
            raise
        finally:
            for task in everything:
                task.cancel()
            await asyncio.gather(*everything, return_exceptions=True)
            if self.pool is not None:
                await self.pool.close(CLEAN_UP)
            await self.limiter.close()
            self._threads.close(wait=False)
            await self._transactions.close()
            for line in self._lines:
                await line.close()

    async def _shut_down(self, claiming: asyncio.Task[None], parts: list[asyncio.Task[None]]) -> None:
        now = asyncio.get_running_loop().time
        end = now() + self.config.grace
        self._announce({"event": "draining"})
        self.claimer.stop()
        if self.pool is not None:
            self.pool.drain()
        await self._quietly(self._set_state("draining"))
        await _until(claiming, self._abort, max(1.0, self.config.grace / 5))
        await self._finish_running(end - CLEAN_UP)
        # Everything is in the database before the process goes; if that is away, what is left is rescued later. The
        # completer stays to the last: a thread may still end while hooks run.
        await self._send_all(end if not self._abort.is_set() else now() + CLEAN_UP)
        if self._hooks:
            await asyncio.wait(self._hooks, timeout=CLEAN_UP)
        for part in self._parts:
            part.stop()
        await asyncio.wait(parts, timeout=CLEAN_UP)
        if self.pool is not None:
            await self.pool.close(CLEAN_UP)
        await self._hand_back_rest()
        await self._quietly(self._set_state("stopped"))
        self._announce({"event": "stopped"})
        logger.info("worker stopped", extra={"worker_id": str(self.identity.id)})

    async def _finish_running(self, deadline: float) -> None:
        """Let what runs end by itself until then, and cancel what is left."""
        while self.holdings.running and not self._abort.is_set():
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            self.holdings.changed.clear()
            change = asyncio.create_task(self.holdings.changed.wait())
            await _until(change, self._abort, left)
            change.cancel()
        if self.pool is not None:
            self.pool.hasten(0.0 if self._abort.is_set() else CHILDREN_CLEAN_UP)
        for holding in list(self.holdings.running):
            holding.hand_back_reason = "its worker was shut down"
            self.executor.stop_job(holding)
        runners = [one.runner for one in self.holdings.running if one.runner is not None]
        if runners:
            logger.warning("handing back jobs that did not end in time", extra={"jobs": len(runners)})
            await asyncio.wait(runners, timeout=CLEAN_UP / 2)

    async def _send_all(self, deadline: float) -> None:
        """Wait until every outcome is durable, but not longer than until then."""
        while self.holdings.unsent and (left := deadline - asyncio.get_running_loop().time()) > 0:
            self.holdings.changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self.holdings.changed.wait()
            except TimeoutError:
                return

    async def _hand_back_rest(self) -> None:
        """Threads that would not stop, and outcomes that could not be sent, are handed back as the last thing.

        Until then nobody else may run the jobs. What was recorded after all is protected by its lease.
        """
        left = [*self.holdings.running, *self.holdings.unsent]
        for holding in left:
            holding.disowned = True
        if left:
            ids, leases = [one.job.id for one in left], [one.job.lease for one in left]
            reason = "its worker was shut down"
            await self._quietly(self._aside(lambda gateway: gateway.hand_back(self.identity.id, ids, leases, reason)))

    async def _say_what_is_paused(self, gateway: Gateway) -> None:
        """It was to run until there is nothing left to do, and of a paused queue there is nothing to do."""
        for queue in await gateway.left_paused([name for name, _ in self.config.queues]):
            logger.warning("a paused queue keeps its jobs: the worker ends all the same", extra={"queue": queue})

    async def _set_state(self, state: str) -> None:
        await self._aside(lambda gateway: gateway.worker_state(self.identity.id, state))

    async def _aside(self, action: Callable[[Gateway], Awaitable[Any]]) -> None:
        async with self._side.turn:
            await self._side.call(action)

    async def _quietly(self, action: Any) -> None:
        """Do what is only good manners at the end, and give up on it when the database does not answer."""
        try:
            async with asyncio.timeout(3.0):
                await action
        except LINE_TROUBLE as error:
            logger.warning("the database did not answer while the worker stopped", extra={"error": str(error)})

    def _line(self, name: str) -> Line:
        line = Line(self.config.url, self.config.schema, name, self._on_connect, pooled=self.config.pooled)
        self._lines.append(line)
        return line

    async def _on_connect(self, gateway: Any) -> None:
        await self.identity.on_connect(gateway)
        if self.started.is_set():
            self.reconciler.ask()

    def _reconcile(self) -> None:
        self.reconciler.ask()

    def _ended(self, holding: Holding) -> None:
        state = holding.job.transaction_state
        if state is not None and state.lease_lost:
            holding.disowned = True
        self.holdings.ended(holding)
        if state is not None and state.committed is not None:
            self._ended_by_itself(holding, state.committed, state.error_after_commit)
        elif not holding.disowned:
            self.completer.submit(holding)
        if holding.job.queue in self._limited:
            self.claimer.wake()  # it may be asleep although there are slots: this queue had none left

    def _ended_by_itself(self, holding: Holding, result: str, late: str | None) -> None:
        """A job's own transaction has recorded its success: there is nothing to send but what came after it."""
        late = late or late_end(holding.outcome)
        holding.outcome = Succeeded(result)
        self.holdings.sent(holding)
        self._durable(holding)
        if late is not None:
            job, text = holding.job, late
            self._afterwards(self._aside(lambda gateway: gateway.set_error_after_commit(job.id, job.lease, text)))

    def _durable(self, holding: Holding) -> None:
        plan, outcome = holding.plan, holding.outcome
        if plan is None or outcome is None or not wants_hooks(plan.task, outcome):
            return
        self._afterwards(run_hooks(plan.task, holding.job, outcome, threads=self._threads))

    def _afterwards(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._hooks.add(task)
        task.add_done_callback(self._hooks.discard)


def _nobody(_: dict[str, Any]) -> None:
    """Hear an announcement when no supervisor does."""


def _raise_first(done: set[asyncio.Task[Any]]) -> None:
    for task in done:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def _until(task: asyncio.Future[Any], abort: asyncio.Event, seconds: float) -> None:
    """Wait for a task, but not longer than so many seconds, nor after an abort."""
    aborted = asyncio.ensure_future(abort.wait())
    try:
        await asyncio.wait({task, aborted}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        aborted.cancel()

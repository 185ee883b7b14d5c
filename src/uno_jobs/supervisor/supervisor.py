"""The supervisor: its parts put together, the signals it obeys, and the status it ends with."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import secrets
import signal
import uuid
from typing import TYPE_CHECKING, Final

from uno_jobs.supervisor import child
from uno_jobs.supervisor.children import Children
from uno_jobs.supervisor.heart import Heart
from uno_jobs.supervisor.reload import check_watched, watch_code
from uno_jobs.supervisor.rescuer import Rescuer
from uno_jobs.supervisor.slot import NOT_WORTH_A_RESTART, End, Slot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from uno_jobs.worker.config import SupervisorConfig

logger = logging.getLogger("uno_jobs.supervisor")

REFUSED: Final = NOT_WORTH_A_RESTART
"""Exit status when no worker could be started, for a reason that a new start would not mend."""
LAST_WORDS: Final = 5.0
"""Seconds for telling the database at the end of workers that are gone."""


class Supervisor:
    """Runs worker processes until told to stop: ``await Supervisor(config).run()``, in the main thread.

    Args:
        config: The workers' configuration, and how many of them.
        command: What a worker process runs.
    """

    def __init__(self, config: SupervisorConfig, *, command: Sequence[str] | None = None) -> None:
        self._config = config
        self._command = command or child.command("uno_jobs.worker")
        self._slots: list[Slot] = []
        self._signals = 0

    async def run(self) -> int:
        """Supervise until all workers have ended.

        Returns:
            0 if all ended as they should, 3 if none could be started, else 1.

        Raises:
            ConfigurationError: What is to be watched cannot be.
        """
        config = self._config
        check_watched(config.watch)
        # Random, and of this process alone: whoever sees it gone knows that this process is.
        key = None if config.worker.pooled else secrets.randbits(63)
        told = dataclasses.replace(config.worker, supervisor_id=str(uuid.uuid4()), lock_key=key)
        rescuer = Rescuer(told.url, told.schema, told.max_lost, pooled=told.pooled)
        with Children() as children:
            self._slots = [
                Slot(number, told, self._command, children, rescuer, reloads=bool(config.watch))
                for number in range(1, config.processes + 1)
            ]
            self._obey_signals()
            heart = Heart(told.url, told.schema, key, self._living, self._declared_dead, pooled=told.pooled)
            helpers = [asyncio.create_task(heart.run(), name="Heart")]
            if config.watch:
                helpers.append(asyncio.create_task(watch_code(config.watch, self._reload), name="Reload"))
            logger.info("supervisor started", extra={"processes": config.processes})
            try:
                ends = await self._run_slots(helpers)
                await rescuer.finish(LAST_WORDS)
            finally:
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
        logger.info("supervisor stopped")
        return exit_status(ends)

    async def _run_slots(self, helpers: list[asyncio.Task[None]]) -> list[End]:
        """Run the slots; a part beside them that fails, which none should, ends everything."""
        slots = asyncio.gather(*(slot.run() for slot in self._slots))
        watched: set[asyncio.Future[object]] = {slots, *helpers}  # pyright: ignore[reportAssignmentType] - invariance
        while not slots.done():
            done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for part in done - {slots}:
                if (error := part.exception()) is not None:
                    slots.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await slots
                    raise error
        return await slots

    def _obey_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for signal_ in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Under nohup a closed terminal is to change nothing.
            if signal_ != signal.SIGHUP or signal.getsignal(signal_) != signal.SIG_IGN:
                loop.add_signal_handler(signal_, self._stop, signal_)

    def _stop(self, signal_: signal.Signals) -> None:
        self._signals += 1
        what = "workers finish what they run" if self._signals == 1 else "workers hand back what they run"
        logger.info("%s: %s", signal_.name, what)
        for slot in self._slots:
            slot.stop()

    def _reload(self, files: int) -> None:
        logger.info("the code has changed; workers start anew", extra={"files": files})
        for slot in self._slots:
            slot.reload()

    def _living(self) -> list[uuid.UUID]:
        return [worker for slot in self._slots if (worker := slot.living) is not None]

    def _declared_dead(self, worker: uuid.UUID) -> None:
        for slot in self._slots:
            slot.declared_dead(worker)


def exit_status(ends: Sequence[End]) -> int:
    """Return the exit status that says how the slots ended."""
    if all(end is End.CLEAN for end in ends):
        return 0
    return REFUSED if all(end is End.REFUSED for end in ends) else 1

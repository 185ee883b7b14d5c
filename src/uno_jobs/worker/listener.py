"""The listener: one session that hears notifications and wakes whom they concern."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.worker.line import LINE_TROUBLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.storage.gateway import Gateway
    from uno_jobs.worker.line import Line

logger = logging.getLogger("uno_jobs.worker")

CHECK_EVERY: Final = 15.0
"""How often to see whether the session still answers: a silent network closes nothing."""


class Listener:
    """Listens on the schema's channel. Without it everything still works, by polling."""

    def __init__(self, line: Line, queues: list[str], ready: Callable[[], None], cancelled: Callable[[], None]) -> None:
        self._line = line
        self._queues = frozenset(queues)
        self._ready = ready
        self._cancelled = cancelled
        self._broken = asyncio.Event()
        self._stopping = False
        self.listening = asyncio.Event()

    def stop(self) -> None:
        """Listen no more."""
        self._stopping = True
        self._broken.set()

    async def run(self) -> None:
        """Listen until stopped, on one connection after another."""
        while not self._stopping:
            gateway = await self._line.get()
            self._broken.clear()
            try:
                await self._listen(gateway)
            except LINE_TROUBLE as error:
                self.listening.clear()
                self._line.drop(error)

    async def _listen(self, gateway: Gateway) -> None:
        connection = gateway.connection
        connection.add_termination_listener(self._on_end)
        await connection.add_listener(await gateway.channel(), self._on_notification)
        self.listening.set()
        self._ready()  # what was said before we listened was not heard
        while not self._stopping and not connection.is_closed():
            try:
                async with asyncio.timeout(CHECK_EVERY):
                    await self._broken.wait()
            except TimeoutError:
                await connection.fetchval("SELECT 1", timeout=5)
            else:
                if not self._stopping and connection.is_closed():
                    raise ConnectionError("the session was ended")

    def _on_end(self, _: Any) -> None:
        self._broken.set()

    def _on_notification(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        what, _, rest = payload.partition(" ")
        if what == "ready" and rest in self._queues:
            self._ready()
        elif what == "cancel":
            self._cancelled()

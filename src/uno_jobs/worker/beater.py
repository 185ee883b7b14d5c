"""The beat of a worker that has no supervisor: one that runs inside somebody's program or test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from uno_jobs.worker.line import LINE_TROUBLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.worker.identity import Identity
    from uno_jobs.worker.line import Line

EVERY: Final = 1.0


class Beater:
    """Says every second that the worker lives. A task that blocks the event loop stops it too."""

    def __init__(self, line: Line, identity: Identity, in_doubt: Callable[[], None]) -> None:
        self._line = line
        self._identity = identity
        self._in_doubt = in_doubt
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Beat no more."""
        self._stop.set()

    async def run(self) -> None:
        """Beat until stopped."""
        while not self._stop.is_set():
            gateway = await self._line.get()
            try:
                me = self._identity.id
                if me in await gateway.beat([me]):
                    # Taken for dead, since we stood still: our jobs are in other hands, and we go on as somebody else.
                    await self._identity.renew(gateway, me)
                    self._in_doubt()
            except LINE_TROUBLE as error:
                self._line.drop(error)
                continue
            try:
                async with asyncio.timeout(EVERY):
                    await self._stop.wait()
            except TimeoutError:
                pass

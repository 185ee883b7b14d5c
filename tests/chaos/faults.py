"""What can go wrong while workers work: each a coroutine that does it and returns when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from tests.chaos.eye import Eye
    from tests.chaos.trees import Tree
    from tests.postgres import Postgres
    from tests.proxy import Proxy

LIMIT = 60.0

SETTINGS = ("max_connections=200",)
"""Of the server, at every start."""


class Faults:
    """Faults against these process trees and this database, chosen by a seeded generator."""

    def __init__(self, chance: random.Random, trees: list[Tree], proxy: Proxy, server: Postgres, eye: Eye) -> None:
        self._chance = chance
        self._trees = trees
        self._proxy = proxy
        self._server = server
        self._eye = eye
        self.done: list[str] = []
        """The faults so far, for the record."""

    async def one(self) -> None:
        """Do one of them."""
        kinds: dict[Callable[[], Awaitable[None]], int] = {
            self.kill_a_worker: 4,
            self.kill_a_host: 2,
            self.kill_all: 1,
            self.kill_a_supervisor: 2,
            self.stop_a_worker: 2,
            self.deploy: 2,
            self.hurry: 1,
            self.drop_backends: 3,
            self.cut_the_network: 3,
            self.silence_the_network: 1,
            self.lose_a_reply: 4,
            self.restart_the_server: 2,
        }
        (fault,) = self._chance.choices(list(kinds), list(kinds.values()))
        self.done.append(fault.__name__)
        await fault()

    # --- processes ---

    async def kill_a_worker(self) -> None:
        if (worker := self._a_worker()) is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()

    async def kill_a_supervisor(self) -> None:
        tree = self._chance.choice(self._trees)
        assert tree.process is not None
        tree.process.kill()
        await tree.process.wait()
        await tree.start()

    async def kill_a_host(self) -> None:
        tree = self._chance.choice(self._trees)
        await tree.kill()
        await tree.start()

    async def kill_all(self) -> None:
        for tree in self._trees:
            await tree.kill()
        for tree in self._trees:
            await tree.start()

    async def stop_a_worker(self) -> None:
        """Let one stand still for a while, sometimes for so long that it is taken for dead."""
        seconds = self._chance.choice([0.5, 2.0, 20.0])
        if (worker := self._a_worker()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGSTOP)
                await asyncio.sleep(seconds)
                os.kill(worker.pid, signal.SIGCONT)

    async def deploy(self) -> None:
        tree = self._chance.choice(self._trees)
        await tree.terminate(LIMIT)
        await tree.start()

    async def hurry(self) -> None:
        """Two signals: everything is handed back at once."""
        tree = self._chance.choice(self._trees)
        assert tree.process is not None
        tree.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(1.2)  # signals within a second of one another are one
        if tree.process.returncode is None:
            await tree.terminate(LIMIT)
        await tree.process.wait()
        await tree.start()

    def _a_worker(self) -> psutil.Process | None:
        workers = self._chance.choice(self._trees).workers()
        return self._chance.choice(workers) if workers else None

    # --- the database and the way to it ---

    async def drop_backends(self) -> None:
        await self._eye.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'uno-jobs %' "
            "AND application_name <> 'uno-jobs queue'"  # that is the caller's, who is told by an error
        )

    async def cut_the_network(self) -> None:
        self._proxy.cut()

    async def silence_the_network(self) -> None:
        self._proxy.speaking.clear()
        await asyncio.sleep(self._chance.choice([1.0, 6.0]))
        self._proxy.cut()
        self._proxy.speaking.set()

    async def lose_a_reply(self) -> None:
        which = self._chance.choice(["claimer", "completer", "completer", "chores"])
        lost = self._proxy.lose_reply(f"uno-jobs {which}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(lost.wait(), 5.0)

    async def restart_the_server(self) -> None:
        """A fast or an immediate shutdown, or a crash; what was committed is there when it is back."""
        kind = self._chance.choice([signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
        await asyncio.to_thread(self._server.stop, kind)
        await asyncio.sleep(self._chance.choice([0.0, 1.0]))
        await asyncio.to_thread(self._server.start, *SETTINGS)

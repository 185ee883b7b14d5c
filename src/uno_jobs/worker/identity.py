"""Who a worker is: its present incarnation, made known to the database and to the supervisor."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import uuid
from typing import TYPE_CHECKING, Any

from uno_jobs.storage.schema import REVISION

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.storage.gateway import Gateway
    from uno_jobs.tasks.registry import Registry
    from uno_jobs.worker.config import WorkerConfig
    from uno_jobs.worker.holdings import Holdings

logger = logging.getLogger("uno_jobs.worker")


class Identity:
    """The worker's id, renewed when the server that it knew is gone.

    A server that crashed without its last commits, or a standby that was promoted, may have forgotten leases that this
    worker holds, and may grant them anew. So after each restart or failover the worker goes on under a new random id,
    and takes along what the server still believes that it runs.
    """

    def __init__(
        self,
        config: WorkerConfig,
        holdings: Holdings,
        registry: Registry,
        known: tuple[tuple[str, str], ...],
        announce: Callable[[dict[str, Any]], None],
    ) -> None:
        self.id = uuid.uuid4()
        self.known = [f"{name}@{version}" for name, version in known]
        self._config = config
        self._holdings = holdings
        self._registry = registry
        self._able = known
        self._announce = announce
        self._server: Any = None
        self._in_doubt: list[uuid.UUID] = []
        self._lock = asyncio.Lock()

    async def on_connect(self, gateway: Gateway) -> None:
        """Register when this is the first connection; renew the id when it leads to a server not seen before."""
        # Its start, not its address: one server may be reached by several.
        server = await gateway.connection.fetchval("SELECT pg_postmaster_start_time()")
        async with self._lock:
            if server == self._server:
                return
            if self._server is None:
                await self._register(gateway, self.id)
                self._announce({"event": "registered", "worker_id": str(self.id)})
            else:
                await self._renew(gateway, "the server was restarted")
            self._server = server

    async def renew(self, gateway: Gateway, me: uuid.UUID) -> None:
        """Go on under a new id, unless ``me`` is no longer the present one."""
        async with self._lock:
            if self.id == me:
                await self._renew(gateway, "it was taken for dead")

    async def _register(self, gateway: Gateway, worker: uuid.UUID) -> None:
        config = self._config
        await gateway.register(
            worker,
            uuid.UUID(config.supervisor_id) if config.supervisor_id else worker,
            config.lock_key,
            os.getpid(),
            socket.gethostname(),
            REVISION,
            config.concurrency,
            [name for name, _ in config.queues],
            json.dumps(describe(self._registry, self._able)),
        )

    async def _renew(self, gateway: Gateway, why: str) -> None:
        # A renewal may break off, and its commit may have happened all the same: the next one takes over from both.
        old, new = self.id, uuid.uuid4()
        predecessors = [old, *self._in_doubt]
        self._in_doubt.append(new)
        kept = handed_back = 0
        async with gateway.connection.transaction():
            await self._register(gateway, new)
            ids, leases = self._holdings.leases()
            for predecessor in predecessors:
                kept += len(await gateway.adopt(predecessor, new, ids, leases))
                # What is left under the old id was claimed without our having learnt of it.
                rest = await gateway.held(predecessor)
                reason = "the reply to its claim was lost"
                await gateway.hand_back(predecessor, [row[0] for row in rest], [row[1] for row in rest], reason)
                await gateway.worker_state(predecessor, "stopped", f"{why}; goes on as {new}")
                handed_back += len(rest)
        self.id = new
        self._in_doubt.clear()
        logger.warning(
            "going on under a new id: %s",
            why,
            extra={"worker_id": str(new), "previous": str(old), "kept": kept, "handed_back": handed_back},
        )
        self._announce({"event": "registered", "worker_id": str(new), "previous": str(old)})


def describe(registry: Registry, known: tuple[tuple[str, str], ...]) -> list[dict[str, Any]]:
    """Return what a worker records of the tasks that it can run."""
    from uno_jobs.tasks.versions import sort_text

    described: list[dict[str, Any]] = []
    own = {(task.config.name, task.config.version): task for task in registry.all()}
    for name, version in known:
        entry: dict[str, Any] = {"task": name, "version": version}
        task = own.get((name, version))
        if task is not None:
            entry |= task.record()
            entry["sort_key"] = sort_text(version)
        described.append(entry)
    return described

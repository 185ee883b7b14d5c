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
        announce: Callable[[dict[str, Any]], None],
    ) -> None:
        self.id = uuid.uuid4()
        self.known = [f"{name}@{version}" for name, version in registry.known()]
        self._config = config
        self._holdings = holdings
        self._registry = registry
        self._announce = announce
        self._server: tuple[Any, ...] | None = None
        self._lock = asyncio.Lock()

    async def on_connect(self, gateway: Gateway) -> None:
        """Register when this is the first connection; renew the id when it leads to a server not seen before."""
        row = await gateway.connection.fetchrow(
            "SELECT pg_postmaster_start_time(), inet_server_addr()::text, inet_server_port()"
        )
        server = tuple(row)
        async with self._lock:
            if server == self._server:
                return
            if self._server is None:
                await self._register(gateway)
                self._announce({"event": "registered", "worker_id": str(self.id)})
            else:
                await self._renew(gateway)
            self._server = server

    async def _register(self, gateway: Gateway) -> None:
        config = self._config
        await gateway.register(
            self.id,
            uuid.UUID(config.supervisor_id) if config.supervisor_id else self.id,
            config.lock_key,
            os.getpid(),
            socket.gethostname(),
            REVISION,
            config.concurrency,
            [name for name, _ in config.queues],
            json.dumps(describe(self._registry)),
        )

    async def _renew(self, gateway: Gateway) -> None:
        old, self.id = self.id, uuid.uuid4()
        await self._register(gateway)
        ids, leases = self._holdings.leases()
        moved = await gateway.adopt(old, self.id, ids, leases)
        # What is left under the old id was claimed without our having learnt of it.
        rest = await gateway.held(old)
        if rest:
            await gateway.hand_back(old, [r[0] for r in rest], [r[1] for r in rest], "the reply to its claim was lost")
        await gateway.worker_state(old, "stopped", f"the server was restarted; goes on as {self.id}")
        logger.warning(
            "the server was restarted or failed over; going on under a new id",
            extra={
                "worker_id": str(self.id),
                "previous": str(old),
                "kept": len(moved),
                "handed_back": len(rest),
            },
        )
        self._announce({"event": "registered", "worker_id": str(self.id), "previous": str(old)})


def describe(registry: Registry) -> list[dict[str, Any]]:
    """Return what a worker records of the tasks that it can run."""
    from uno_jobs.tasks.versions import sort_text

    described: list[dict[str, Any]] = []
    own = {(task.config.name, task.config.version): task for task in registry.all()}
    for name, version in registry.known():
        entry: dict[str, Any] = {"task": name, "version": version}
        task = own.get((name, version))
        if task is not None:
            entry |= task.record()
            entry["sort_key"] = sort_text(version)
        described.append(entry)
    return described

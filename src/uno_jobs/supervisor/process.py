"""One worker process: its start, what it says over its socket, and whether it can be said to live."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from uno_jobs.worker.config import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from uno_jobs.supervisor.children import Child, Children
    from uno_jobs.worker.config import WorkerConfig

logger = logging.getLogger("uno_jobs.supervisor")

SILENT: Final = 2.0
"""Seconds that a process whose socket is closed has for ending."""


class WorkerProcess:
    """A worker process that was started, from its first moment to its last."""

    def __init__(self, child: Child, ours: socket.socket) -> None:
        self.child = child
        self.ids: list[UUID] = []
        """Its incarnations, the present one last."""
        self.draining = False
        self.cause: str | None = None
        """Why we killed it, if we did."""
        self._groups: set[int] = set()
        self._socket = ours
        self._connected = True

    @classmethod
    def start(cls, children: Children, command: Sequence[str], config: WorkerConfig) -> WorkerProcess:
        """Start a worker process with its configuration.

        Raises:
            OSError: The system would not.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        told = dataclasses.replace(config, control_fd=theirs.fileno())
        try:
            child = children.start(command, os.environ | {ENVIRONMENT: told.to_json()}, pass_fd=theirs.fileno())
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(child, ours)

    @property
    def living(self) -> UUID | None:
        """The worker that lives in it, None if that cannot be said: not registered, standing still, or cut off."""
        if not self.ids or not self._connected or self.child.ended.done() or self.child.is_stopped():
            return None
        return self.ids[-1]

    def kill(self, cause: str) -> None:
        """End it at once."""
        if not self.child.ended.done():
            self.cause = self.cause or cause
            self.child.send(signal.SIGKILL)

    async def end(self) -> int:
        """Wait for its end, listening to it meanwhile; returns the exit status, negative for a signal."""
        listening = asyncio.create_task(self._listen())
        try:
            status = await asyncio.shield(self.child.ended)
            # What it said last is still to be read. A child of its own may hold the other end open.
            await asyncio.wait({listening}, timeout=1.0)
            return status
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
            self._kill_groups()

    async def _listen(self) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=self._socket)
        try:
            while line := await reader.readline():
                self._hear(json.loads(line))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            # A process killed in the middle of a line, or one that says what is no event.
            logger.debug("a worker's socket broke", extra={"pid": self.child.pid, "error": repr(error)})
        finally:
            self._connected = False
            writer.close()
        await asyncio.wait({self.child.ended}, timeout=SILENT)
        self.kill("it closed its socket to the supervisor and did not end")

    def _kill_groups(self) -> None:
        """Its children die with it, but not what these have started, each in a process group of its own."""
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        self._groups.clear()

    def _hear(self, event: dict[str, Any]) -> None:
        match event.get("event"):
            case "registered":
                self.ids.append(UUID(event["worker_id"]))
            case "child":
                self._groups.add(int(event["pid"]))
            case "child_ended":
                self._groups.discard(int(event["pid"]))
            case "draining":
                self.draining = True
            case "stopped":
                logger.debug("a worker has stopped", extra={"pid": self.child.pid})
            case other:
                logger.debug("a worker said something unknown", extra={"pid": self.child.pid, "said": str(other)})

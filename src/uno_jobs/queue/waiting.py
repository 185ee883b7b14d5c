"""Waiting for results: one listening connection serves all who wait in an event loop; polling is the truth."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

from uno_jobs.errors import DatabaseError, JobCancelled, JobFailed, JobNotFound, NotCommitted, ResultTimeout
from uno_jobs.queue.status import FINAL
from uno_jobs.storage.connections.failures import Translating
from uno_jobs.storage.connections.link import Statement
from uno_jobs.storage.connections.running import run
from uno_jobs.storage.schema import quote_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.storage.connections.link import Rows, Steps
    from uno_jobs.storage.connections.own import Own

logger = logging.getLogger("uno_jobs.queue")

POLL_HEARD: Final = 1.0
"""Seconds between two looks while notifications are heard."""

POLL_DEAF: Final = 0.2
"""Seconds between two looks while they are not."""

LISTEN_AGAIN: Final = 10.0
"""Seconds after which to try again to listen, where that failed."""

_LOOK = "SELECT state, result, error_type, error, traceback, failed_step::text FROM {schema}.job_end($1::text::uuid)"
_REGISTER = "SELECT {schema}.await_end($1::text::uuid, $2::text::uuid, $3::text::double precision)::text"
_LEAVE = "SELECT {schema}.await_no_more($1::text::uuid, $2::text::uuid)::text"


class Ended(NamedTuple):
    """How a job stands, of which only the end matters."""

    state: str
    result: str | None
    error_type: str | None
    error: str | None
    traceback: str | None
    failed_step: str | None
    """The step of its workflow whose failure ended it; the error is that one's."""


class Waiter:
    """Waits for jobs to end, in one event loop.

    Args:
        own: The queue's connections.
        schema: The schema of uno-jobs.
        listens: Whether to listen for notifications; behind a pooler none can be heard.
    """

    def __init__(self, own: Own, schema: str, *, listens: bool = True) -> None:
        self._own = own
        self._listens = listens
        self._translating = Translating(schema)
        self._sql = quote_schema(schema)
        self._id = str(uuid4())
        self._events: dict[str, set[asyncio.Event]] = {}
        self._asked: set[str] = set()
        """Jobs of which a row asks to be told of their end; gone when we have been told."""
        self._connection: Any = None
        self._connecting = asyncio.Lock()
        self._deaf_until = 0.0

    async def result(self, id_: str, timeout: float, *, handed_in: bool) -> str:
        """Wait until a job has ended and return its result as JSON.

        Args:
            id_: The job.
            timeout: Seconds to wait at most.
            handed_in: The job was enqueued in a transaction of the caller's, which may still be open.

        Raises:
            JobFailed, JobCancelled: It ended so.
            ResultTimeout: It has not ended in time.
            NotCommitted, JobNotFound: There is no such job to be seen.
        """
        ended = await self._look(id_)
        if ended is None:
            if handed_in:
                raise NotCommitted(
                    f"job {id_} cannot be seen: the transaction that enqueued it is still open or was rolled back; "
                    "commit it, then wait for the result"
                )
            raise JobNotFound(f"there is no job {id_}: it was never committed, or its record has been pruned")
        if ended.state not in FINAL:
            last = ended
            try:
                async with asyncio.timeout(timeout):
                    ended = await self._wait(id_, timeout)
            except TimeoutError:
                raise ResultTimeout(
                    f"job {id_} did not end within {timeout:g} s (it was {last.state} when the wait began); it goes on"
                ) from None
        return _unpack(id_, ended)

    async def close(self) -> None:
        """Stop listening."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            await connection.close(timeout=5)

    async def _wait(self, id_: str, timeout: float) -> Ended:
        event = asyncio.Event()
        self._events.setdefault(id_, set()).add(event)
        registered = False
        try:
            while True:
                event.clear()
                heard = False
                try:
                    heard = await self._listen()
                    if heard and not registered:
                        registered = True
                        self._asked.add(id_)  # before: what is cancelled may have been done
                        await self._do(_statement(self._sql, _REGISTER, id_, self._id, repr(timeout)))
                    # Looked at after registering: what ended before told nobody.
                    ended = await self._look(id_)
                except DatabaseError as error:
                    logger.debug("cannot look at a job; trying again", exc_info=error)
                else:
                    if ended is None:
                        raise JobNotFound(f"job {id_} has been removed")
                    if ended.state in FINAL:
                        return ended
                pause = (POLL_HEARD if heard else POLL_DEAF) * random.uniform(0.75, 1.25)  # noqa: S311 - spreads looks
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), pause)
        finally:
            events = self._events[id_]
            events.discard(event)
            if not events:
                del self._events[id_]
                if id_ in self._asked:
                    self._asked.discard(id_)
                    await self._leave(id_)

    async def _listen(self) -> bool:
        """Say whether notifications are heard; connect if need be."""
        if not self._listens or time.monotonic() < self._deaf_until:
            return False
        async with self._connecting:
            if self._connection is not None and not self._connection.is_closed():
                return True
            try:
                with self._translating:
                    connection = await self._own.listen()
                    try:
                        channel = await connection.fetchval(f"SELECT channel FROM {self._sql}.about()")
                        await connection.add_listener(channel, self._on_notification)
                    except BaseException:
                        connection.terminate()
                        raise
            except DatabaseError as error:
                self._deaf_until = time.monotonic() + LISTEN_AGAIN
                logger.info("no notifications of results; polling", exc_info=error)
                return False
            connection.add_termination_listener(self._on_end)
            self._connection = connection
            return True

    def _on_notification(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        what, _, id_ = payload.partition(" ")
        if what == "done" and id_ in self._events:
            self._asked.discard(id_)
            for event in self._events[id_]:
                event.set()

    def _on_end(self, _connection: Any) -> None:
        for events in self._events.values():
            for event in events:
                event.set()

    async def _leave(self, id_: str) -> None:
        """Take back the request: the job has not ended, or had when it was made."""
        try:
            async with asyncio.timeout(2):
                await self._do(_statement(self._sql, _LEAVE, id_, self._id))
        except (DatabaseError, TimeoutError) as error:
            logger.debug("could not take back a wait", exc_info=error)

    async def _look(self, id_: str) -> Ended | None:
        rows = await self._do(_statement(self._sql, _LOOK, id_))
        return Ended(*rows[0]) if rows else None

    async def _do(self, steps: Callable[[], Steps[Rows]]) -> Rows:
        with self._translating:
            async with self._own.link() as link:
                return await run(link, steps(), whole=False)


def _statement(sql: str, text: str, *args: str) -> Callable[[], Steps[Rows]]:
    def steps() -> Steps[Rows]:
        return (yield Statement(text.format(schema=sql), args))

    return steps


def _unpack(id_: str, ended: Ended) -> str:
    failed = id_ if ended.state == "failed" else ended.failed_step
    if failed is not None:
        which = f"job {id_}" if failed == id_ else f"job {failed}, a step of the workflow,"
        raise JobFailed(
            f"{which} failed: {ended.error_type}: {ended.error}",
            job_id=failed,
            error_type=ended.error_type,
            traceback=ended.traceback,
        )
    if ended.state == "cancelled":
        raise JobCancelled(f"job {id_} was cancelled{f': {ended.error}' if ended.error else ''}")
    return ended.result or "null"

"""Waits until a queue is drained, saying how far it is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.cli import output
from uno_jobs.cli.line import Line
from uno_jobs.errors import QueueNotFound

if TYPE_CHECKING:
    from uno_jobs.settings import Settings

EVERY: Final = 0.5
"""Seconds between looks."""
_LOAD: Final = """
    SELECT c.*, c.scheduled - c.due AS later, q.paused_at,
           (SELECT count(*) FROM {0}.living_workers() w WHERE c.queue = ANY (w.queues)) AS workers
    FROM {0}.queue_counts($1) c LEFT JOIN {0}.queue_settings q ON q.queue = c.queue
    """


async def drain(settings: Settings, url: str, queue: str, timeout: float | None) -> bool:
    """Wait until a queue is drained; False when the time was up before.

    Raises:
        QueueNotFound: There is no such queue.
    """
    import asyncio

    from uno_jobs.storage.schema import quote_schema
    from uno_jobs.storage.session import check_schema, connect

    sql = quote_schema(settings.schema)
    connection: Any = await connect(url, settings.schema, name="uno-jobs queues", pooled=settings.pooled)
    line = Line()
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        await check_schema(connection, settings.schema)
        if (missing := await connection.fetchval(f"SELECT {sql}.missing_queue($1)", queue)) is not None:
            raise QueueNotFound(missing)
        while True:
            row = await connection.fetchrow(_LOAD.format(sql), queue)
            paused = row["paused_at"] is not None
            left = row["running"] + (0 if paused else row["ready"] + row["due"])
            line.show(_describe(queue, row, paused))
            if not left:
                line.end()
                output.write(f"{queue} is drained{_rest(row, paused)}")
                return True
            if deadline is not None and time.monotonic() >= deadline:
                line.end()
                output.write(f"{queue} is not drained after {timeout:g} s: {_describe(queue, row, paused)}")
                return False
            wait = EVERY if deadline is None else min(EVERY, max(0.0, deadline - time.monotonic()))
            await asyncio.sleep(wait)
    finally:
        line.end()
        connection.terminate()


def _describe(queue: str, row: Any, paused: bool) -> str:
    parts = [f"{output.count(row['running'])} running"]
    if not paused:
        parts += [f"{output.count(row['ready'])} ready"]
        if row["due"]:
            parts.append(f"{output.count(row['due'])} due")
        if (row["ready"] or row["due"]) and not row["workers"]:
            parts.append("and no living worker serves it")
    return f"{queue}: {', '.join(parts)}"


def _rest(row: Any, paused: bool) -> str:
    """Name what was not waited for."""
    parts = [(row["ready"] + row["due"], "ready")] if paused else []
    parts += [(row["later"], "scheduled for later"), (row["waiting"], "waiting for others")]
    said = ", ".join(f"{output.count(number)} {what}" for number, what in parts if number)
    return f"; left in it{', paused' if paused else ''}: {said}" if said else ""

"""Run steps on a connection: in the caller's transaction, or in one of their own where there is none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from uno_jobs.storage.connections.link import AsyncLink, Steps, SyncLink, T

logger = logging.getLogger("uno_jobs.queue")

BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"


async def run(link: AsyncLink, steps: Steps[T], *, whole: bool) -> T:
    """Run steps on an opened link; what goes wrong is raised as the driver says it.

    Args:
        link: The connection, opened.
        steps: What to do.
        whole: Several statements that must stand or fall together: a connection without a transaction gets
            one. A transaction that is open is the caller's, and is left open.
    """
    if not (whole and link.idle):
        return await _answer(link, steps)
    await link.command(BEGIN)
    try:
        result = await _answer(link, steps)
        await link.command("COMMIT")
    except BaseException:
        try:
            await link.command("ROLLBACK")
        except Exception as error:
            logger.debug("could not roll back", exc_info=error)
        raise
    return result


def run_sync(link: SyncLink, steps: Steps[T], *, whole: bool) -> T:
    """Run steps on an opened link, as ``run`` does."""
    if not (whole and link.idle):
        return _answer_sync(link, steps)
    link.command(BEGIN)
    try:
        result = _answer_sync(link, steps)
        link.command("COMMIT")
    except BaseException:
        try:
            link.command("ROLLBACK")
        except Exception as error:
            logger.debug("could not roll back", exc_info=error)
        raise
    return result


async def _answer(link: AsyncLink, steps: Steps[T]) -> T:
    try:
        statement = next(steps)
        while True:
            statement = steps.send(await link.fetch(statement))
    except StopIteration as stop:
        return stop.value


def _answer_sync(link: SyncLink, steps: Steps[T]) -> T:
    try:
        statement = next(steps)
        while True:
            statement = steps.send(link.fetch(statement))
    except StopIteration as stop:
        return stop.value

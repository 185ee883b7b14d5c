"""Runs a command's asynchronous part, and turns what the database says into errors of uno-jobs."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from uno_jobs.errors import DatabaseError, InvalidOption, UnoJobsError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from uno_jobs.settings import Settings
    from uno_jobs.storage.inspection import Inspector

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, and return what it returns.

    Raises:
        InvalidOption: The database refused a value.
        DatabaseError: It refused something else, or went away.
    """
    import asyncio

    import asyncpg

    try:
        return asyncio.run(work)
    except asyncpg.DataError as error:
        raise InvalidOption(said(error)) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseError(f"the database's role may not do this: {said(error)}") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        raise DatabaseError(f"the database failed: {said(error)}") from error


def look(settings: Settings, question: Callable[[Inspector], Coroutine[Any, Any, T]]) -> T:
    """Ask a question of the database of the settings."""
    from uno_jobs.storage.inspection import inspect

    url = settings.database()

    async def ask() -> T:
        async with inspect(url, settings.schema, pooled=settings.pooled) as inspector:
            return await question(inspector)

    return run(ask())


@contextlib.contextmanager
def or_could_not_run() -> Generator[None]:
    """Let every expected error end the command with status 2, for commands whose 1 says that something is wrong."""
    try:
        yield
    except UnoJobsError as error:
        sys.stderr.write(f"uno-jobs: {error}\n")
        raise typer.Exit(2) from error


def said(error: BaseException) -> str:
    """Return an error's message on one line, with PostgreSQL's detail and hint if there are any."""
    message = str(getattr(error, "message", None) or error) or type(error).__name__
    parts = [message, getattr(error, "detail", None), getattr(error, "hint", None)]
    return ". ".join(" ".join(str(part).split()).removesuffix(".") for part in parts if part)

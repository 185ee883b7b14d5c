"""Options by which commands choose many jobs, and what they make of them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from uno_jobs.cli import asking
from uno_jobs.errors import InvalidOption

if TYPE_CHECKING:
    from uno_jobs.settings import Settings
    from uno_jobs.storage.bulk import Bulk

T = TypeVar("T")

States = Annotated[str | None, typer.Option("--state", help="Only those in these states, separated by commas.")]
Queue = Annotated[str | None, typer.Option("--queue", help="Only those of this queue.")]
Task = Annotated[str | None, typer.Option("--task", help="Only those of this task.")]
ErrorType = Annotated[str | None, typer.Option("--error-type", help="Only those whose error is of this class.")]
Since = Annotated[str | None, typer.Option("--since", help="Only those of the last 30m, 12h, 7d, …")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many.  [all]")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many, and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it.")]

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw])")
LONGEST: Final = timedelta(days=365_000)


def duration(text: str, name: str) -> timedelta:
    """Return the duration that an option gives: ``90s``, ``30m``, ``12h``, ``7d`` or ``2w``.

    Raises:
        InvalidOption: It is none, or longer than a thousand years.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise InvalidOption(
            f"{name} is a number and a unit (s, m, h, d or w), such as 30m, 12h or 7d, which {text!r} is not"
        )
    length = float(found[1]) * UNITS[found[2]]
    if length > LONGEST.total_seconds():
        raise InvalidOption(f"{name} is at most 1000 years, which {text!r} is not")
    return timedelta(seconds=length)


def states(text: str | None, allowed: tuple[str, ...], default: tuple[str, ...]) -> list[str]:
    """Return the states that an option names.

    Raises:
        InvalidOption: One is not among those allowed.
    """
    if text is None:
        return list(default)
    given = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for state in given:
        if state not in allowed:
            raise InvalidOption(f"--state is {', '.join(allowed[:-1])} or {allowed[-1]} here, not {state!r}")
    return given


def on_database(settings: Settings, work: Callable[[Bulk], Awaitable[T]]) -> T:
    """Open a connection, do work on it, and return what it returns."""

    async def run() -> T:
        from uno_jobs.storage.bulk import Bulk
        from uno_jobs.storage.session import check_schema, connect

        connection: Any = await connect(settings.database(), settings.schema, name="uno-jobs", pooled=settings.pooled)
        try:
            await check_schema(connection, settings.schema)
            return await work(Bulk(connection, settings.schema))
        finally:
            connection.terminate()

    return asking.run(run())

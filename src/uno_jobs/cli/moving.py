"""Moves jobs by their ids for a command: each in a transaction of its own, and what became of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from uno_jobs.cli import asking

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from uno_jobs.settings import Settings

    Move = Callable[[str, UUID, bool], "Asked"]

_SAID: Final = {
    "cancelled": "cancelled",
    "requested": "runs; it is asked to stop",
    "finished": "has ended already",
    "retried": "ready again",
    "succeeded": "has succeeded: {rule}",
    "unknown": "there is no such job",
    "parent": "waits for job {holder}, which did not succeed: retry that one",
    "moving": "changes hands at this moment: try again",
    "held": "another unfinished job holds its unique key: {holder}",
}

GOOD: Final = frozenset({"cancelled", "requested", "retried"})
"""Answers that say that what was asked for was done."""


class Asked(NamedTuple):
    """A statement, its parameters, and the answers that mean success."""

    statement: str
    args: tuple[Any, ...]
    good: frozenset[str]


class Moved(NamedTuple):
    """What became of a job: the function's answer, whether that is what was asked for, and a sentence."""

    id: UUID
    answer: str
    done: bool
    said: str


def cancel(schema: str, id_: UUID, reason: str | None, notify: bool) -> Asked:
    """Ask to cancel a job; ``schema`` is quoted."""
    return Asked(
        f"SELECT {schema}.try_cancel($1, $2, $3) AS answer, NULL AS holder",
        (id_, reason, notify),
        frozenset({"cancelled", "requested"}),
    )


def retry(schema: str, id_: UUID, notify: bool) -> Asked:
    """Ask to retry a job; ``schema`` is quoted."""
    return Asked(f"SELECT answer, holder FROM {schema}.try_retry($1, $2)", (id_, notify), frozenset({"retried"}))


def move(settings: Settings, ids: Sequence[UUID], how: Move) -> list[Moved]:
    """Move jobs, one after the other, so that one that cannot be moved stops none.

    Raises:
        InvalidOption, DatabaseError: As ``asking.run``.
    """
    return asking.run(_move(settings, settings.database(), ids, how))


def told(id_: UUID, answer: str, holder: UUID | None, good: frozenset[str] = GOOD) -> Moved:
    """Return what an answer of ``try_retry`` or ``try_cancel`` says of a job."""
    from uno_jobs.queue.moves import RETRYABLE

    said = _SAID.get(answer, f"is {answer}: {{rule}}")
    return Moved(id_, answer, answer in good, said.format(holder=holder, rule=RETRYABLE))


async def _move(settings: Settings, url: str, ids: Sequence[UUID], how: Move) -> list[Moved]:
    from uno_jobs.storage.schema import quote_schema
    from uno_jobs.storage.session import check_schema, connect

    connection: Any = await connect(url, settings.schema, name="uno-jobs jobs", pooled=settings.pooled)
    try:
        await check_schema(connection, settings.schema)
        moved: list[Moved] = []
        for id_ in ids:
            asked = how(quote_schema(settings.schema), id_, settings.notify)
            row: Any = await connection.fetchrow(asked.statement, *asked.args)
            moved.append(told(id_, row["answer"], row["holder"], asked.good))
        return moved
    finally:
        connection.terminate()

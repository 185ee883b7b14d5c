"""Pausing, resuming, weighing and purging a queue by its name: what is asked of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from uno_jobs.errors import InvalidOption, QueueNotFound
from uno_jobs.storage.connections.link import Statement
from uno_jobs.storage.schema import quote_schema

if TYPE_CHECKING:
    from uno_jobs.storage.connections.link import Rows, Steps

PURGE_BATCH: Final = 5_000
"""Jobs that a purge cancels in one transaction."""
HEAVIEST: Final = 100


def parse_weight(value: object) -> int:
    """Return a queue's weight.

    Raises:
        InvalidOption: It is not a whole number from 1 to 100.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= HEAVIEST:
        return value
    raise InvalidOption(f"weight must be a whole number from 1 to {HEAVIEST}, not {value!r}")


def find_queue(schema: str, queue: str, *, create: bool = False) -> Steps[None]:
    """Make sure that a queue exists, unless it is to be made.

    Asked for first: an error of the database's would break the caller's transaction.

    Raises:
        QueueNotFound: Nothing names it.
    """
    if create:
        return
    rows: Rows = yield Statement(f"SELECT {quote_schema(schema)}.missing_queue($1::text)", (queue,))
    missing = cast("str | None", rows[0][0])
    if missing is not None:
        raise QueueNotFound(missing)


def pause_queue(schema: str, queue: str, reason: str | None, *, create: bool) -> Steps[bool]:
    """Pause a queue; False where it was paused already."""
    yield from find_queue(schema, queue, create=create)
    rows: Rows = yield Statement(
        f"SELECT {quote_schema(schema)}.pause_queue($1::text, $2::text, true)::text", (queue, reason)
    )
    return rows[0][0] == "true"


def resume_queue(schema: str, queue: str, *, notify: bool) -> Steps[bool]:
    """Resume a queue; False where it was not paused."""
    yield from find_queue(schema, queue)
    rows: Rows = yield Statement(
        f"SELECT {quote_schema(schema)}.resume_queue($1::text, $2::text::boolean)::text", (queue, str(notify).lower())
    )
    return rows[0][0] == "true"


def weigh_queue(schema: str, queue: str, weight: int, *, create: bool) -> Steps[None]:
    """Give a queue its weight."""
    yield from find_queue(schema, queue, create=create)
    yield Statement(
        f"SELECT {quote_schema(schema)}.set_queue_weight($1::text, $2::text::integer, true)::text",
        (queue, str(weight)),
    )


def count_purgeable(schema: str, queue: str) -> Steps[int]:
    """Return how many jobs a purge would cancel now."""
    yield from find_queue(schema, queue)
    rows: Rows = yield Statement(f"SELECT {quote_schema(schema)}.count_purgeable($1::text)::text", (queue,))
    return int(cast("str", rows[0][0]))


def purge_queue(
    schema: str, queue: str, reason: str | None, before: str | None, at_most: int | None, *, notify: bool
) -> Steps[tuple[int, str]]:
    """Cancel jobs that do not run; returns how many, and the time up to which they were enqueued."""
    if before is None:  # later, the queue may be named by nothing any more
        yield from find_queue(schema, queue)
    sql = quote_schema(schema)
    rows: Rows = yield Statement(
        f"SELECT {sql}.purge_queue($1::text, $2::text, $3::text::integer, b.before, $4::text::boolean)::text, "
        f"b.before::text FROM (SELECT coalesce($5::text::timestamptz, {sql}.clock()) AS before) b",
        (queue, reason, None if at_most is None else str(at_most), str(notify).lower(), before),
    )
    return int(cast("str", rows[0][0])), cast("str", rows[0][1])

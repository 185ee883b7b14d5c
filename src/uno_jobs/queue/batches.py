"""Requests to statements: parallel arrays, a thousand jobs each; the same for one job as for many."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final, NamedTuple

from uno_jobs.errors import DuplicateJob
from uno_jobs.storage.connections.link import Statement
from uno_jobs.storage.schema import quote_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from uno_jobs.queue.requests import EnqueueRequest
    from uno_jobs.storage.connections.link import Rows, Steps, Value

CHUNK: Final = 1000
"""Jobs in a statement, at most."""

_SINGLE: Final = (
    "SELECT {schema}.enqueue_single($1::text::uuid, $2::text, $3::text, $4::text, $5::text::smallint, "
    "$6::text::jsonb, $7::text::jsonb, $8::text::jsonb, $9::text::boolean)::text"
)
_PLAIN: Final = (
    "SELECT {schema}.enqueue_plain($1::text[]::uuid[], $2::text[], $3::text[], $4::text[], $5::text[]::smallint[], "
    "$6::text[], $7::text[], $8::text[], $9::text[]::double precision[], $10::text[]::timestamptz[], "
    "$11::text[]::double precision[], $12::text::boolean)::text"
)
_ALIKE: Final = (
    "SELECT {schema}.enqueue_alike($1::text[]::uuid[], $2::text, $3::text, $4::text, $5::text::smallint, "
    "$6::text[], $7::text[], $8::text, $9::text::boolean)::text"
)
_CAREFUL: Final = (
    "SELECT place::text, id::text, is_duplicate::text, replaced::text FROM {schema}.enqueue_careful("
    "$1::text[]::uuid[], $2::text[]::boolean[], $3::text[], $4::text[], $5::text[], $6::text[]::smallint[], "
    "$7::text[], $8::text[], $9::text[], $10::text[]::double precision[], $11::text[]::timestamptz[], "
    "$12::text[]::double precision[], $13::text[], $14::text[], $15::text[]::boolean[], $16::text[], "
    "$17::text::boolean)"
)
# The order in which enqueue_careful takes keys, for more of them than one statement has.
_ORDER: Final = (
    "SELECT (place - 1)::text FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY "
    "AS n (task, key, args, place) ORDER BY task, coalesce(key, {schema}.unique_hash(args::jsonb)), place"
)


@functools.lru_cache(maxsize=64)
def _for_schema(statement: str, sql: str) -> str:
    return statement.format(schema=sql)


class Placed(NamedTuple):
    """What became of a request: the job that now stands for it."""

    id: str
    is_duplicate: bool = False
    replaced: bool = False


def needs_transaction(requests: Sequence[EnqueueRequest]) -> bool:
    """Say whether storing these is more than one statement, or one of which a part may have to be undone."""
    if len(requests) == 1:
        return False
    if len(requests) > CHUNK:
        return True
    careful = [request for request in requests if not request.options.plain]
    return 0 < len(careful) < len(requests) or any(request.options.on_duplicate == "raise" for request in careful)


def insert(schema: str, requests: Sequence[EnqueueRequest], *, notify: bool) -> Steps[list[Placed] | None]:
    """Store jobs; at most two statements for each thousand.

    Returns:
        What became of each, in order; None when all were plain, and so are what they say.

    Raises:
        DuplicateJob: One with ``on_duplicate="raise"`` met another job. The plain jobs were not yet stored;
            others that could meet another may have been.
    """
    sql = quote_schema(schema)
    careful = [place for place, request in enumerate(requests) if not request.options.plain]
    if not careful:
        yield from _insert_plain(sql, requests, notify)
        return None
    placed = [Placed(request.id) for request in requests]
    # Those first that may wait for others, or fail.
    yield from _insert_careful(sql, requests, careful, placed, notify)
    if len(careful) < len(requests):
        yield from _insert_plain(sql, [request for request in requests if request.options.plain], notify)
    return placed


def single(sql: str, request: EnqueueRequest, *, notify: bool) -> Statement | None:
    """Return the statement that stores one plain job which starts at once; None: it is not one."""
    options, id_, args, kwargs, _, _ = request
    if not (options.plain and options.at_once):
        return None
    wake = "true" if notify else "false"
    return Statement(
        _for_schema(_SINGLE, sql),
        (id_, options.task, options.version, options.queue, options.priority, args, kwargs, options.metadata, wake),
    )


def _insert_plain(sql: str, requests: Sequence[EnqueueRequest], notify: bool) -> Steps[None]:
    if len(requests) == 1 and (statement := single(sql, requests[0], notify=notify)) is not None:
        yield statement
        return
    wake = "true" if notify else "false"
    for start in range(0, len(requests), CHUNK):
        chunk = requests[start : start + CHUNK]
        if chunk[0].options.at_once and _alike(chunk):
            yield Statement(_for_schema(_ALIKE, sql), (*_alike_columns(chunk), wake))
        else:
            yield Statement(_for_schema(_PLAIN, sql), (*_columns(chunk), wake))


def _insert_careful(
    sql: str, requests: Sequence[EnqueueRequest], places: list[int], placed: list[Placed], notify: bool
) -> Steps[None]:
    # Ids without a key are taken in their order, so that two bulks cannot deadlock over them either.
    keyed = [place for place in places if requests[place].options.unique]
    places = keyed + sorted(
        (place for place in places if not requests[place].options.unique), key=lambda place: requests[place].id
    )
    if len(places) > CHUNK:
        asked = [requests[place] for place in places]
        rows: Rows = yield Statement(
            _for_schema(_ORDER, sql),
            ([r.options.task for r in asked], [r.unique_key for r in asked], [r.unique_args for r in asked]),
        )
        places = [places[int(row[0])] for row in rows]
    statement = _for_schema(_CAREFUL, sql)
    for start in range(0, len(places), CHUNK):
        some = places[start : start + CHUNK]
        chunk = [requests[place] for place in some]
        ids, *rest = _columns(chunk)
        rows = yield Statement(
            statement,
            (
                ids,
                ["false" if r.options.id is None else "true" for r in chunk],
                *rest,
                [r.unique_key for r in chunk],
                [r.unique_args for r in chunk],
                ["true" if r.options.key_until_start else "false" for r in chunk],
                [r.options.on_duplicate for r in chunk],
                "true" if notify else "false",
            ),
        )
        for place, id_, is_duplicate, replaced in rows:
            at = some[int(place) - 1]
            placed[at] = Placed(id_, is_duplicate == "true", replaced == "true")
        _refuse_duplicates(requests, some, placed)


def _refuse_duplicates(requests: Sequence[EnqueueRequest], places: list[int], placed: list[Placed]) -> None:
    for place in places:
        options = requests[place].options
        if placed[place].is_duplicate and options.on_duplicate == "raise":
            held = "has this id" if options.id == placed[place].id else "is unfinished and holds this key"
            advice = "" if len(requests) == 1 else ": roll back, since others of this call may have been stored"
            raise DuplicateJob(
                f"job {placed[place].id} of task {options.task!r} {held}{advice}", job_id=placed[place].id
            )


def _alike(chunk: Sequence[EnqueueRequest]) -> bool:
    # What is joined once is one object; an application that makes many equal ones only loses the shortcut.
    first = chunk[0].options
    return all(request.options is first for request in chunk)


def _alike_columns(chunk: Sequence[EnqueueRequest]) -> tuple[Value, ...]:
    """Return ids, task, version, queue, priority, args, kwargs, metadata, as enqueue_alike takes them."""
    options = chunk[0].options
    kwargs = [request.kwargs for request in chunk]
    return (
        [request.id for request in chunk],
        options.task,
        options.version,
        options.queue,
        options.priority,
        [request.args for request in chunk],
        None if kwargs.count("{}") == len(kwargs) else kwargs,
        options.metadata,
    )


def _columns(chunk: Sequence[EnqueueRequest]) -> tuple[Sequence[str | None] | None, ...]:
    """Return ids, tasks, …, metadata, delays, run_at, expires, as enqueue_plain takes them; null for all default."""
    first = chunk[0].options
    ids = [request.id for request in chunk]
    args = [request.args for request in chunk]
    kwargs = [request.kwargs for request in chunk]
    if _alike(chunk):
        n = len(chunk)
        shared = [first.task], [first.version], [first.queue], [first.priority]
        rest = (
            None if one is None else [one] * n for one in (first.metadata, first.delay, first.run_at, first.expires)
        )
        return ids, *(one * n for one in shared), args, kwargs, *rest
    options = [request.options for request in chunk]
    return (
        ids,
        [one.task for one in options],
        [one.version for one in options],
        [one.queue for one in options],
        [one.priority for one in options],
        args,
        kwargs,
        _sparse([one.metadata for one in options]),
        _sparse([one.delay for one in options]),
        _sparse([one.run_at for one in options]),
        _sparse([one.expires for one in options]),
    )


def _sparse(values: list[str | None]) -> list[str | None] | None:
    return values if any(value is not None for value in values) else None

"""A long bulk in a transaction of its own: the server stores a thousand jobs while the next thousand are checked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, cast

from uno_jobs.queue import batches
from uno_jobs.queue.requests import EnqueueRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from uno_jobs.queue.call import Call
    from uno_jobs.queue.requests import ByName, Requested, Requests
    from uno_jobs.storage.connections.link import Steps

    Resolve = Callable[[Sequence[EnqueueRequest | ByName]], Steps[list[EnqueueRequest]]]

QUICK: Final = 0.05
"""Seconds in which a thousand jobs are checked, unless an application's own validators take longer."""


def read_first(requests: Requests, items: Sequence[object]) -> tuple[Requested, Iterator[Requested] | None]:
    """Check the first thousand of many jobs, or all of them if that takes long.

    Returns:
        What was checked, and what gives the rest; None: nothing is left. An open transaction does not wait for slow
        validators.
    """
    chunks = requests.chunks(list(items), batches.CHUNK)
    begun = time.perf_counter()
    first = next(chunks)
    if time.perf_counter() - begun < QUICK:
        return first, chunks
    for chunk in chunks:
        _extend(first, chunk)
    return first, None


def insert(schema: str, call: Call, resolve: Resolve, *, notify: bool) -> Steps[list[batches.Placed] | None]:
    """Store the jobs of a call whose rest has not been read, and add what is read to it.

    From the first thousand on in which a job may meet others, or has a task that must be looked up, the rest is stored
    as any bulk is.

    Returns, raises: As ``batches.insert``; and whatever is wrong with a job that had not been checked.
    """
    unread = call.unread
    assert unread is not None
    chunk: Sequence[EnqueueRequest | ByName] = call.requests[:]
    stored = 0
    while all(isinstance(request, EnqueueRequest) and request.options.plain for request in chunk):
        yield from batches.insert_plain(schema, cast("list[EnqueueRequest]", chunk), notify=notify, ahead=True)
        stored += len(chunk)
        following = next(unread, None)
        if following is None:
            return None
        chunk = following[0]
        _extend((call.requests, call.tasks), following)
    for following in unread:
        _extend((call.requests, call.tasks), following)
    rest = yield from resolve(call.requests[stored:])
    call.requests[stored:] = rest
    placed = yield from batches.insert(schema, rest, notify=notify)
    requests = cast("list[EnqueueRequest]", call.requests)
    return [batches.Placed(request.id) for request in (requests[:stored] if placed else requests)] + (placed or [])


def _extend(requested: Requested, more: Requested) -> None:
    for whole, part in zip(requested, more, strict=True):
        cast("list[object]", whole).extend(part)

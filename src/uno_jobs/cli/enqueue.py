"""``uno-jobs enqueue``: one job, through the SQL function that triggers and other languages use too."""

from __future__ import annotations

import datetime
import json as json_
import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uno_jobs.cli import asking, options, output
from uno_jobs.errors import EnqueueError, InvalidArguments, InvalidOption, PayloadTooLarge, TaskNotFound

if TYPE_CHECKING:
    from uno_jobs.settings import Settings


def enqueue(
    task: Annotated[str, typer.Argument(help="The task's name.")],
    args: Annotated[str, typer.Option("--args", help="Positional arguments, a JSON array.")] = "[]",
    kwargs: Annotated[str, typer.Option("--kwargs", help="Keyword arguments, a JSON object.")] = "{}",
    version: Annotated[str | None, typer.Option("--version", help="The task's version.  [the highest]")] = None,
    queue: Annotated[str | None, typer.Option("--queue", help="The queue.  [the task's]")] = None,
    priority: Annotated[
        str | None, typer.Option("--priority", help="critical, high, normal, low, or 0 to 9 (lower runs first).")
    ] = None,
    delay: Annotated[float | None, typer.Option("--delay", help="Seconds to wait.")] = None,
    run_at: Annotated[
        str | None, typer.Option("--run-at", help="Earliest start, as 2030-01-31T12:00:00+01:00.")
    ] = None,
    expires: Annotated[
        float | None, typer.Option("--expires", help="Seconds after which it is cancelled if it has not started.")
    ] = None,
    unique_key: Annotated[
        str | None, typer.Option("--unique-key", help="Add nothing while a job of this key is unfinished.")
    ] = None,
    metadata: Annotated[str | None, typer.Option("--metadata", help="A JSON object to go with the job.")] = None,
    database_url: options.DatabaseUrl = None,
    schema: options.Schema = None,
    json: options.Json = False,
) -> None:
    """Enqueue one job and print its id (or that of the unfinished job that has its unique key)."""
    settings = options.settings(database_url=database_url, schema=schema)
    given: dict[str, Any] = {
        "task": task,
        "args": _parsed(args, "--args", list),
        "kwargs": _parsed(kwargs, "--kwargs", dict),
        "version": version,
        "queue": queue,
        "priority": priority,
        "delay": _duration(delay, "--delay"),
        "run_at": _time(run_at),
        "expires": _duration(expires, "--expires"),
        "unique_key": unique_key,
        "metadata": None if metadata is None else _parsed(metadata, "--metadata", dict),
        "notify": settings.notify,
    }
    if delay is not None and run_at is not None:
        raise InvalidOption("give --delay or --run-at, not both")
    size = sum(len(given[name].encode()) for name in ("args", "kwargs", "metadata") if given[name] is not None)
    if size > settings.max_payload_size:
        raise PayloadTooLarge(
            f"arguments and metadata have {size} bytes, more than max_payload_size ({settings.max_payload_size}): "
            "store the data elsewhere and pass a reference"
        )
    id_ = asking.run(_enqueue(settings, settings.database(), given))
    if json:
        output.write_json({"id": id_})
    else:
        output.write(id_)


async def _enqueue(settings: Settings, url: str, given: dict[str, Any]) -> str:
    import asyncpg

    from uno_jobs.storage.schema import quote_schema
    from uno_jobs.storage.session import check_schema, connect

    connection = await connect(url, settings.schema, name="uno-jobs enqueue", pooled=settings.pooled)
    try:
        await check_schema(connection, settings.schema)
        arguments = ", ".join(f"{name} => ${place}" for place, name in enumerate(given, 1))
        statement = f"SELECT {quote_schema(settings.schema)}.enqueue({arguments})"
        return str(await connection.fetchval(statement, *given.values()))
    except asyncpg.UndefinedObjectError as error:
        raise TaskNotFound(asking.said(error)) from error
    except asyncpg.UniqueViolationError as error:
        raise EnqueueError(asking.said(error)) from error
    finally:
        connection.terminate()


def _parsed(text: str, option: str, kind: type[list[Any]] | type[dict[str, Any]]) -> str:
    """Return a JSON text that has been found to be one of the kind."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        value = json_.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidArguments(f"{option} is not JSON: {error}") from error
    if not isinstance(value, kind):
        wanted = "a JSON array, as in '[1, \"a\"]'" if kind is list else "a JSON object, as in '{\"a\": 1}'"
        raise InvalidArguments(f"{option} must be {wanted}")
    return text


def _duration(seconds: float | None, option: str) -> datetime.timedelta | None:
    if seconds is None:
        return None
    try:
        if math.isfinite(seconds) and seconds >= 0:
            return datetime.timedelta(seconds=seconds)
    except OverflowError:
        pass
    raise InvalidOption(f"{option} must be a number of seconds from 0 to some thousand years, not {seconds:g}")


def _time(text: str | None) -> datetime.datetime | None:
    if text is None:
        return None
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidOption(
            f"--run-at must be a time such as 2030-01-31T12:00:00+01:00, which {text!r} is not"
        ) from error
    if time.tzinfo is None:
        raise InvalidOption(f"--run-at needs an offset, as in {text}+00:00 or {text}Z")
    return time

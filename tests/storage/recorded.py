"""Tasks as a worker records them, and calls of the SQL functions that enqueue them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uno_jobs.tasks import TaskRegistry, task
from uno_jobs.worker.identity import describe

if TYPE_CHECKING:
    import uuid

    import asyncpg

    from tests.storage.lab import Lab


def define() -> list[dict[str, Any]]:
    """Return what a worker with these tasks records of them."""
    with TaskRegistry.isolated() as registry:

        @task(queue="mail", priority="high", expires=3600)
        async def send(to: str, subject: str = "Hello", *, copies: int = 1) -> None: ...

        @task
        async def many(first: int, /, *rest: int, **options: str) -> None: ...

        @task(unique=True)
        async def once(a: int, b: list[int] = [1, 2], options: dict | None = None) -> None: ...  # noqa: B006 - part of the test

        @task(unique=True, unique_until="started")
        async def until_start(a: int) -> None: ...

        @task(unique=True, unique_key="the one", on_duplicate="raise")
        async def fixed(a: int) -> None: ...

        @task(unique=True, unique_key=lambda user: f"user-{user}")
        async def keyed(user: int, other: int = 0) -> None: ...

        for version in ("1.9", "1.10", "1.2", "1.10-beta"):

            @task(name="versioned", version=version)
            async def versioned() -> None: ...

        return describe(registry, registry.known())


async def enqueue(lab: Lab, name: str, on: Any = None, **given: Any) -> uuid.UUID:
    """Call the function by named arguments, each value written as a literal."""
    named = "".join(f", {key} => {value}" for key, value in given.items())
    return await (on or lab.eye).fetchval(f"SELECT uno_jobs.enqueue('{name}'{named})")


async def job(lab: Lab, id_: uuid.UUID) -> asyncpg.Record:
    return await lab.one("SELECT * FROM uno_jobs.job_status WHERE id = $1", id_)


async def bulk(
    on: Any,
    ids: list[uuid.UUID],
    keys: list[str] | None = None,
    on_duplicate: str = "return",
    args: list[str] | None = None,
) -> list[asyncpg.Record]:
    """Enqueue in bulk, by keys, or by ids of the caller's."""
    count = len(ids)
    nothing = [None] * count
    return await on.fetch(
        "SELECT * FROM uno_jobs.enqueue_careful($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,"
        " false)",
        ids,
        [keys is None] * count,
        ["t"] * count,
        ["1"] * count,
        ["default"] * count,
        [5] * count,
        args or ["[]"] * count,
        ["{}"] * count,
        nothing,
        nothing,
        nothing,
        nothing,
        keys or nothing,
        nothing,
        [False] * count,
        [on_duplicate] * count,
    )

"""Sessions for the tests of the SQL: some play workers, one looks on. Waiting is for what the server shows."""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid
from typing import TYPE_CHECKING, Any

import uuid_utils.compat as uuids

from uno_jobs.storage.gateway import Gateway
from uno_jobs.storage.schema import DEFAULT_SCHEMA, quote_schema, render
from uno_jobs.storage.session import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    import asyncpg

LIMIT = 30.0
"""Seconds after which a wait has failed: many times what it takes."""

KNOWN = ("t@1",)
"""What the workers of the tests can run: version 1 of the task t."""


class Hand:
    """A session that plays a worker: it claims and remembers the leases."""

    def __init__(self, connection: Any, schema: str = DEFAULT_SCHEMA) -> None:
        self.connection = connection
        self.gateway = Gateway(connection, schema)
        self.id = uuid.uuid4()
        self.leases: dict[UUID, int] = {}
        self.reports: dict[tuple[str, int], list[tuple[int | None, int]]] = {}

    async def claim(
        self,
        slots: int = 100,
        queues: Sequence[str] = ("default",),
        *,
        limits: Sequence[int] | None = None,
        floors: dict[tuple[str, int], int] | None = None,
        known: Sequence[str] = KNOWN,
    ) -> list[asyncpg.Record]:
        """Claim; returns the jobs in the order in which the worker starts them, and keeps the reports of scans."""
        lease = secrets.randbits(63)
        rows = await self.gateway.claim(
            self.id,
            lease,
            slots,
            list(queues),
            list(limits or [slots] * len(queues)),
            [(floors or {}).get((queue, priority), 0) for queue in queues for priority in range(10)],
            list(known),
        )
        jobs = [row for row in rows if row["id"] is not None]
        self.reports = {}
        for row in rows:
            if row["id"] is None:
                self.reports.setdefault((row["queue"], row["priority"]), []).append((row["seq"], row["scan_us"]))
        self.leases.update((job["id"], lease) for job in jobs)
        return sorted(jobs, key=lambda job: (job["priority"], job["seq"]))

    async def succeed(self, ids: Iterable[UUID], result: str = "null") -> dict[UUID, str]:
        """Send successes; returns the fates of those that were not recorded."""
        ids = list(ids)
        rows = await self.gateway.finish(
            self.id, ids, [self.leases.get(id_, 0) for id_ in ids], [result] * len(ids), "[]"
        )
        return {row["id"]: row["fate"] for row in rows}

    async def end(self, ids: UUID | Iterable[UUID], outcome: str, **more: Any) -> dict[UUID, str]:
        """Send other ends; returns the fates of those that were not recorded."""
        ids = [ids] if isinstance(ids, uuid.UUID) else list(ids)
        others = [{"id": str(id_), "lease": self.leases.get(id_, 0), "outcome": outcome, **more} for id_ in ids]
        rows = await self.gateway.finish(self.id, [], [], [], json.dumps(others))
        return {row["id"]: row["fate"] for row in rows}

    async def hand_back(self, *ids: UUID) -> set[UUID]:
        return await self.gateway.hand_back(self.id, ids, [self.leases[id_] for id_ in ids], "stopping")

    async def register(self, *queues: str, tasks: str = "[]", lock_key: int | None = None) -> None:
        await self.gateway.register(self.id, self.id, lock_key, 1, "here", 1, 10, list(queues or ["default"]), tasks)


class Lab:
    """One database of uno-jobs and the sessions of a test on it."""

    def __init__(self, url: str, schema: str, eye: Any) -> None:
        self.url = url
        self.schema = schema
        self.eye = eye
        """The session that puts jobs in and looks on; in no transaction between calls."""
        self._sessions = [eye]

    @classmethod
    async def open(cls, url: str, schema: str = DEFAULT_SCHEMA) -> Lab:
        return cls(url, schema, await connect(url, schema))

    async def close(self) -> None:
        for session in self._sessions:
            session.terminate()

    async def session(self) -> Any:
        """Another connection."""
        self._sessions.append(await connect(self.url, self.schema))
        return self._sessions[-1]

    async def hand(self) -> Hand:
        """Another worker."""
        return Hand(await self.session(), self.schema)

    async def put(
        self,
        count: int = 1,
        *,
        queue: str = "default",
        priority: int = 5,
        task: str = "t",
        version: str = "1",
        args: str = "[]",
        delay: float | None = None,
        expires: float | None = None,
        notify: bool = True,
        on: Any = None,
    ) -> list[UUID]:
        """Enqueue jobs that are neither unique nor have an id of the caller's."""
        ids = [uuids.uuid7() for _ in range(count)]
        await (on or self.eye).execute(
            f"SELECT {quote_schema(self.schema)}.enqueue_plain($1, $2, $3, $4, $5, $6, $7, NULL, $8, NULL, $9, $10)",
            ids,
            [task] * count,
            [version] * count,
            [queue] * count,
            [priority] * count,
            [args] * count,
            ["{}"] * count,
            None if delay is None else [delay] * count,
            None if expires is None else [expires] * count,
            notify,
        )
        return ids

    async def put_unique(
        self, key: str, *, on: Any = None, on_duplicate: str = "return", until_start: bool = False, args: str = "[]"
    ) -> asyncpg.Record:
        """Enqueue one job with a unique key; returns (place, id, is_duplicate, replaced)."""
        return await (on or self.eye).fetchrow(
            f"SELECT * FROM {quote_schema(self.schema)}.enqueue_careful("
            "ARRAY[$1::uuid], ARRAY[false], ARRAY['t'], ARRAY['1'], ARRAY['default'], ARRAY[5::smallint],"
            " ARRAY[$2::text], ARRAY['{}'], ARRAY[NULL::text], ARRAY[NULL::float8],"
            " ARRAY[NULL::timestamptz], ARRAY[NULL::float8],"
            " ARRAY[$3::text], ARRAY[NULL::text], ARRAY[$4::boolean], ARRAY[$5::text], false)",
            uuids.uuid7(),
            args,
            key,
            until_start,
            on_duplicate,
        )

    async def one(self, query: str, *args: Any) -> asyncpg.Record:
        row = await self.eye.fetchrow(render(query, self.schema), *args)
        assert row is not None
        return row

    async def live(self, id_: UUID) -> asyncpg.Record | None:
        return await self.eye.fetchrow(f"SELECT * FROM {quote_schema(self.schema)}.live_jobs WHERE id = $1", id_)

    async def outcome(self, id_: UUID) -> asyncpg.Record | None:
        return await self.eye.fetchrow(f"SELECT * FROM {quote_schema(self.schema)}.outcomes WHERE id = $1", id_)

    async def ended(self, id_: UUID) -> tuple[str, str | None]:
        """Return the state and the error of a job that is over."""
        assert await self.live(id_) is None
        outcome = await self.outcome(id_)
        assert outcome is not None
        return outcome["state"], outcome["error"]

    async def attempts(self, id_: UUID) -> list[str]:
        """Return how a job's attempts ended, the first one first."""
        rows = await self.eye.fetch(
            f"SELECT outcome FROM {quote_schema(self.schema)}.attempts WHERE job_id = $1 ORDER BY attempt", id_
        )
        return [row["outcome"] for row in rows]

    async def states(self) -> dict[str, int]:
        """Return how many jobs are in which state."""
        rows = await self.eye.fetch(
            f"SELECT state::text, count(*) FROM {quote_schema(self.schema)}.job_status GROUP BY state"
        )
        return dict(rows)

    async def ask_to_cancel(self, id_: UUID, reason: str | None = None) -> None:
        await self.eye.execute(
            "INSERT INTO uno_jobs.cancel_requests (job_id, requested_at, reason) VALUES ($1, now(), $2)", id_, reason
        )

    async def cancel(self, id_: UUID, reason: str | None = None, *, notify: bool = True, on: Any = None) -> str:
        return await (on or self.eye).fetchval(
            f"SELECT {quote_schema(self.schema)}.cancel($1, $2, $3)", id_, reason, notify
        )

    async def retry(self, id_: UUID, *, notify: bool = True, on: Any = None) -> None:
        await (on or self.eye).execute(f"SELECT {quote_schema(self.schema)}.retry($1, $2)", id_, notify)

    async def apply_cancellations(self, limit: int = 100) -> int:
        return await self.eye.fetchval(f"SELECT {quote_schema(self.schema)}.apply_cancellations($1)", limit)

    async def requests(self) -> dict[UUID, str | None]:
        """Return the requests to cancel, and their reasons."""
        rows = await self.eye.fetch(f"SELECT job_id, reason FROM {quote_schema(self.schema)}.cancel_requests")
        return dict(rows)

    async def blocked(self, session: Any) -> None:
        """Return when a session waits for a lock."""
        await self.until(
            "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1", session.get_server_pid()
        )

    async def until(self, query: str, *args: Any) -> None:
        """Return when a query answers true."""
        async with asyncio.timeout(LIMIT):
            while not await self.eye.fetchval(query, *args):
                await asyncio.sleep(0.002)

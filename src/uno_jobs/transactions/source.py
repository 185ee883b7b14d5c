"""Where the connections of jobs' transactions come from: engines of this process, made when first asked for."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Final, cast

from uno_jobs.errors import DatabaseUnavailable, InvalidOption, TransactionNotAvailable
from uno_jobs.storage.session import TASK_SETTINGS, connect_for_tasks, translate_errors, whole
from uno_jobs.storage.urls import hide_password, plain_url
from uno_jobs.transactions.resources import AsyncpgResource, PsycopgResource, SessionResource
from uno_jobs.transactions.sync_resources import SyncPsycopgResource, SyncSessionResource

if TYPE_CHECKING:
    from collections.abc import Generator

    import asyncpg
    from sqlalchemy.engine import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from uno_jobs.transactions.resources import AsyncResource
    from uno_jobs.transactions.sync_resources import SyncResource

    Loop = asyncio.AbstractEventLoop

MAX_CONNECTIONS: Final = 10
"""Connections of each kind in one process, at most; a job that wants one more waits."""

ENGINE: Final[dict[str, Any]] = {
    "isolation_level": "READ COMMITTED",
    "pool_size": MAX_CONNECTIONS,
    "max_overflow": 0,
    "pool_timeout": None,
    "pool_pre_ping": True,
}

NAME: Final = "uno-jobs transaction"

KINDS: Final = ("session", "asyncpg", "psycopg")


class Transactions:
    """Opens transactions for the jobs of one process. Nothing is imported or connected until the first one.

    Args:
        url: The database.
        schema: The schema of uno-jobs.
        pooled: The URL is a transaction pooler's.
    """

    def __init__(self, url: str, schema: str, *, pooled: bool = False) -> None:
        self.url = url
        self.schema = schema
        self.pooled = pooled
        self._async_engines: dict[Loop, AsyncEngine] = {}
        self._asyncpg_pools: dict[Loop, asyncpg.Pool[asyncpg.Record]] = {}
        self._async_places: dict[Loop, asyncio.Semaphore] = {}
        self._engine: Engine | None = None
        self._places = threading.Semaphore(MAX_CONNECTIONS)
        self._lock = threading.Lock()

    def asynchronous(self, kind: str) -> AsyncResource:
        """Return the resource of an asynchronous task, not begun.

        Raises:
            TransactionNotAvailable: The driver is not installed.
        """
        if kind == "session":
            return SessionResource(self._async_engine())
        if kind == "asyncpg":
            return AsyncpgResource(self._asyncpg_pool())
        places = self._async_places.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(MAX_CONNECTIONS))
        psycopg = _psycopg("kind='psycopg'")
        return PsycopgResource(lambda: self._connect_async(psycopg), places)

    def synchronous(self, kind: str) -> SyncResource:
        """Return the resource of a synchronous task, not begun.

        Raises:
            InvalidOption: There is no such kind for synchronous tasks.
            TransactionNotAvailable: The driver is not installed.
        """
        if kind == "session":
            psycopg = _psycopg("in a synchronous task")
            return SyncSessionResource(self._sync_engine(psycopg))
        if kind == "psycopg":
            psycopg = _psycopg("kind='psycopg'")
            return SyncPsycopgResource(lambda: self._connect(psycopg, autocommit=True), self._places)
        raise InvalidOption("job.transaction(kind='asyncpg') is for asynchronous tasks: here, write kind='psycopg'")

    async def close(self) -> None:
        """Close what was opened, as far as this event loop may."""
        self._async_places.pop(asyncio.get_running_loop(), None)
        pool = self._asyncpg_pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            pool.terminate()  # whoever still holds a connection of it runs a job that is over
        engine = self._async_engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            await engine.dispose()
        with self._lock:
            sync_engine, self._engine = self._engine, None
        if sync_engine is not None:
            await asyncio.to_thread(sync_engine.dispose)

    def _asyncpg_pool(self) -> asyncpg.Pool[asyncpg.Record]:
        loop = asyncio.get_running_loop()
        pool = self._asyncpg_pools.get(loop)
        if pool is None:
            import asyncpg

            pool = self._asyncpg_pools[loop] = asyncpg.create_pool(
                min_size=0,
                max_size=MAX_CONNECTIONS,
                connect=cast("Any", self._connect_asyncpg),
                # A pooler's session is anybody's: to reset it would not reset ours.
                reset=_nothing if self.pooled else None,
            )
        return pool

    def _async_engine(self) -> AsyncEngine:
        loop = asyncio.get_running_loop()
        engine = self._async_engines.get(loop)
        if engine is None:
            engine = self._async_engines[loop] = self._make_async_engine()
        return engine

    def _make_async_engine(self) -> AsyncEngine:
        from sqlalchemy.ext.asyncio import create_async_engine

        options: dict[str, Any] = {"async_creator_fn": self._connect_asyncpg}
        if self.pooled:
            # Two transactions may run in two sessions: nothing prepared in one is there in the other.
            options |= {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}

        def connect() -> Any:
            driver: Any = engine.dialect.dbapi
            return driver.connect(**options)

        engine = create_async_engine("postgresql+asyncpg://", creator=connect, **ENGINE)
        return engine

    def _sync_engine(self, psycopg: Any) -> Engine:
        with self._lock:
            if self._engine is None:
                from sqlalchemy import create_engine

                self._engine = create_engine(
                    "postgresql+psycopg://",
                    creator=lambda: self._connect(psycopg),
                    **ENGINE,
                )
            return self._engine

    async def _connect_asyncpg(self, *_: Any, **__: Any) -> Any:
        return await connect_for_tasks(self.url, name=NAME, pooled=self.pooled)

    def _connect(self, psycopg: Any, *, autocommit: bool = False) -> Any:
        with translate_errors(hide_password(self.url)), _translate(psycopg, self.url):
            return psycopg.connect(autocommit=autocommit, **self._parameters(psycopg))

    async def _connect_async(self, psycopg: Any) -> Any:
        with translate_errors(hide_password(self.url)), _translate(psycopg, self.url):
            opening = psycopg.AsyncConnection.connect(autocommit=True, **self._parameters(psycopg))
            # Cancelled in the middle, psycopg leaves it to the garbage collector, which an error's frames keep waiting.
            return await whole(opening, lambda connection: connection.pgconn.finish())

    def _parameters(self, psycopg: Any) -> dict[str, Any]:
        given: dict[str, Any] = psycopg.conninfo.conninfo_to_dict(plain_url(self.url))
        given |= {"application_name": NAME, "connect_timeout": given.get("connect_timeout", 10)}
        if self.pooled:
            return {**given, "prepare_threshold": None}
        ours = " ".join(f"-c {name}={value}" for name, value in TASK_SETTINGS.items())
        return {**given, "options": " ".join(filter(None, (given.get("options"), ours)))}


async def _nothing(_: object) -> None:
    """Leave a connection as it is; its transaction is over."""


def _psycopg(where: str) -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise TransactionNotAvailable(
            f"job.transaction() {where} needs psycopg: pip install 'uno-jobs[psycopg]' ({error})"
        ) from error
    return psycopg


@contextlib.contextmanager
def _translate(psycopg: Any, url: str) -> Generator[None]:
    try:
        yield
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"{hide_password(url)} cannot be reached: {error}") from error

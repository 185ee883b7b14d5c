"""Choose the adapter of what a caller hands in as connection, importing no library that the caller has not."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, Final, Literal

from uno_jobs.errors import UnsupportedConnection, WrongColour

if TYPE_CHECKING:
    from uno_jobs.storage.connections.link import AsyncLink, SyncLink

    Colour = Literal["async", "sync"]

ASYNC: Final = "an AsyncSession or AsyncConnection of SQLAlchemy, an asyncpg connection or a psycopg AsyncConnection"
SYNC: Final = "a Session or Connection of SQLAlchemy or a psycopg Connection"


def adapt(connection: object) -> AsyncLink:
    """Return the link to a connection that is used with await.

    Raises:
        WrongColour: It is a synchronous one.
        UnsupportedConnection: It is none that can be used.
    """
    colour, link = _find(connection)
    if colour == "sync":
        raise WrongColour(
            f"{_describe(connection)} is synchronous: use SyncQueue (or task.enqueue_sync) with it, or hand in {ASYNC}"
        )
    return link


def adapt_sync(connection: object) -> SyncLink:
    """Return the link to a connection that is used without await.

    Raises:
        WrongColour: It is an asynchronous one.
        UnsupportedConnection: It is none that can be used.
    """
    colour, link = _find(connection)
    if colour == "async":
        raise WrongColour(
            f"{_describe(connection)} is asynchronous: use Queue (or await task.enqueue) with it, or hand in {SYNC}"
        )
    return link


def _find(connection: Any) -> tuple[Colour, Any]:
    if _is(connection, "uno_jobs.transactions.opened", "AsyncTransaction", "SyncTransaction"):
        connection = connection.handle
    if _is(connection, "sqlalchemy.ext.asyncio", "async_scoped_session") or _is(
        connection, "sqlalchemy.orm", "scoped_session"
    ):
        connection = connection.registry()
    if _is(connection, "sqlalchemy.ext.asyncio", "AsyncSession", "AsyncConnection"):
        from uno_jobs.storage.connections.sqlalchemy_link import AsyncSQLAlchemyLink

        return "async", AsyncSQLAlchemyLink(connection)
    if _is(connection, "sqlalchemy.orm", "Session") or _is(connection, "sqlalchemy.engine", "Connection"):
        from uno_jobs.storage.connections.sqlalchemy_link import SQLAlchemyLink

        return "sync", SQLAlchemyLink(connection)
    if _is(connection, "asyncpg", "Connection") or _is(connection, "asyncpg.pool", "PoolConnectionProxy"):
        from uno_jobs.storage.connections.asyncpg_link import AsyncpgLink

        return "async", AsyncpgLink(connection)
    if _is(connection, "psycopg", "AsyncConnection"):
        from uno_jobs.storage.connections.psycopg_link import AsyncPsycopgLink

        return "async", AsyncPsycopgLink(connection)
    if _is(connection, "psycopg", "Connection"):
        from uno_jobs.storage.connections.psycopg_link import PsycopgLink

        return "sync", PsycopgLink(connection)
    raise UnsupportedConnection(
        f"{_describe(connection)} cannot be used as connection: hand in {ASYNC} (on a Queue), "
        f"or {SYNC} (on a SyncQueue){_hint(connection)}"
    )


def _is(connection: object, module: str, *names: str) -> bool:
    found = sys.modules.get(module)
    return found is not None and any(
        isinstance(connection, cls) for name in names if (cls := getattr(found, name, None)) is not None
    )


def _describe(connection: object) -> str:
    if inspect.isclass(connection):
        return f"the class {connection.__module__}.{connection.__qualname__}"
    return f"a {type(connection).__module__}.{type(connection).__qualname__}"


def _hint(connection: object) -> str:
    name = type(connection).__name__
    if inspect.iscoroutine(connection):
        return "; this is a coroutine: await it first"
    if name.endswith(("Engine", "Pool", "sessionmaker")) or isinstance(connection, str):
        return "; an engine, a pool or a URL goes to the constructor of the queue"
    if type(connection).__module__.startswith("django"):
        return "; with Django and psycopg 3, that is django.db.connection.connection"
    return ""

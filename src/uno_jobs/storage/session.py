"""Connections of uno-jobs' own: opened with every setting that matters, so that no role's default can change one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

import asyncpg

from uno_jobs.errors import (
    CodeTooOld,
    ConfigurationError,
    DatabaseUnavailable,
    SchemaNotInstalled,
    SchemaTooOld,
    UnsupportedServer,
)
from uno_jobs.storage.pooled import PooledConnection, has_transaction_timeout
from uno_jobs.storage.schema import DEFAULT_SCHEMA, MIN_REVISION, REVISION, quote_schema
from uno_jobs.storage.urls import hide_password, plain_url

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    Connection = asyncpg.Connection[asyncpg.Record]

Opened = TypeVar("Opened")

MIN_SERVER: Final = 150000

SETTINGS: Final = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "jit": "off",
    "client_encoding": "UTF8",
    "DateStyle": "ISO",
    "TimeZone": "UTC",
}

# A lost host's session, and with it its lock, is gone within seconds.
KEEPALIVE: Final = {
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "2",
    "tcp_user_timeout": "4000",
}

TASK_SETTINGS: Final = {
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "idle_session_timeout": "0",
    **KEEPALIVE,
}
"""Of sessions in which the code of tasks runs: its search_path, time zone and time-outs are the role's."""

TROUBLE: Final[tuple[type[BaseException], ...]] = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""Errors of the database's, not of what was asked of it: wait, connect again, go on."""


@overload
async def connect(
    url: str,
    schema: str = DEFAULT_SCHEMA,
    *,
    name: str = "uno-jobs",
    timeout: float = 10.0,
    patience: float | None = None,
    pooled: Literal[False] = False,
) -> Connection: ...


@overload
async def connect(
    url: str,
    schema: str = DEFAULT_SCHEMA,
    *,
    name: str = "uno-jobs",
    timeout: float = 10.0,
    patience: float | None = None,
    pooled: bool,
) -> Connection | PooledConnection: ...


async def connect(
    url: str,
    schema: str = DEFAULT_SCHEMA,
    *,
    name: str = "uno-jobs",
    timeout: float = 10.0,
    patience: float | None = None,
    pooled: bool = False,
) -> Connection | PooledConnection:
    """Open a connection.

    Args:
        url: Any spelling of a PostgreSQL URL.
        schema: The schema of uno-jobs.
        name: Shown as application_name in pg_stat_activity.
        timeout: Seconds to connect.
        patience: Seconds after which any statement is given up; None: never.
        pooled: The URL is a transaction pooler's.

    Raises:
        DatabaseUnavailable: It cannot be reached, or refuses.
        ConfigurationError: The URL cannot be read, or is a pooler's although ``pooled`` is false.
    """
    if pooled:
        raw = await connect_raw(url, name=name, timeout=timeout, patience=patience)
        return PooledConnection(raw, search_path(schema))
    settings = {**SETTINGS, **KEEPALIVE, "application_name": name, "search_path": search_path(schema)}
    with translate_errors(hide_password(url)):
        connection = await asyncpg.connect(
            plain_url(url), timeout=timeout, command_timeout=patience, server_settings=settings
        )
        if has_transaction_timeout(connection):
            try:
                # Not at the start: an older server refuses what it does not know.
                await connection.execute("SET transaction_timeout = 0", timeout=timeout)
            except BaseException:
                connection.terminate()
                raise
        return connection


async def connect_raw(
    url: str, *, name: str = "uno-jobs", timeout: float = 10.0, patience: float | None = None
) -> Connection:
    """Open a connection to a transaction pooler: without settings, of which it refuses most, and without a cache."""
    with translate_errors(hide_password(url)):
        return await asyncpg.connect(
            plain_url(url),
            timeout=timeout,
            command_timeout=patience,
            server_settings={"application_name": name},
            statement_cache_size=0,
        )


def search_path(schema: str) -> str:
    """Return the search path of our sessions, as SQL writes it."""
    return f"{quote_schema(schema)}, pg_temp"


async def connect_for_tasks(url: str, *, name: str, timeout: float = 10.0, pooled: bool = False) -> Connection:
    """Open a connection for the code of tasks, with no more settings of ours than a transaction needs.

    Raises:
        DatabaseUnavailable: It cannot be reached, or refuses.
        ConfigurationError: The URL cannot be read, or is a pooler's although ``pooled`` is false.
    """
    if pooled:
        return await whole(connect_raw(url, name=name, timeout=timeout))
    settings = {**TASK_SETTINGS, "application_name": name}
    with translate_errors(hide_password(url)):
        return await whole(asyncpg.connect(plain_url(url), timeout=timeout, server_settings=settings))


def _terminate(connection: Any) -> None:
    connection.terminate()


async def whole(connecting: Coroutine[Any, Any, Opened], end: Callable[[Opened], object] = _terminate) -> Opened:
    """Wait for a connection that is being opened; cancelled, end it rather than leave it to the garbage collector.

    Args:
        connecting: What opens it.
        end: Cuts it at once; by default as asyncpg does.
    """
    opening = asyncio.ensure_future(connecting)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        done, _ = await asyncio.wait({opening}, timeout=1.0)
        if not done:
            opening.cancel()
            await asyncio.wait({opening}, timeout=1.0)
        if opening.done() and not opening.cancelled() and opening.exception() is None:
            end(opening.result())
        raise


async def check_schema(connection: Any, schema: str = DEFAULT_SCHEMA) -> None:
    """Refuse a server or a schema that this code cannot work with.

    Args:
        connection: An asyncpg connection.
        schema: The schema of uno-jobs.

    Raises:
        UnsupportedServer, SchemaNotInstalled, SchemaTooOld, CodeTooOld: Each says what to do.
    """
    check_server(int(await connection.fetchval("SELECT current_setting('server_version_num')")))
    try:
        row = await connection.fetchrow(f"SELECT revision, min_code FROM {quote_schema(schema)}.about()")
    except (asyncpg.UndefinedFunctionError, asyncpg.InvalidSchemaNameError):
        row = None
    check_revision(None if row is None else (row["revision"], row["min_code"]), schema)


def check_server(version: int) -> None:
    """Refuse a server older than PostgreSQL 15 (``version`` is its server_version_num)."""
    if version < MIN_SERVER:
        raise UnsupportedServer(
            f"this server is PostgreSQL {version // 10000}: uno-jobs needs {MIN_SERVER // 10000} or later"
        )


def check_revision(found: tuple[int, int] | None, schema: str) -> None:
    """Refuse a schema of the wrong age; ``found`` is its (revision, min_code), None where there is none."""
    if found is None:
        raise SchemaNotInstalled(f"the schema {schema!r} is not in this database: run 'uno-jobs db upgrade'")
    revision, min_code = found
    if revision < MIN_REVISION:
        raise SchemaTooOld(
            f"the schema {schema!r} is at revision {revision}, this code needs {MIN_REVISION} or later: "
            "run 'uno-jobs db upgrade'"
        )
    if min_code > REVISION:
        raise CodeTooOld(
            f"the schema {schema!r} is at revision {revision} and serves code made for {min_code} or later, "
            f"this is {REVISION}: upgrade uno-jobs here"
        )


@contextlib.contextmanager
def translate_errors(url: str = "the database") -> Generator[None]:
    """Turn what drivers raise when a database cannot be reached into ``DatabaseUnavailable``."""
    try:
        yield
    except ConfigurationError:
        raise
    except (ValueError, asyncpg.ClientConfigurationError):
        # Without the cause: it quotes the part that it stumbled over, and that may be of the password.
        raise ConfigurationError(
            "the database URL cannot be read: write special characters in a user's name or password percent-encoded "
            "(%2F for /, %3F for ?, %23 for #, %40 for @), and check its port and options"
        ) from None
    except asyncpg.ProtocolViolationError as error:
        if "startup parameter" not in str(error):
            raise DatabaseUnavailable(f"{url} cannot be reached: {error}") from error
        raise ConfigurationError(
            f"{url} is a connection pooler, which refuses the settings of a session ({error}): say so with "
            "UNO_JOBS_POOLED=true, --pooled or Queue(..., pooled=True), or use a URL that leads to PostgreSQL itself"
        ) from error
    except (
        OSError,
        asyncpg.PostgresConnectionError,
        asyncpg.CannotConnectNowError,
        asyncpg.TooManyConnectionsError,
    ) as error:
        raise DatabaseUnavailable(f"{url} cannot be reached: {error or type(error).__name__}") from error
    except (asyncpg.InvalidCatalogNameError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        raise DatabaseUnavailable(f"{url} refuses the connection: {error}") from error

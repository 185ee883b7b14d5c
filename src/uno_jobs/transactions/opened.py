"""What ``job.transaction()`` gives to its block: a session or a connection, and a place for the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uno_jobs.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session


class _Opened:
    def __init__(self, kind: str, handle: Any, dump: Callable[[Any], str], result: str) -> None:
        self._kind = kind
        self._dump = dump
        self.handle = handle
        """What can be handed in as ``connection``: the session or the connection."""
        self.result = result
        """The job's result so far, JSON text."""

    def set_result(self, value: Any) -> None:
        """Set the job's result; the last one counts.

        Args:
            value: What the task would otherwise return; serialised now, by the task's return annotation.

        Raises:
            ResultNotStorable: It cannot be JSON, or is too large. The attempt fails without retry.
        """
        self.result = self._dump(value)

    @property
    def connection(self) -> Any:
        """The raw connection, of asyncpg or psycopg, with ``kind="asyncpg"`` or ``kind="psycopg"``."""
        if self._kind == "session":
            raise InvalidOption("job.transaction() has a session: for a connection write kind='asyncpg' or 'psycopg'")
        return self.handle

    def _session(self) -> Any:
        if self._kind != "session":
            raise InvalidOption(f"job.transaction(kind={self._kind!r}) has a connection: leave kind out for a session")
        return self.handle


class AsyncTransaction(_Opened):
    """The transaction of an asynchronous task."""

    @property
    def session(self) -> AsyncSession:
        """The session, bound to the transaction. Its ``commit()`` flushes and leaves the commit to the block's end."""
        return self._session()


class SyncTransaction(_Opened):
    """The transaction of a synchronous task."""

    @property
    def session(self) -> Session:
        """The session, bound to the transaction. Its ``commit()`` flushes and leaves the commit to the block's end."""
        return self._session()

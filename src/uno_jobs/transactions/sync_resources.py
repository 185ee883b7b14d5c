"""The session or connection of a synchronous job's transaction: begun, committed, and given back whatever happens."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, Protocol

from uno_jobs.transactions.resources import BEGIN

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import psycopg
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.orm import Session

logger = logging.getLogger("uno_jobs.transactions")


class SyncResource(Protocol):
    """One transaction on one connection; see ``AsyncResource``."""

    handle: Any

    def begin(self, mark: str) -> None:
        """Begin, and run a first statement."""
        ...

    def before_commit(self) -> None:
        """Do what is the user's part of the commit."""
        ...

    def commit(self) -> None:
        """Commit."""
        ...

    def after_commit(self) -> None:
        """Tell the user's listeners of the commit."""
        ...

    def fileno(self) -> int:
        """Return the connection's socket."""
        ...

    def abandon(self) -> None:
        """Cut the connection: its state is in doubt."""
        ...

    def close(self) -> None:
        """Roll back what is not committed, and give the connection back. Raises nothing; twice is once."""
        ...


class SyncSessionResource:
    """A Session on a connection of an engine's pool."""

    handle: Session

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._committed = False

    def begin(self, mark: str) -> None:
        """See ``SyncResource``."""
        from sqlalchemy.orm import Session

        connection = self._connection = self._engine.connect()
        connection.begin()
        connection.exec_driver_sql(mark)
        self.handle = Session(bind=connection, join_transaction_mode="rollback_only", expire_on_commit=False)

    def before_commit(self) -> None:
        """See ``SyncResource``."""
        self.handle.dispatch.before_commit(self.handle)
        self.handle.flush()

    def commit(self) -> None:
        """See ``SyncResource``."""
        assert self._connection is not None
        self._connection.commit()
        self._committed = True

    def after_commit(self) -> None:
        """See ``SyncResource``."""
        self.handle.dispatch.after_commit(self.handle)

    def fileno(self) -> int:
        """See ``SyncResource``."""
        assert self._connection is not None
        driver: Any = self._connection.connection.driver_connection
        return driver.fileno()

    def abandon(self) -> None:
        """See ``SyncResource``."""
        if self._connection is not None:
            with _quiet():
                self._connection.invalidate()

    def close(self) -> None:
        """See ``SyncResource``."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        session: Session | None = getattr(self, "handle", None)
        if session is not None:
            if not self._committed:
                with _quiet():
                    session.rollback()
            with _quiet():
                session.close()
        with _quiet():
            connection.close()


class SyncPsycopgResource:
    """A Connection of psycopg's, of its own."""

    handle: psycopg.Connection[Any]

    def __init__(self, connect: Callable[[], Any], places: threading.Semaphore) -> None:
        self._connect = connect
        self._places = places
        self._held = contextlib.ExitStack()

    def begin(self, mark: str) -> None:
        """See ``SyncResource``."""
        self._held.enter_context(self._places)
        self.handle = self._connect()
        self._held.callback(self.handle.close)
        self.handle.execute(f"{BEGIN}; {mark}".encode())

    def before_commit(self) -> None:
        """See ``SyncResource``."""

    def commit(self) -> None:
        """See ``SyncResource``."""
        self.handle.execute(b"COMMIT")

    def after_commit(self) -> None:
        """See ``SyncResource``."""

    def fileno(self) -> int:
        """See ``SyncResource``."""
        return self.handle.fileno()

    def abandon(self) -> None:
        """See ``SyncResource``."""
        self._held.close()

    def close(self) -> None:
        """See ``SyncResource``."""
        self._held.close()


@contextlib.contextmanager
def bounded(fileno: int, seconds: float) -> Generator[None]:
    """Cut a connection that does not answer in time, so that who waits for it is told; a thread cannot be woken."""
    with socket.socket(fileno=os.dup(fileno)) as line:

        def cut() -> None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(seconds, cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    try:
        yield
    except Exception as error:
        logger.debug("a connection of a job's transaction did not end in order", exc_info=error)

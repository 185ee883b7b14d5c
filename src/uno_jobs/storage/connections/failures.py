"""What drivers and SQLAlchemy raise, told apart by SQLSTATE and turned into errors of uno-jobs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from uno_jobs.errors import (
    ConnectionBusy,
    ConnectionClosed,
    DatabaseFull,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DuplicateJob,
    EnqueueConflict,
    PermissionDenied,
    SchemaNotInstalled,
    StatementTimedOut,
    TransactionFailed,
    TransactionNotBegun,
    UnoJobsError,
    UnsupportedConnection,
)

if TYPE_CHECKING:
    from types import TracebackType

SEVERAL_BINDS: Final = (
    "this session does not say which database it would use: hand in the connection itself, as "
    "connection=session.connection(bind_arguments={...}) (await it on an AsyncSession)"
)
_STEP_IS_DUPLICATE: Final = "UJ003"
_MISSING: Final = {"42P01", "3F000", "42883"}
_LOST: Final = {"25P03", "25P04"}
"""idle_in_transaction_session_timeout and transaction_timeout: both end the session."""
_UNAVAILABLE: Final = ("08", "53", "57P", "58")
"""Classes of SQLSTATE: connection, resources, an operator's intervention, the system."""


class Translating:
    """A context that raises errors of uno-jobs in place of those that have one; others pass as they are.

    One may be entered by many at once, and again: it keeps nothing.
    """

    __slots__ = ("_schema",)

    def __init__(self, schema: str) -> None:
        self._schema = schema

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, UnoJobsError):
            return
        translated = translate(error, self._schema)
        if translated is not None:
            raise translated from error


def translate(error: Exception, schema: str) -> UnoJobsError | None:
    """Return the error of uno-jobs that a driver's error, or SQLAlchemy's about it, stands for; None: none."""
    state = sqlstate_of(error)
    said = _said(error)
    if state is None:
        return _without_state(error, said)
    if state in {"40001", "40P01"}:
        return EnqueueConflict(f"another transaction was faster ({said}): roll back and retry the transaction")
    if state == _STEP_IS_DUPLICATE:
        found = re.search(r"job ([0-9a-f-]{36})", said)
        return DuplicateJob(f"{said}: nothing of it was enqueued, roll back", job_id=found[1] if found else "")
    if state == "25P02":
        return TransactionFailed("the transaction of this connection has already failed: roll it back first")
    if state in _MISSING and schema in said:
        return SchemaNotInstalled(f"the schema {schema!r} is not in this database ({said}): run 'uno-jobs db upgrade'")
    if state == "42501":
        return PermissionDenied(f"the database's role may not do this: {said}")
    if state == "25006":
        return DatabaseReadOnly(f"the database, or this transaction, takes no writes: {said}")
    if state in {"57014", "55P03"}:
        return StatementTimedOut(f"the database ended the statement: {said}")
    if state in {"53100", "53200"}:
        return DatabaseFull(f"the database has no room: {said}")
    if state in _LOST or state.startswith(_UNAVAILABLE):
        return DatabaseUnavailable(f"the connection to the database was lost, or refused: {said}")
    return None


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error of asyncpg, psycopg or psycopg2, also when SQLAlchemy wraps it."""
    inner: Any = getattr(error, "orig", None) or error
    for name in ("sqlstate", "pgcode"):
        if isinstance(state := getattr(inner, name, None), str):
            return state
    return None


def _without_state(error: Exception, said: str) -> UnoJobsError | None:
    names = {
        cls.__name__
        for one in (error, getattr(error, "orig", None))
        for cls in type(one).__mro__
        if cls.__module__.partition(".")[0] in {"sqlalchemy", "asyncpg", "psycopg", "psycopg2"}
    }
    if "UnboundExecutionError" in names:
        return UnsupportedConnection(SEVERAL_BINDS)
    if "PendingRollbackError" in names:
        return TransactionFailed("the transaction of this session has already failed: roll it back first")
    if "InvalidRequestError" in names and "Autobegin is disabled" in said:
        return TransactionNotBegun("this session begins no transaction by itself: call its begin() before the enqueue")
    if "another operation is in progress" in said or "concurrent operations are not permitted" in said:
        return ConnectionBusy(f"the connection is in use ({said}): await what it is doing before the enqueue")
    if "ResourceClosedError" in names:
        return ConnectionClosed(f"the connection is closed ({said}): enqueue before it is closed")
    if "InvalidRequestError" in names and "closed transaction" in said:
        return TransactionFailed(f"the transaction of this session is over ({said}): enqueue before it ends")
    if "InvalidRequestError" in names and "closed" in said:
        return ConnectionClosed(f"the session is closed ({said}): enqueue before it is closed")
    if "InterfaceError" in names and ("closed" in said or "released" in said):
        return ConnectionClosed(f"the connection is closed ({said}): enqueue before it is closed or released")
    if "InternalClientError" in names:
        # asyncpg's word for a server's farewell that came in between two of its own steps.
        return DatabaseUnavailable(f"the connection to the database was lost: {said}")
    if isinstance(error, OSError) or "OperationalError" in names or getattr(error, "connection_invalidated", False):
        return DatabaseUnavailable(f"the connection to the database was lost: {said}")
    return None


def _said(error: BaseException) -> str:
    text = str(getattr(error, "orig", None) or error)
    return text.splitlines()[0] if text else type(error).__name__

"""What is asked of a connection, whatever its kind: text in, text out, and whether a transaction is open."""

from __future__ import annotations

import functools
import re
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from typing_extensions import TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    Value = str | Sequence[str | None] | None

T = TypeVar("T")


class Statement(NamedTuple):
    """One statement. Its parameters are written $1, $2, … in order, each once, each with a cast to text or text[]."""

    sql: str
    args: tuple[Value, ...] = ()


Rows = list[tuple[Any, ...]]
"""The answer to a statement: each value is a text or None."""

Steps = Generator[Statement, Rows, T]
"""Work on a connection without saying how: yields statements, is sent their rows, returns a result."""


class AsyncLink(Protocol):
    """A connection used with await."""

    idle: bool
    """No transaction is open, and none begins by itself. Known once opened."""
    two_phase: bool
    """The transaction will be prepared, which PostgreSQL refuses after a NOTIFY."""

    async def open(self) -> None:
        """Look at the connection; raises if it cannot be used."""
        ...

    async def fetch(self, statement: Statement) -> Rows:
        """Run a statement."""
        ...

    async def command(self, sql: str) -> None:
        """Run BEGIN, COMMIT or ROLLBACK."""
        ...


class SyncLink(Protocol):
    """A connection used without await."""

    idle: bool
    two_phase: bool

    def open(self) -> None:
        """Look at the connection; raises if it cannot be used."""
        ...

    def fetch(self, statement: Statement) -> Rows:
        """Run a statement."""
        ...

    def command(self, sql: str) -> None:
        """Run BEGIN, COMMIT or ROLLBACK."""
        ...


@functools.lru_cache(maxsize=256)
def percent_style(sql: str) -> str:
    """Return SQL with its parameters written %s."""
    return re.sub(r"\$[0-9]+", "%s", sql.replace("%", "%%"))

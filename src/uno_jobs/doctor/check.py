"""What a check is, and how a function becomes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from uno_jobs.doctor.finding import Finding
    from uno_jobs.doctor.look import Look

    Examine = Callable[[Look], Awaitable[Finding]]


@dataclass(frozen=True)
class Check:
    """One check: its name, what it asks, and whether it needs the schema."""

    name: str
    question: str
    needs_schema: bool
    examine: Examine


def check(name: str, question: str, *, needs_schema: bool = True) -> Callable[[Examine], Check]:
    """Make a function the check of this name: it looks, and returns a ``Finding`` of that name.

    It runs in a read-only transaction of its own; what the database refuses is told for it.
    """
    return lambda examine: Check(name, question, needs_schema, examine)

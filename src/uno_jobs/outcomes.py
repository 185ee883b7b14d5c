"""How an attempt ended, as data: chosen by the runner, persisted by the completer, judged by nobody in between."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """An error as it is stored: class name with module, message, traceback (bounded), all storable text."""

    type: str
    message: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The task returned; ``result`` is JSON text that PostgreSQL will accept."""

    result: str
    peak_memory: int | None = field(default=None, compare=False)
    """Here and below: the most memory that the attempt used at once, in bytes, if it ran in a process of its own."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed and the job with it."""

    error: ErrorRecord
    peak_memory: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Retried:
    """The attempt failed; the next one is due in ``delay`` seconds and one retry is used up."""

    error: ErrorRecord
    delay: float
    peak_memory: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Snoozed:
    """The task asked to run again in ``delay`` seconds; no retry is used up."""

    delay: float
    peak_memory: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The task, or somebody else, ended the job."""

    reason: str
    peak_memory: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class HandedBack:
    """The worker gives the job up unharmed (shutdown): ready again, no retry used up."""

    reason: str
    peak_memory: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Lost:
    """The process that ran the job, and no other, died; after ``max_lost`` such ends the job fails."""

    error: ErrorRecord
    max_lost: int
    final: bool
    """Whether this was the last of them."""
    peak_memory: int | None = field(default=None, compare=False)


Outcome = Succeeded | Failed | Retried | Snoozed | Cancelled | HandedBack | Lost

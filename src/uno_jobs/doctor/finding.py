"""What a check found: how it stands, what was seen, and what to do about it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


class Status(enum.StrEnum):
    """How what a check looked at stands."""

    OK = "ok"
    WARNING = "warning"
    """Nothing fails yet, but somebody should look."""
    ERROR = "error"
    """Jobs are held up or in danger."""
    UNKNOWN = "unknown"
    """It could not be looked at: a right is missing, or it took too long; ``seen`` says which."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check."""

    check: str
    """The check's name, as in ``check_names()``."""
    status: Status
    seen: str
    """What was seen, in a sentence."""
    advice: str | None = None
    """What to do; None where there is nothing to do."""
    details: tuple[dict[str, Any], ...] = ()
    """What was seen, as rows for programs; at most some twenty."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What all checks found, in their order."""

    findings: tuple[Finding, ...]

    @property
    def worst(self) -> Status:
        """The worst status of all; ``unknown`` is worse than ``ok`` and better than ``warning``."""
        order = (Status.OK, Status.UNKNOWN, Status.WARNING, Status.ERROR)
        return max((one.status for one in self.findings), key=order.index, default=Status.OK)

    def of(self, check: str) -> Finding:
        """Return what the check of this name found.

        Raises:
            KeyError: There is no such check.
        """
        for one in self.findings:
            if one.check == check:
                return one
        raise KeyError(check)

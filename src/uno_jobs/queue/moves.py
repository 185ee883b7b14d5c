"""Cancelling and retrying a job by its id: one statement each, and what the answer means."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, cast

from uno_jobs.errors import DuplicateJob, InvalidOption, RetryRefused
from uno_jobs.storage.connections.link import Statement
from uno_jobs.storage.schema import quote_schema
from uno_jobs.tasks import checks

if TYPE_CHECKING:
    from uno_jobs.storage.connections.link import Rows, Steps

MAX_REASON: Final = 4000
"""Longest reason for a cancellation, in characters."""

RETRYABLE: Final = "only what failed, was cancelled or is scheduled can be retried"


class CancelResult(enum.StrEnum):
    """What a cancellation did."""

    CANCELLED = "cancelled"
    """The job had not started, or waited for its next attempt: it has ended (when the transaction commits)."""
    REQUESTED = "requested"
    """It runs: its worker stops it. Should it succeed all the same, that stands."""
    FINISHED = "finished"
    """It had ended already; nothing was changed."""


def parse_reason(value: object) -> str | None:
    """Return the reason for a cancellation.

    Raises:
        InvalidOption: It is no text, cannot be stored, or is too long.
    """
    if value is None:
        return None
    reason = checks.text(value, "reason")
    if len(reason) > MAX_REASON:
        raise InvalidOption(f"reason has at most {MAX_REASON} characters, this one has {len(reason)}")
    return reason


def cancel_job(schema: str, id_: str, reason: str | None, *, notify: bool) -> Steps[CancelResult | None]:
    """Cancel a job; None where there is none."""
    rows: Rows = yield Statement(
        f"SELECT {quote_schema(schema)}.try_cancel($1::text::uuid, $2::text, $3::text::boolean)",
        (id_, reason, str(notify).lower()),
    )
    answer = cast("str", rows[0][0])
    return None if answer == "unknown" else CancelResult(answer)


def cancel_workflow(schema: str, id_: str, reason: str | None, *, notify: bool) -> Steps[CancelResult | None]:
    """Cancel all that has not finished of a workflow; None where there is none."""
    rows: Rows = yield Statement(
        f"SELECT {quote_schema(schema)}.cancel_workflow($1::text::uuid, $2::text, $3::text::boolean)",
        (id_, reason, str(notify).lower()),
    )
    answer = cast("str", rows[0][0])
    return None if answer == "unknown" else CancelResult(answer)


def retry_job(schema: str, id_: str, *, notify: bool) -> Steps[bool]:
    """Retry a job; False where there is none.

    Raises:
        RetryRefused: It has not failed.
        DuplicateJob: Another unfinished job holds its unique key.
    """
    rows: Rows = yield Statement(
        f"SELECT answer, holder::text FROM {quote_schema(schema)}.try_retry($1::text::uuid, $2::text::boolean)",
        (id_, str(notify).lower()),
    )
    answer, holder = cast("tuple[str, str | None]", rows[0])
    if answer == "held":
        raise DuplicateJob(
            f"job {holder} is unfinished and holds the unique key of job {id_}", job_id=cast("str", holder)
        )
    if answer == "parent":
        raise RetryRefused(f"job {id_} waits for job {holder}, which did not succeed: retry that one")
    if answer not in ("retried", "unknown"):
        raise RetryRefused(f"job {id_} {'has' if answer == 'succeeded' else 'is'} {answer}: {RETRYABLE}")
    return answer == "retried"

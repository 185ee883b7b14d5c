"""What becomes of a job whose attempt raised: a pure function of the error, the options and the past."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from uno_jobs.errors import Cancel, Fail, InvalidOption, Retry, Snooze
from uno_jobs.outcomes import Cancelled, Failed, Retried, Snoozed
from uno_jobs.runners.records import error_message, record_error
from uno_jobs.tasks.checks import parse_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from uno_jobs.outcomes import Outcome
    from uno_jobs.tasks.options import TaskOptions


def judge(
    error: BaseException,
    options: TaskOptions,
    failures: int,
    *,
    final: bool = False,
    chance: Callable[[], float] = random.random,
) -> Outcome:
    """Decide how an attempt that raised ends.

    Args:
        error: What it raised.
        options: The task's options.
        failures: How many attempts of the job have failed before this one.
        final: Whether another try cannot help (wrong arguments, a result that cannot be stored). The task's
            own ``Retry`` and ``Snooze`` still count.
        chance: Returns a random number from 0 to 1, for the jitter.
    """
    left = failures < options.max_retries
    try:
        match error:
            case Cancel():
                return Cancelled(error_message(error) or "cancelled by the task")
            case Snooze():
                return Snoozed(_asked(error.delay, "Snooze"))
            case Fail():
                return Failed(record_error(error))
            case Retry():
                # Worked out first, so that a wrong delay shows even in the last attempt.
                delay = None if error.delay is None else _asked(error.delay, "Retry")
                if not left:
                    return Failed(record_error(error))
                if delay is None:
                    delay = retry_delay(options, failures + 1, chance=chance)
                return Retried(record_error(error), delay)
            case _:
                pass
    except InvalidOption as wrong:
        wrong.__context__ = error
        error = wrong
    if final or not left or not _is_for_retry(error, options.retry_for_exceptions):
        return Failed(record_error(error))
    return Retried(record_error(error), retry_delay(options, failures + 1, chance=chance))


def retry_delay(options: TaskOptions, retry: int, *, chance: Callable[[], float] = random.random) -> float:
    """Return the seconds before a retry.

    ``retry_delay``, with backoff times ``retry_backoff_factor`` for each retry before; with jitter times a
    random factor from 0.5 to 1.5; never more than ``retry_max_delay``.

    Args:
        options: The task's options.
        retry: Which retry, from 1 on.
        chance: Returns a random number from 0 to 1.
    """
    delay = options.retry_delay
    if options.retry_backoff and delay:
        try:
            delay *= options.retry_backoff_factor ** (retry - 1)
        except OverflowError:
            delay = options.retry_max_delay
    delay = min(delay, options.retry_max_delay)
    if options.retry_jitter:
        delay = min(delay * (0.5 + chance()), options.retry_max_delay)
    return delay


def _asked(delay: float | timedelta, control: str) -> float:
    """Return the delay that a task asked for; one in the past means at once."""
    if isinstance(delay, timedelta):
        delay = delay.total_seconds()
    if isinstance(delay, int | float) and delay < 0:  # pyright: ignore[reportUnnecessaryIsInstance] - tasks may be untyped
        return 0.0
    return parse_seconds(delay, f"{control}(delay=…)")


def _is_for_retry(error: BaseException, classes: tuple[type[BaseException], ...] | None) -> bool:
    if classes is None or isinstance(error, classes):
        return True
    # A group (of a TaskGroup, say) is retried if each error in it would be.
    if not isinstance(error, BaseExceptionGroup):
        return False
    members = cast("BaseExceptionGroup[BaseException]", error).exceptions
    return all(_is_for_retry(one, classes) for one in members)

"""What becomes of a job whose attempt raised."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uno_jobs.errors import Cancel, Fail, InvalidArguments, ResultNotStorable, Retry, Snooze
from uno_jobs.outcomes import Cancelled, Failed, Retried, Snoozed
from uno_jobs.runners.verdict import judge, retry_delay
from uno_jobs.tasks.options import TaskOptions

durations = st.floats(0, 1e6)
chances = st.floats(0, 1, exclude_max=True)


def options(**values: Any) -> TaskOptions:
    return TaskOptions(name="t", upgrade_from={}, **values)


def test_max_retries_of_three_means_four_attempts_at_most() -> None:
    for failures in range(3):
        assert isinstance(judge(OSError(), options(), failures), Retried)
    assert isinstance(judge(OSError(), options(), 3), Failed)
    assert isinstance(judge(OSError(), options(max_retries=0), 0), Failed)


def test_the_documented_delays() -> None:
    assert [retry_delay(options(), n) for n in (1, 2, 3)] == [60, 60, 60]
    backoff = options(retry_backoff=True)
    assert [retry_delay(backoff, n) for n in (1, 2, 3, 4)] == [60, 120, 240, 480]
    assert retry_delay(backoff, 30) == 86400
    assert retry_delay(backoff, 1_000_000) == 86400
    jitter = options(retry_jitter=True)
    assert [retry_delay(jitter, 1, chance=lambda one=one: one) for one in (0.0, 0.5, 1.0)] == [30, 60, 90]


@given(
    delay=durations,
    longest=durations,
    factor=st.floats(1, 100),
    retry=st.integers(1, 2000),
    backoff=st.booleans(),
    jitter=st.booleans(),
    chance=chances,
)
def test_delays_are_bounded(
    delay: float, longest: float, factor: float, retry: int, backoff: bool, jitter: bool, chance: float
) -> None:
    made = options(
        retry_delay=delay,
        retry_max_delay=longest,
        retry_backoff=backoff,
        retry_backoff_factor=factor,
        retry_jitter=jitter,
    )
    seconds = retry_delay(made, retry, chance=lambda: chance)
    assert 0 <= seconds <= longest
    try:
        plain = min(delay * (factor ** (retry - 1) if backoff else 1), longest)
    except OverflowError:
        plain = longest if delay else 0
    assert min(plain * 0.5, longest) <= seconds <= plain * 1.5
    if not jitter:
        assert seconds == plain


@given(factor=st.floats(1, 10), retry=st.integers(1, 50))
def test_backoff_never_goes_down(factor: float, retry: int) -> None:
    made = options(retry_backoff=True, retry_backoff_factor=factor)
    assert retry_delay(made, retry) <= retry_delay(made, retry + 1)


def test_the_delay_counts_failures_not_attempts() -> None:
    outcome = judge(OSError(), options(retry_backoff=True, max_retries=9), 2)
    assert isinstance(outcome, Retried)
    assert outcome.delay == 240


def test_only_some_exceptions_are_retried() -> None:
    made = options(retry_for_exceptions=(ConnectionError, TimeoutError))
    assert isinstance(judge(ConnectionResetError(), made, 0), Retried), "subclasses too"
    assert isinstance(judge(TimeoutError(), made, 0), Retried)
    assert isinstance(judge(ValueError(), made, 0), Failed)
    assert isinstance(judge(asyncio.CancelledError(), made, 0), Failed)
    assert isinstance(judge(OSError(), options(retry_for_exceptions=()), 0), Failed)


def test_a_group_is_retried_if_each_of_it_would_be() -> None:
    made = options(retry_for_exceptions=(ConnectionError,))
    both = ExceptionGroup("g", [ConnectionError(), ExceptionGroup("inner", [ConnectionError()])])
    assert isinstance(judge(both, made, 0), Retried)
    assert isinstance(judge(ExceptionGroup("g", [ConnectionError(), KeyError()]), made, 0), Failed)


@pytest.mark.parametrize("error", [InvalidArguments("x"), ResultNotStorable("x"), RuntimeError("x")])
def test_what_is_final_is_not_retried(error: Exception) -> None:
    assert isinstance(judge(error, options(), 0, final=True), Failed)


# --- control by exception ------------------------------------------------------------------------------------------


def test_retry_with_and_without_a_delay() -> None:
    made = options(retry_backoff=True, retry_for_exceptions=())
    for error, delay in [
        (Retry("later"), 120.0),
        (Retry("later", delay=5), 5.0),
        (Retry(delay=timedelta(minutes=1)), 60.0),
        (Retry(delay=0), 0.0),
        (Retry(delay=-3), 0.0),
        (Retry(delay=10 * 86400), 864000.0),
    ]:
        outcome = judge(error, made, 1)
        assert isinstance(outcome, Retried)
        assert outcome.delay == delay
    assert isinstance(judge(Retry(delay=5), made, 3), Failed), "it uses up a retry"


def test_snooze_does_not_use_up_an_attempt() -> None:
    assert judge(Snooze(30), options(max_retries=0), 0) == Snoozed(30.0)
    assert judge(Snooze(timedelta(hours=1)), options(), 3) == Snoozed(3600.0)
    assert judge(Snooze(-1), options(), 3) == Snoozed(0.0)
    assert judge(Snooze(1), options(), 0, final=True) == Snoozed(1.0)


def test_cancel_and_fail() -> None:
    assert judge(Cancel("no longer wanted"), options(), 0) == Cancelled("no longer wanted")
    assert judge(Cancel("a\x00b"), options(), 0) == Cancelled("a\\x00b")
    assert judge(Cancel(), options(), 0) == Cancelled("cancelled by the task")
    outcome = judge(Fail("hopeless"), options(), 0)
    assert isinstance(outcome, Failed)
    assert (outcome.error.type, outcome.error.message) == ("uno_jobs.errors.Fail", "hopeless")


@pytest.mark.parametrize("delay", [math.nan, math.inf, "soon", 10**12])
@pytest.mark.parametrize("control", [lambda delay: Snooze(delay), lambda delay: Retry(delay=delay)])
def test_a_wrong_delay_is_an_error_of_the_task(control: Any, delay: Any) -> None:
    outcome = judge(control(delay), options(), 0)
    assert isinstance(outcome, Retried)
    assert outcome.error.type == "uno_jobs.errors.InvalidOption"
    assert "(delay=…) must be seconds" in outcome.error.message
    assert isinstance(judge(control(delay), options(), 3), Failed)

"""Errors as they are stored."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uno_jobs.outcomes import ErrorRecord, Retried
from uno_jobs.runners.invocation import Plan
from uno_jobs.runners.records import MESSAGE_LIMIT, TRACEBACK_LIMIT, bounded, record_error
from uno_jobs.storable import check_text
from uno_jobs.tasks import task

from .jobs import a_job


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - that is what it is for
        return caught


def stored(error: BaseException) -> ErrorRecord:
    record = record_error(raised(error))
    for text in (record.type, record.message, record.traceback or ""):
        check_text(text, "it")
    assert len(record.message.encode()) <= MESSAGE_LIMIT
    assert len((record.traceback or "").encode()) <= TRACEBACK_LIMIT
    return record


class OwnError(Exception):
    pass


def test_type_message_and_traceback() -> None:
    assert stored(ValueError("wrong")).type == "ValueError"
    record = stored(OwnError("wrong"))
    assert record.type == f"{__name__}.OwnError"
    assert record.message == "wrong"
    assert record.traceback is not None
    assert record.traceback.startswith("Traceback (most recent call last):")
    assert record.traceback.rstrip().endswith("OwnError: wrong")


async def test_the_traceback_begins_in_the_users_code() -> None:
    async def deeper() -> None:
        raise OwnError("deep")

    @task
    async def work() -> None:
        try:
            await deeper()
        except OwnError as error:
            raise RuntimeError("on top") from error

    outcome = await Plan(work).perform(a_job(work))
    assert isinstance(outcome, Retried)
    text = outcome.error.traceback or ""
    assert "invocation.py" not in text
    assert "in deeper" in text
    assert "direct cause" in text
    assert "in work" in text


def test_long_texts_keep_head_and_tail() -> None:
    record = stored(ValueError("head" + "é" * 100_000 + "tail"))
    assert record.message.startswith("head")
    assert record.message.endswith("tail")
    assert "left out" in record.message
    assert record.traceback is not None
    assert record.traceback.startswith("Traceback")
    assert record.traceback.rstrip().endswith("tail")


def test_deep_recursion_is_bounded() -> None:
    def down(n: int) -> Any:
        return down(n + 1)

    with pytest.raises(RecursionError) as caught:
        down(0)
    assert stored(caught.value).type == "RecursionError"


def test_what_cannot_be_stored_is_written_as_escapes() -> None:
    record = stored(ValueError("a\x00b\ud800c"))
    assert record.message == "a\\x00b\\ud800c"
    assert "a\\x00b\\ud800c" in (record.traceback or "")


def test_errors_that_cannot_even_be_shown() -> None:
    class Hostile(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

        __repr__ = __str__

    assert "__str__ failed" in stored(Hostile()).message

    class WorseNotes(Exception):
        @property
        def __notes__(self) -> Any:
            raise RuntimeError("no")

    stored(WorseNotes("x"))


@given(st.text(st.characters(exclude_categories=("Cs",))), st.integers(100, 200))
def test_bounded(text: str, limit: int) -> None:
    short = bounded(text, limit)
    assert len(short.encode()) <= limit
    if len(text.encode()) <= limit:
        assert short == text
    else:
        assert short[:1] == text[:1] or not short.startswith(text[:1])


@given(st.text("aé", min_size=201), st.integers(100, 200))
def test_bounded_shows_both_ends(text: str, limit: int) -> None:
    short = bounded(text, limit)
    assert short[:5] == text[:5]
    assert short[-5:] == text[-5:]

"""Logs: one line an event, whatever is in it."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from uno_jobs.errors import ConfigurationError
from uno_jobs.logs import configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("tests.logs")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_carries_what_was_given_as_extra() -> None:
    out = io.StringIO()
    configure_logging("json", stream=out)
    logger.info("a job %s", "ended", extra={"job_id": "1", "seconds": 0.5, "event": "mine", "nothing": None})
    said = json.loads(out.getvalue())
    assert said.pop("time").endswith("Z")
    assert said == {
        "level": "info",
        "logger": "tests.logs",
        "event": "a job ended",
        "job_id": "1",
        "seconds": 0.5,
        "event_": "mine",
        "nothing": None,
    }


@pytest.mark.parametrize("value", [float("nan"), object(), {1: 2}, b"bytes", {"a"}, "\ud800", "two\nlines"])
def test_whatever_is_said_is_one_json_line(value: Any) -> None:
    out = io.StringIO()
    configure_logging("json", stream=out)
    logger.warning("odd", extra={"value": value})
    assert out.getvalue().count("\n") == 1
    assert json.loads(out.getvalue())["event"] == "odd"


def test_a_loop_is_one_json_line() -> None:
    out = io.StringIO()
    configure_logging("json", stream=out)
    loop: list[Any] = []
    loop.append(loop)
    logger.info("odd", extra={"value": loop})
    assert json.loads(out.getvalue())["event"] == "odd"


def test_json_holds_the_traceback_in_its_line() -> None:
    out = io.StringIO()
    configure_logging("json", stream=out)
    try:
        raise ValueError("wrong")
    except ValueError:
        logger.exception("failed", stack_info=True)
    (line,) = out.getvalue().splitlines()
    assert "ValueError: wrong" in json.loads(line)["traceback"]
    assert "Stack (most recent call last)" in json.loads(line)["traceback"]


def test_people_read_names_and_values() -> None:
    out = io.StringIO()
    configure_logging("human", stream=out)
    logger.warning("careful", extra={"jobs": 3, "why": "two words", "seconds": 0.25, "nothing": None, "empty": ""})
    assert out.getvalue()[8:] == ' WARNING careful jobs=3 why="two words" seconds=0.25 empty=""\n'


def test_other_peoples_words_neither_break_the_line_nor_drive_the_terminal() -> None:
    out = Terminal()
    configure_logging("auto", stream=out)
    logger.info("a\nb\x1b[31m %s", "\r\u2028", extra={"x": "\x1b]0;title\x07", "y": "z\x9bz"})
    assert out.getvalue().count("\n") == 1
    assert not set("\x1b\r\x07\u2028\x9b") & set(out.getvalue())


def test_a_terminal_gets_colour_and_a_pipe_json() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    configure_logging("auto", stream=terminal)
    logger.error("bad")
    configure_logging("auto", stream=pipe)
    logger.error("bad")
    assert terminal.getvalue().startswith("\x1b[31m")
    assert json.loads(pipe.getvalue())["level"] == "error"


def test_a_second_call_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging("json", "info", stream=first)
    configure_logging("json", "warning", stream=second)
    logger.info("no")
    logger.warning("yes")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_warnings_are_events_too() -> None:
    out = io.StringIO()
    configure_logging("json", stream=out)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("mind", UserWarning, stacklevel=1)
    assert "mind" in json.loads(out.getvalue())["event"]


def test_a_process_without_standard_error_can_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    configure_logging("auto")


@pytest.mark.parametrize(("format_", "level"), [("xml", "info"), ("json", "loud"), ("json", "INFO")])
def test_what_there_is_not_is_refused(format_: str, level: str) -> None:
    with pytest.raises(ConfigurationError, match="is one of"):
        configure_logging(format_, level)

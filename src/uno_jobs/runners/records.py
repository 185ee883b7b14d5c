"""Errors as they are stored: bounded, storable text that begins where the user's code begins."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

from uno_jobs.outcomes import ErrorRecord
from uno_jobs.storable import scrub_text

if TYPE_CHECKING:
    from types import TracebackType

TRACEBACK_LIMIT: Final = 32_000
"""Longest traceback stored, in bytes."""
MESSAGE_LIMIT: Final = 4_000
"""Longest message or reason stored, in bytes."""

_OWN_FRAMES: Final = str(Path(__file__).parent)


def record_error(error: BaseException) -> ErrorRecord:
    """Return an error as it is stored. Never raises, however the error's own methods behave."""
    return ErrorRecord(type=error_type(error), message=error_message(error), traceback=_traceback(error))


def error_line(error: BaseException) -> str:
    """Return class and text of an error, bounded, as one text."""
    return bounded(": ".join(filter(None, (error_type(error), error_message(error)))), MESSAGE_LIMIT)


def error_type(error: BaseException) -> str:
    """Return the error's class with its module (built-in ones without)."""
    cls = type(error)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    return bounded(scrub_text(name), MESSAGE_LIMIT)


def error_message(error: BaseException) -> str:
    """Return the error's text."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the user's __str__ may raise anything; the record must be made
        text = f"<{type(error).__name__}, whose __str__ failed>"
    return bounded(scrub_text(text), MESSAGE_LIMIT)


def bounded(text: str, limit: int) -> str:
    """Return a text of at most ``limit`` bytes of UTF-8, the middle left out where it is longer."""
    if len(text) * 4 <= limit:
        return text
    raw = text.encode()
    if len(raw) <= limit:
        return text
    mark = f"\n[… {len(raw) - limit:,} bytes and more left out …]\n"
    room = max(limit - len(mark.encode()), 0)
    head = raw[: room // 2].decode(errors="ignore")
    tail = raw[len(raw) - (room - room // 2) :].decode(errors="ignore")
    return f"{head}{mark}{tail}"


def _traceback(error: BaseException) -> str:
    try:
        lines = traceback.format_exception(type(error), error, _users_part(error.__traceback__))
    except Exception as second:  # noqa: BLE001 - formatting runs the user's __str__ and __repr__
        return bounded(scrub_text(f"<no traceback: {type(second).__name__} while formatting it>"), MESSAGE_LIMIT)
    return bounded(scrub_text("".join(lines)), TRACEBACK_LIMIT)


def _users_part(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the runner's own frames at the top, unless there are no others."""
    inner = trace
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(_OWN_FRAMES):
        inner = inner.tb_next
    return inner or trace

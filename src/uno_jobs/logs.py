"""Logs: one line an event, for people on a terminal and as JSON elsewhere, over the standard library's logging."""

from __future__ import annotations

import datetime
import json
import logging
import re
import sys
from typing import Any, Final, TextIO

from uno_jobs.errors import ConfigurationError

FORMATS: Final = ("auto", "human", "json")
LEVELS: Final = ("debug", "info", "warning", "error")

# What every record has; the rest of it was given as ``extra``.
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_COLOURS: Final = {"DEBUG": "\x1b[2m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[1;31m"}
_PLAIN: Final = re.compile(r"[^\s\"=]+")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, event, what was given as ``extra``, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        said: dict[str, Any] = {
            "time": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        for name, value in _extra(record).items():
            # An extra that has the name of one of ours must not hide it.
            said[f"{name}_" if name in said else name] = value
        if trace := _traceback(self, record):
            said["traceback"] = trace
        try:
            return json.dumps(said, default=_shown, allow_nan=False)
        except (ValueError, TypeError):
            # NaN, a loop, or a key that is none: rather a poorer line than none.
            return json.dumps(
                {name: value if isinstance(value, str) else _shown(value) for name, value in said.items()}
            )


class HumanFormatter(logging.Formatter):
    """Local time, level, message, then the extras as ``name=value``; a traceback follows on lines of its own."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = f"{_time(record).astimezone():%H:%M:%S} {record.levelname:<7} {_one_line(record.getMessage())}"
        line += "".join(f" {name}={_value(value)}" for name, value in _extra(record).items() if value is not None)
        if self._colour and (start := _COLOURS.get(record.levelname)):
            line = f"{start}{line}\x1b[0m"
        if trace := _traceback(self, record):
            line += "\n" + trace
        return line


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that a second call of ``configure_logging`` finds the first one's."""


def configure_logging(format_: str = "auto", level: str = "info", *, stream: TextIO | None = None) -> None:
    """Send the process's log to standard error.

    Args:
        format_: ``human``, ``json``, or ``auto``: human on a terminal, JSON elsewhere.
        level: ``debug``, ``info``, ``warning`` or ``error``.
        stream: Another place for it.

    Raises:
        ConfigurationError: There is no such format or level.
    """
    if format_ not in FORMATS:
        raise ConfigurationError(f"the log's format is one of {', '.join(FORMATS)}, not {format_!r}")
    if level not in LEVELS:
        raise ConfigurationError(f"the log's level is one of {', '.join(LEVELS)}, not {level!r}")
    # A process may have no standard error at all.
    target: TextIO | None = stream or sys.stderr
    terminal = target is not None and target.isatty()
    human = format_ == "human" or (format_ == "auto" and terminal)
    handler = _Handler(target)
    handler.setFormatter(HumanFormatter(colour=terminal) if human else JsonFormatter())
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)


def _time(record: logging.LogRecord) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(record.created, datetime.UTC)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _OWN and not name.startswith("_")}


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts: list[str] = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    elif record.exc_text:
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)


def _one_line(text: str) -> str:
    """Escape what would break the line or drive the terminal: messages can hold other people's words."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def _value(value: Any) -> str:
    text = _shown(value)
    return _one_line(text) if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else str(value)

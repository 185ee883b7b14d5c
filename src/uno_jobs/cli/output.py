"""What commands write: tables for people, one JSON document for programs."""

from __future__ import annotations

import datetime
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

# A job's data must not drive the terminal of who looks at it.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
NOBODY_READS: Final = 141
"""Exit status of a program that SIGPIPE ended, as shells say it."""
EXACT: Final = 10_000
"""Up to so many, jobs are counted; more are estimated."""
WIDE: Final = 1000
"""Columns where nobody's screen sets a limit."""


def write(text: str = "") -> None:
    """Write a line to standard output; where nobody reads any more (``| head``), end as SIGPIPE would."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _end_unread()


def console() -> Console:
    """Return a console on standard output, where lines are as long as they are unless it is a terminal."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            _end_unread()

    width = None if sys.stdout.isatty() else WIDE
    return Output(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def write_json(document: Any) -> None:
    """Write one JSON document to standard output. Times are ISO 8601, durations seconds."""
    write(json.dumps(document, default=_plain, indent=2))


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", empty: str = "") -> None:
    """Write a table, or the sentence ``empty`` when there are no rows. Columns of numbers are set flush right."""
    rows = list(rows)
    if not rows:
        write(f"{title}: {empty}" if title else empty)
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        numbers = all(isinstance(row[place], int | float) or str(row[place]).startswith("≈") for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    console().print(table)


def write_fields(fields: Mapping[str, object]) -> None:
    """Write names and values, one a line; values that are None are left out."""
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        if value is not None:
            write(f"{name:<{width}}  {cell(value)}")


def cell(value: object) -> str:
    """Return a value as a person reads it, on one line."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
        case datetime.datetime():
            return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
        case dict() | list() | tuple():
            return printable(json.dumps(value, default=_plain, ensure_ascii=False))
        case _:
            return printable(str(value)).replace("\n", "\\n")


def count(number: int, *, estimated: bool = False) -> int | str:
    """Return a count as it is up to 10,000; above, where it is an estimate, marked so and in two digits."""
    if number <= EXACT and not estimated:
        return number
    return f"≈{round(number, 2 - len(str(number))):,}"


def ago(seconds: float | None) -> str:
    """Return an age in words of one unit, such as ``3 s`` or ``2 h``."""
    if seconds is None:
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def shorten(text: str | None, length: int) -> str:
    """Return at most so many characters, on one line."""
    line = " ".join((text or "").split())
    return line if len(line) <= length else line[: length - 1] + "…"


def printable(text: str) -> str:
    """Return a text whose control characters are escaped, line ends and tabs aside."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def _end_unread() -> NoReturn:
    # Python flushes once more at the end, which must not raise again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(NOBODY_READS) from None


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return value.total_seconds() if isinstance(value, datetime.timedelta) else str(value)

"""What the demo shows: steps, progress and trees that change on a terminal (plain lines elsewhere), tables."""

from __future__ import annotations

import contextlib
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from rich.console import RenderableType

console = Console(highlight=False, width=None if sys.stdout.isatty() else 118)


def step(text: str) -> None:
    """Say what happens next."""
    console.print(f"\n[bold]{text}[/bold]")


def say(text: str) -> None:
    """Say what came of it."""
    console.print(f"  {text}", markup=False, soft_wrap=True)
    sys.stdout.flush()


@contextlib.contextmanager
def progress(what: str, total: int) -> Generator[Callable[[int], None]]:
    """Show how far something is; the function given takes the number done so far."""
    if not console.is_terminal:
        yield _lines(what, total)
        return
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        row = bar.add_task(what, total=total)
        yield lambda done: bar.update(row, completed=done)


@contextlib.contextmanager
def live(what: str) -> Generator[Callable[[RenderableType, int, int], None]]:
    """Show something that changes, in its place; the function given also takes how much of how many is done.

    Without a terminal, a line says how much is done, and the thing itself is printed at the end only.
    """
    last: RenderableType = ""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as screen:
            yield lambda drawn, _done, _total: screen.update(Padding(drawn, (0, 0, 0, 2)), refresh=True)
        return
    lines: Callable[[int], None] | None = None

    def show(drawn: RenderableType, done: int, total: int) -> None:
        nonlocal last, lines
        last, lines = drawn, lines or _lines(what, total)
        lines(done)

    yield show
    _print_plain(last)


def _lines(what: str, total: int) -> Callable[[int], None]:
    """Return what prints a line for every fifth that is done."""
    printed = 0

    def show(done: int) -> None:
        nonlocal printed
        fifths = 5 * done // max(total, 1)
        if fifths > printed:
            printed = fifths
            say(f"{what}: {done} of {total}")

    return show


def table(sql: str, columns: Iterable[str], rows: Sequence[Sequence[Any]]) -> None:
    """Show a query and what it returned."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        number = bool(rows) and isinstance(rows[0][index], int | float)
        shown.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(_text(value) for value in row))
    query = textwrap.indent(sql.strip(), "  ")
    answer = shown if rows else "  (no rows)"
    if console.is_terminal:
        console.print(Syntax(query, "sql", theme="ansi_dark", background_color="default", word_wrap=True))
        console.print(answer)
        return
    console.print(query, markup=False, soft_wrap=True)
    _print_plain(answer)


def _print_plain(drawn: RenderableType) -> None:
    with console.capture() as captured:
        console.print(drawn)
    # rich fills lines up with blanks, which a log does not need.
    lines = [line.rstrip() for line in captured.get().splitlines()]
    console.print("\n".join(f"  {line}".rstrip() for line in lines).strip("\n"), markup=False, soft_wrap=True)


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

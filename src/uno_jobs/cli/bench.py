"""``uno-jobs bench``: measures uno-jobs in a temporary schema of a database, beside what bare SQL does there."""

from __future__ import annotations

import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from uno_jobs.cli import asking, options, output

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from uno_jobs.bench.measuring import Figure, Size

    Told = Callable[[int, int, str], None]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def bench(
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Jobs to enqueue in bulk and to drain.")] = 20_000,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds, of which the medians are shown.")] = 3,
    concurrency: options.Concurrency = None,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Worker processes of the second drain.")] = 2,
    database_url: options.DatabaseUrl = None,
    json: options.Json = False,
) -> None:
    """Measure enqueueing, draining and latency on your database, in a temporary schema, beside bare SQL."""
    from uno_jobs.bench.measuring import Size
    from uno_jobs.bench.place import check_settings

    settings = options.settings(concurrency=concurrency, database_url=database_url)
    check_settings(settings)
    size = Size(jobs, rounds, settings.concurrency, processes)
    received: list[signal.Signals] = []
    document = asking.run(_until_signal(settings.database(), size, received))
    if document is None:
        raise typer.Exit(128 + received[0])
    figures: list[Figure] = document.pop("figures")
    if json:
        output.write_json(
            {**document, "figures": {one.name: _figure(one) for one in figures}},
        )
        return
    output.write_table(
        ["", "uno-jobs", "bare SQL", "unit", "ratio"],
        [[one.title, output.cell(one.value), output.cell(one.limit), one.unit, round(one.ratio, 2)] for one in figures],
    )
    output.write(f"Medians of {rounds} rounds; percentiles over all of them. " + _in_words(document["measured_on"]))


async def _until_signal(url: str, size: Size, received: list[signal.Signals]) -> dict[str, Any] | None:
    """Measure; at the first signal clean up, and return None."""
    import asyncio

    loop = asyncio.get_running_loop()
    work = asyncio.ensure_future(_measure(url, size))

    def on_signal(number: signal.Signals) -> None:
        # Further ones change nothing: what is left to do is to clean up.
        if not received:
            _say("cleaning up …")
            work.cancel()
        received.append(number)

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await work
    except asyncio.CancelledError:
        if not received:
            raise
        return None
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


async def _measure(url: str, size: Size) -> dict[str, Any]:
    from uno_jobs.bench.machine import surroundings
    from uno_jobs.bench.measuring import measure
    from uno_jobs.bench.place import temporary_schema
    from uno_jobs.storage.session import connect
    from uno_jobs.storage.urls import hide_password

    shown = hide_password(url)
    _say(f"Measuring on {shown}, in a temporary schema; the load is real.")
    async with temporary_schema(url, _say) as schema:
        connection = await connect(url, schema, name="uno-jobs bench")
        try:
            measured_on = await surroundings(connection)
        finally:
            await connection.close()
        with _progress() as told:
            figures = await measure(url, schema, size, told)
    return {"database": shown, "schema": schema, "measured_on": measured_on, **size._asdict(), "figures": figures}


@contextlib.contextmanager
def _progress() -> Generator[Told]:
    """Show on a terminal how far it is; on standard error, as all but the result."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(file=sys.stderr)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=None)
        yield lambda done, total, what: progress.update(bar, completed=done, total=total, description=what)


def _figure(one: Figure) -> dict[str, Any]:
    return {"unit": one.unit, "value": one.value, "limit": one.limit, "ratio": one.ratio}


def _in_words(measured_on: dict[str, Any]) -> str:
    return (
        f"PostgreSQL {measured_on['postgresql']} (fsync {measured_on['fsync']}, synchronous_commit "
        f"{measured_on['synchronous_commit']}), Python {measured_on['python']}, {measured_on['cores']} cores here."
    )


def _say(text: str) -> None:
    sys.stderr.write(output.printable(text) + "\n")
    sys.stderr.flush()

"""The tree of a workflow on a terminal, as text."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from rich.console import Console

from tests.cli.steps import NOW, a_graph, a_step
from uno_jobs.cli.tree import duration, tree


def drawn(graph: Any, **options: Any) -> list[str]:
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(tree(graph, **options))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_states_durations_progress_and_errors_are_readable_without_colour() -> None:
    ago = {seconds: NOW - timedelta(seconds=seconds) for seconds in range(20)}
    steps = [
        a_step(1, "find", state="succeeded", attempt=1, started_at=ago[10], finished_at=ago[8]),
        a_step(2, "parse", [1], state="running", attempt=2, started_at=ago[5], progress=0.4, progress_message="x\x1b"),
        a_step(
            3, "parse", [1], state="failed", attempt=1, started_at=ago[7], finished_at=ago[6],
            error_type="ValueError", error="no\nsuch \x1b[31mthing",
        ),
        a_step(4, "look", [1], state="scheduled", next_attempt_at=NOW + timedelta(seconds=90)),
        a_step(5, "merge", [2, 3, 4], state="cancelled", error="…", cancelled_because=UUID(int=3)),
    ]  # fmt: skip
    assert drawn(a_graph(steps), ids=False) == [
        f"▶ workflow {UUID(int=2**100)}  running  3 of 5 steps, 60 %  10.0 s  1 failed",
        "├── ✓ find  succeeded  2.0 s",
        "├── group of 3: 1 failed, 1 running, 1 scheduled",
        "│   ├── ▶ parse  running  5.0 s  40 % x\\x1b  attempt 2",
        f"│   ├── ✗ parse  failed  1.0 s  {UUID(int=3)}",
        "│   │     ValueError: no such \\x1b[31mthing",
        "│   └── ◷ look  scheduled  due in 1 min 30 s",
        "└── ⊘ merge  cancelled",
        f"      because of parse ({UUID(int=3)})",
    ]
    assert f"├── ✓ find  succeeded  2.0 s  {UUID(int=1)}" in drawn(a_graph(steps))


def test_a_large_group_is_folded_and_names_those_that_failed() -> None:
    states = {50: "failed", 7_000: "failed", **dict.fromkeys(range(9_000, 9_012), "running")}
    members = [
        a_step(n, f"parse_{n}", [1], state=states.get(n, "succeeded" if n < 9_000 else "ready"))
        for n in range(2, 10_002)
    ]
    lines = drawn(a_graph([a_step(1, "find", state="succeeded"), *members]), ids=False)
    assert lines[1:3] == [
        "├── ✓ find  succeeded",
        "└── group of 10,000: 8,996 succeeded, 2 failed, 12 running, 990 ready",
    ]
    failed = [line for line in lines[1:] if "✗" in line]
    assert [line.split()[2] for line in failed] == ["parse_50", "parse_7000"]
    assert sum("  running" in line for line in lines[1:]) == 5
    assert len(lines) == 1 + 2 + 2 + 5
    (all_failed,) = [
        line
        for line in drawn(a_graph([a_step(n, "t", state="failed") for n in range(60)]), fold=59)
        if "more that failed" in line
    ]
    assert all_failed.endswith("… and 10 more that failed")
    assert len(drawn(a_graph([a_step(n, "t", state="failed") for n in range(60)]), fold=60)) == 62


def test_a_long_chain_shows_what_stands_alike_on_one_line() -> None:
    states = {500: "failed", 501: "running"}
    steps = [
        a_step(n, f"t{n}", [n - 1] if n else [], state=states.get(n, "succeeded" if n < 500 else "cancelled"))
        for n in range(1_000)
    ]
    assert drawn(a_graph(steps), ids=False)[1:] == [
        "├── ✓ 500 steps, t0 to t499  succeeded",
        f"├── ✗ t500  failed  {UUID(int=500)}",
        "├── ▶ t501  running",
        "└── ⊘ 498 steps, t502 to t999  cancelled",
    ]


def test_a_chain_in_a_group_and_an_empty_group_have_their_own_lines() -> None:
    steps = [
        a_step(1, "a", state="succeeded"), a_step(2, "b", [1], state="succeeded"), a_step(3, "c", state="ready"),
        a_step(4, None, state="succeeded"), a_step(5, None, [2, 3, 4]),
    ]  # fmt: skip
    assert drawn(a_graph(steps), ids=False)[1:] == [
        "└── group of 3: 2 succeeded, 1 ready",
        "    ├── chain of 2: 2 succeeded",
        "    │   ├── ✓ a  succeeded",
        "    │   └── ✓ b  succeeded",
        "    ├── ○ c  ready",
        "    └── ✓ group of 0  succeeded",
    ]


def test_durations() -> None:
    assert [duration(s) for s in (0, 0.0123, 0.9996, 59.94, 59.96, 3599.4, 3599.6, 7500)] == [
        "0 ms", "12 ms", "1.0 s", "59.9 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "2 h 5 min",
    ]  # fmt: skip

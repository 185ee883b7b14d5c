"""``uno-jobs workflows`` and the relatives in ``uno-jobs jobs show``, without a worker process."""

from __future__ import annotations

import os
import re
import subprocess
import time
import uuid
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import PROGRAM, execute, settle
from tests.cli.steps import a_graph, a_step
from uno_jobs import SyncQueue, TaskRegistry, task
from uno_jobs.cli.mermaid import flowchart
from uno_jobs.tasks import chain, group

if TYPE_CHECKING:
    from collections.abc import Iterator

    from uno_jobs.queue.handles import SyncJobHandle

LIMIT = 30.0


@pytest.fixture
def t() -> Iterator[Any]:
    with TaskRegistry.isolated():

        @task
        async def find(path: str = "x") -> list: ...

        @task
        async def parse(path: str = "x") -> int: ...

        @task
        async def merge(parts: list) -> int: ...

        yield SimpleNamespace(find=find, parse=parse, merge=merge)


@pytest.fixture
def queue(with_tasks: str) -> Iterator[SyncQueue]:
    with SyncQueue(with_tasks) as queue:
        yield queue


def ids_of(url: str, handle: SyncJobHandle[Any]) -> list[str]:
    """Return the jobs of a workflow, in order, joins included."""
    rows = execute(url, "SELECT id FROM uno_jobs.jobs WHERE workflow_id = $1 ORDER BY id", handle.workflow_id)
    return [str(row["id"]) for row in rows]


def test_workflows_are_listed_newest_first(command: Any, t: Any, queue: SyncQueue, with_tasks: str) -> None:
    assert command("workflows", "list", url=with_tasks).out == "no such workflows\n"
    queue.enqueue(t.find)
    handles = [queue.enqueue(chain(t.find, t.parse)) for _ in range(3)]
    settle(with_tasks, ids_of(with_tasks, handles[1])[0], "failed", error_type="ValueError", error="no\nsuch \x1b[31m")
    workflows = [str(handle.workflow_id) for handle in handles]
    listed = command("workflows", "list", "--json").json
    assert [one["workflow_id"] for one in listed] == workflows[::-1]
    assert [one["state"] for one in listed] == ["waiting", "failed", "waiting"]
    two = command("workflows", "list", "--limit", "2", "--json").json
    assert [one["workflow_id"] for one in two] == workflows[:0:-1]
    failed = command("workflows", "list", "--state", "failed", "--json").json
    assert [one["workflow_id"] for one in failed] == workflows[1:2]
    table = command("workflows", "list").out
    assert [line.split()[0] for line in table.splitlines() if line.strip()[:1].isdigit()] == workflows[::-1]
    assert "find: ValueError: no such \\x1b[31m" in table
    assert command("workflows", "list", "--state", "ready").status == 2
    assert command("workflows", "list", "--limit", "0").status == 2


def test_a_workflow_is_shown_by_its_id_and_by_any_job_of_it(
    command: Any, t: Any, queue: SyncQueue, with_tasks: str
) -> None:
    handle = queue.enqueue(chain(t.find, group([t.parse.si(), t.parse.si()]), t.merge))
    ids = ids_of(with_tasks, handle)
    settle(with_tasks, ids[0], "succeeded")
    settle(with_tasks, ids[1], "failed", error_type="ValueError", error="wrong")
    shown = command("workflows", "show", str(handle.workflow_id), url=with_tasks)
    assert shown.status == 0
    lines = [re.sub(r"  \d+ ms|  \d+\.\d s", "", line).rstrip() for line in shown.out.splitlines()]
    assert lines == [
        f"▶ workflow {handle.workflow_id}  running  3 of 4 steps, 75 %  1 failed",
        f"├── ✓ find  succeeded  {ids[0]}",
        "├── group of 2: 1 failed, 1 ready",
        f"│   ├── ✗ parse  failed  {ids[1]}",
        "│   │     ValueError: wrong",
        f"│   └── ○ parse  ready  {ids[2]}",
        f"└── ⊘ merge  cancelled  {ids[3]}",
        f"      because of parse ({ids[1]})",
    ]
    assert command("workflows", "show", ids[2]).out.splitlines()[0].split()[2] == str(handle.workflow_id)


def test_the_document_of_a_workflow(command: Any, t: Any, queue: SyncQueue, with_tasks: str) -> None:
    handle = queue.enqueue(group([t.find, t.parse]))
    ids = ids_of(with_tasks, handle)
    document = command("workflows", "show", str(handle.workflow_id), "--json", url=with_tasks).json
    steps = document.pop("steps")
    assert set(document) == {
        "workflow_id", "state", "jobs", "waiting", "scheduled", "ready", "running", "succeeded", "failed", "cancelled",
        "percent", "created_at", "started_at", "finished_at", "failed_job", "failed_task", "failed_at", "error_type",
        "error",
    }  # fmt: skip
    assert (document["workflow_id"], document["state"], document["jobs"], document["percent"]) == (
        str(handle.workflow_id), "waiting", 2, 0,
    )  # fmt: skip
    assert [step["id"] for step in steps] == ids
    assert [(step["task"], step["state"], step["parents"]) for step in steps] == [
        ("find", "ready", []), ("parse", "ready", []), (None, "waiting", ids[:2]),
    ]  # fmt: skip
    assert set(steps[0]) == {
        "id", "task", "queue", "state", "attempt", "failures", "next_attempt_at", "started_at", "finished_at",
        "progress", "progress_message", "error_type", "error", "cancelled_because", "parents",
    }  # fmt: skip


def test_what_is_no_workflow_is_said_to_be_none(command: Any, t: Any, queue: SyncQueue, with_tasks: str) -> None:
    alone = queue.enqueue(t.find)
    for id_ in (str(uuid.uuid4()), str(alone.id)):
        missing = command("workflows", "show", id_, url=with_tasks)
        assert (missing.status, missing.out) == (2, "")
        assert f"{id_} is neither a workflow nor a job of one" in missing.err
    wrong = command("workflows", "show", "latest")
    assert wrong.status == 2
    assert "'latest'" in wrong.err
    assert command("workflows", "show", str(alone.id), "--json", "--mermaid").status == 2


def check_diagram(text: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Check that a diagram can be read; return its boxes with their states, and its arrows."""
    first, *lines = text.splitlines()
    assert first == "flowchart TD"
    boxes: dict[str, str] = {}
    edges: list[tuple[str, str]] = []
    classes: set[str] = set()
    for line in lines:
        if match := re.fullmatch(r'    (s\d+)(?:\["[^"]+"\]|\[\["[^"]+"\]\]|\(\("all"\)\)):::(\w+)', line):
            assert match[1] not in boxes
            boxes[match[1]] = match[2]
        elif match := re.fullmatch(r"    (s\d+) --> (s\d+)", line):
            edges.append((match[1], match[2]))
        else:
            match = re.fullmatch(r"    classDef (\w+) [\w:#,-]+", line)
            assert match, line
            classes.add(match[1])
        for label in re.findall(r'"(.*)"', line):
            assert not re.search(r"[<>`\[\]{}|\\]|#(?!\d+;)", label), label
    assert all(end in boxes for edge in edges for end in edge)
    assert len(set(edges)) == len(edges)
    assert classes == set(boxes.values())
    return boxes, edges


def test_a_diagram(command: Any, t: Any, queue: SyncQueue, with_tasks: str) -> None:
    handle = queue.enqueue(chain(t.find, group([t.parse.si(), t.parse.si()]), group([t.find.si(), t.merge])))
    settle(with_tasks, ids_of(with_tasks, handle)[0], "succeeded")
    shown = command("workflows", "show", str(handle.workflow_id), "--mermaid", url=with_tasks)
    boxes, edges = check_diagram(shown.out)
    assert list(boxes.values()) == ["succeeded", "ready", "ready", *["waiting"] * 4]
    # Two joins, named after the steps: between the groups, and at the end.
    assert edges == [
        ("s1", "s2"), ("s1", "s3"), ("s2", "s6"), ("s3", "s6"), ("s6", "s4"), ("s6", "s5"), ("s4", "s7"), ("s5", "s7"),
    ]  # fmt: skip
    assert 's1["✓ find"]:::succeeded' in shown.out


def test_the_labels_of_a_diagram_are_escaped() -> None:
    name = 'say "hi" <b>#1;</b> `x` [a] {b} | c\\d %% end\x1b'
    text = flowchart(a_graph([a_step(1, name), a_step(2, "end", [1])]))
    check_diagram(text)
    label = re.findall(r'"(.*)"', text)[0]
    assert re.sub(r"#(\d+);", lambda match: chr(int(match[1])), label) == "· " + name.replace("\x1b", "\\x1b")


def test_a_diagram_of_a_large_workflow_is_folded() -> None:
    members = [a_step(n, "parse", [1], state="failed" if n in (5, 50) else "succeeded") for n in range(2, 10_002)]
    join = a_step(10_002, None, range(2, 10_002), state="cancelled")
    after = [a_step(10_003 + n, "merge", [10_002], state="cancelled") for n in range(2)]
    text = flowchart(a_graph([a_step(1, "find", state="succeeded"), *members, join, *after]))
    boxes, edges = check_diagram(text)
    assert list(boxes.values()) == ["succeeded", "failed", "failed", "succeeded", "cancelled", "cancelled", "cancelled"]
    assert 's4[["✓ 9,998 succeeded"]]' in text
    assert ("s4", "s7") in edges
    assert len(edges) == 3 + 3 + 2
    # Nothing stands out: the join is in the box as well.
    quiet = [a_step(1, "find"), *(a_step(n, "parse", [1]) for n in range(2, 40)), a_step(40, None, range(2, 40))]
    boxes, edges = check_diagram(flowchart(a_graph([*quiet, a_step(41, "a", [40]), a_step(42, "b", [40])])))
    assert (len(boxes), len(edges)) == (4, 3)
    long = [a_step(n, "t", [n - 1] if n else [], state="running" if n == 500 else "succeeded") for n in range(1_000)]
    assert check_diagram(flowchart(a_graph(long))) == (
        {"s1": "succeeded", "s2": "running", "s3": "succeeded"}, [("s1", "s2"), ("s2", "s3")],
    )  # fmt: skip


def test_a_workflow_is_watched_to_its_end(t: Any, queue: SyncQueue, with_tasks: str) -> None:
    handle = queue.enqueue(chain(t.find, t.parse))
    first, second = ids_of(with_tasks, handle)
    settle(with_tasks, first, "succeeded")
    watching = subprocess.Popen(
        [*PROGRAM, "workflows", "show", second, "--watch", "--database-url", with_tasks],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    try:
        looked = "SELECT count(*) > 0 AS yes FROM pg_stat_activity WHERE datname = current_database() AND query LIKE $1"
        deadline = time.monotonic() + LIMIT
        while not execute(with_tasks, looked, "%workflow_status w%")[0]["yes"]:
            assert time.monotonic() < deadline
            assert watching.poll() is None
        settle(with_tasks, second, "succeeded")
        out, _ = watching.communicate(timeout=LIMIT)
    finally:
        watching.kill()
    assert watching.returncode == 0
    assert f"✓ workflow {handle.workflow_id}  succeeded  2 of 2 steps, 100 %" in out


def test_a_job_names_its_parents_its_children_and_its_workflow(
    command: Any, t: Any, queue: SyncQueue, with_tasks: str
) -> None:
    handle = queue.enqueue(chain(t.find, group([t.parse.si() for _ in range(30)]), t.merge))
    ids = ids_of(with_tasks, handle)
    settle(with_tasks, ids[0], "succeeded")
    settle(with_tasks, ids[25], "failed", error_type="ValueError", error="wrong")
    member = command("jobs", "show", ids[1], url=with_tasks).out
    rows = [line.split() for line in member.splitlines()]
    assert [ids[0], "find", "succeeded"] in rows
    assert [ids[31], "merge", "cancelled"] in rows
    assert f"uno-jobs workflows show {handle.workflow_id}" in member
    assert "more" not in member
    last = command("jobs", "show", ids[31]).out
    named = [line.split() for line in last.splitlines() if re.match(r" *[0-9a-f]{8}-", line)]
    assert named == [[ids[25], "parse", "failed"], *([id_, "parse", "ready"] for id_ in ids[1:20])]
    assert "… and 10 more; of all 30: 29 ready, 1 failed" in last
    document = command("jobs", "show", ids[31], "--json").json
    assert [parent["id"] for parent in document["parents"]] == ids[1:31]
    assert "the whole workflow" not in command("jobs", "show", str(queue.enqueue(t.find).id)).out

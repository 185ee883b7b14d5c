"""``uno-jobs check``: what it writes, and its exit status."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import execute
from uno_jobs.tasks import TaskRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CODE = """
from uno_jobs import task

@task
async def resize(image: str, size: int) -> None: ...

@task(version="2.0")
async def crop(image: str) -> None: ...
"""


@pytest.fixture(autouse=True)
def new_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The release that is to be deployed lies in the current folder."""
    (tmp_path / "release.py").write_text(CODE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with TaskRegistry.isolated():
        yield
    sys.modules.pop("release", None)


def put(url: str, task: str, version: str, args: str) -> str:
    [row] = execute(
        url,
        """
        WITH made AS (
            INSERT INTO uno_jobs.jobs (id, created_at, priority, task, version, queue, args, kwargs)
            VALUES (gen_random_uuid(), now(), 5, $1, $2, 'default', $3::text::jsonb, '{}') RETURNING id)
        INSERT INTO uno_jobs.live_jobs (id, seq, state, priority, task, version, queue)
        SELECT id, 1, 'ready', 5, $1, $2, 'default' FROM made RETURNING id
        """,
        task,
        version,
        args,
    )
    return str(row["id"])


def test_all_would_run(command: Any, database_url: str) -> None:
    nothing = command("check", "--app", "release", url=database_url)
    assert (nothing.status, nothing.out) == (0, "there are no unfinished jobs to check\n")
    put(database_url, "resize", "1.0", '["a", 3]')
    fine = command("check", "--app", "release")
    assert (fine.status, fine.out) == (0, "1 unfinished job checked: nothing stands in their way with this code\n")


def test_what_would_not_run_is_told_by_task_and_reason(command: Any, database_url: str) -> None:
    put(database_url, "resize", "1.0", '["a", 3]')
    failing = [put(database_url, "resize", "1.0", '["a"]') for _ in range(2)]
    staying = put(database_url, "crop", "1.0", '["a"]')
    other = put(database_url, "e\x1b[2J", "1.0", "[]")
    checked = command("check", "--app", "release", url=database_url)
    assert checked.status == 1
    lines = [line.strip() for line in checked.out.splitlines()]
    assert lines[:9] == [
        "would stay  crop@1.0: 1 job",
        "uno_jobs.errors.TaskNotFound: task 'crop' has no version '1.0' here; it has '2.0'",
        f"such as {staying}",
        "would stay  e\\x1b[2J@1.0: 1 job",
        "uno_jobs.errors.TaskNotFound: no task 'e\\x1b[2J' is registered in this process: import the module that "
        "defines it, or call discover_tasks(...)",
        f"such as {other}",
        "would fail  resize@1.0: 2 jobs",
        "uno_jobs.errors.InvalidArguments: task 'resize' (version 1.0): missing 'size'",
        f"such as {', '.join(sorted(failing))}",
    ]
    assert "4 of 5 unfinished jobs would not run with this code" in checked.out
    document = command("check", "--app", "release", "--json", "--known-only").json
    assert {name: value for name, value in document.items() if name != "problems"} == {
        "checked": 4,
        "left_out": 1,
        "complete": True,
        "failing": 3,
    }
    assert document["problems"][1] == {
        "kind": "arguments",
        "task": "resize",
        "version": "1.0",
        "error_type": "uno_jobs.errors.InvalidArguments",
        "reason": "task 'resize' (version 1.0): missing 'size'",
        "jobs": 2,
        "examples": sorted(failing),
    }


def test_a_part_of_them(command: Any, database_url: str) -> None:
    for _ in range(3):
        put(database_url, "resize", "1.0", '["a", 3]')
    some = command("check", "--app", "release", "--limit", "2", url=database_url)
    assert some.status == 0
    assert some.out.splitlines() == [
        "2 unfinished jobs checked: nothing stands in their way with this code",
        "there are more jobs: --limit ended the check",
    ]
    none = command("check", "--app", "release", "--queue", "mail")
    assert (none.status, none.out) == (0, "there are no unfinished jobs to check\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "no tasks: name the modules that have them"),
        (("--app", "missing_module"), "there is no module 'missing_module'"),
        (("--app", "release", "--schema", "elsewhere"), "uno-jobs db upgrade"),
        (("--app", "release", "--database-url", "postgresql://postgres@127.0.0.1:1/nowhere"), "cannot be reached"),
        (("--app", "release", "--limit", "0"), "--limit"),
    ],
)
def test_it_says_when_it_could_not_run(command: Any, database_url: str, arguments: tuple[str, ...], says: str) -> None:
    refused = command("check", *arguments, url=database_url)
    assert refused.status == 2
    assert says in refused.err
    assert refused.out == ""

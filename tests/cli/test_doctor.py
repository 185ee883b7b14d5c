"""``uno-jobs doctor``: what it writes, and its exit status."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.conftest import execute
from uno_jobs.doctor import check_names


def test_a_sound_database(command: Any, with_tasks: str) -> None:
    examined = command("doctor", url=with_tasks)
    assert (examined.status, examined.err) == (0, "")
    lines = examined.out.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", name] for name in check_names()]


def test_what_is_wrong_is_said_with_what_to_do(command: Any, with_tasks: str) -> None:
    execute(with_tasks, "SELECT uno_jobs.enqueue('send_email', '[\"a\"]', queue => 'nobodys')")
    examined = command("doctor", url=with_tasks)
    assert examined.status == 1
    at = next(n for n, line in enumerate(examined.out.splitlines()) if line.startswith("error"))
    assert "'nobodys', which no worker serves" in examined.out.splitlines()[at]
    assert examined.out.splitlines()[at + 1].strip().startswith("→ start one for it")
    document = command("doctor", "--json").json
    assert document["status"] == "error"
    assert [one["check"] for one in document["checks"]] == list(check_names())
    [wrong] = [one for one in document["checks"] if one["status"] != "ok"]
    assert wrong["details"] == [{"queue": "nobodys", "ready": 1}]
    assert command("doctor", "--check", "server", "--check", "vacuum").status == 0


def test_warnings_count_only_when_strict(command: Any, with_tasks: str) -> None:
    execute(with_tasks, "UPDATE uno_jobs.workers SET state = 'dead', stopped_at = now(), cause = E'killed\\x1b[2J'")
    examined = command("doctor", "--check", "workers", url=with_tasks)
    assert examined.status == 0
    assert examined.out.startswith("warning  workers")
    # What is in the database does not drive the terminal.
    assert "\\x1b[2J" in examined.out
    assert command("doctor", "--check", "workers", "--strict").status == 1


def test_it_says_when_it_could_not_run(command: Any, with_tasks: str) -> None:
    for arguments in (
        ("--database-url", "postgresql://postgres@127.0.0.1:1/nowhere"),
        ("--check", "nonsense"),
        ("--schema", "pg_mine"),
    ):
        refused = command("doctor", *arguments, url=with_tasks)
        assert refused.status == 2
        assert len(refused.err.splitlines()) == 1


def test_a_schema_that_is_not_there_is_something_wrong(command: Any, with_tasks: str) -> None:
    examined = command("doctor", "--schema", "missing", "--json", url=with_tasks)
    assert examined.status == 1
    found = {one["check"]: one["status"] for one in json.loads(examined.out)["checks"]}
    assert found["schema"] == "error"
    assert found["queues"] == "unknown"
    assert found["server"] == "ok"

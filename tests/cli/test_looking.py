"""``uno-jobs enqueue``, ``status``, ``jobs``, ``tasks`` and ``workers``, without a worker process."""

from __future__ import annotations

import uuid
from typing import Any

from tests.cli.conftest import WORKER, execute, settle


def test_an_enqueued_job_has_what_it_was_given(command: Any, with_tasks: str) -> None:
    done = command(
        "enqueue", "send_email", "--args", '["a@b.c"]', "--kwargs", '{"subject": "hello"}', "--queue", "other",
        "--priority", "high", "--delay", "3600", "--metadata", '{"tenant": 5}', "--unique-key", "k", url=with_tasks,
    )  # fmt: skip
    assert done.status == 0
    id_ = done.out.strip()
    job = command("jobs", "show", id_, "--json").json
    assert (job["id"], job["state"], job["task"], job["version"]) == (id_, "scheduled", "send_email", "2.0")
    assert (job["queue"], job["priority"], job["unique_key"]) == ("other", 3, "k")
    assert (job["args"], job["kwargs"], job["metadata"]) == (["a@b.c"], {"subject": "hello"}, {"tenant": 5})
    again = command("enqueue", "send_email", "--args", '["x"]', "--unique-key", "k", "--json")
    assert again.json == {"id": id_}
    at = command(
        "enqueue", "send_email", "--args", '["a"]', "--run-at", "2099-01-01T00:00:00+01:00", "--version", "1.0"
    )
    job = command("jobs", "show", at.out.strip(), "--json").json
    assert (job["version"], job["scheduled_at"]) == ("1.0", "2098-12-31T23:00:00+00:00")


def test_what_the_database_refuses_is_bad_input(command: Any, with_tasks: str) -> None:
    for arguments, said in (
        (["nothing_known"], 'no living worker knows a task named "nothing_known"'),
        (["send_email", "--version", "9"], "no worker has ever registered version 9"),
        (["send_email"], 'argument "to" is missing'),
        (["send_email", "--args", '["a", "b", "c"]'], "takes 2 positional arguments"),
        (["send_email", "--args", '["a"]', "--priority", "urgent"], "a priority is critical"),
        (["send_email", "--args", '["a"]', "--queue", "q" * 129], "1 to 128 characters"),
        (["send_email", "--args", '["\\u0000"]'], "cannot be converted to text"),
    ):
        refused = command("enqueue", *arguments, url=with_tasks)
        assert refused.status == 2, arguments
        assert said in refused.err
        assert len(refused.err.splitlines()) == 1
    assert command("jobs", "list", "--json").json == []


def test_jobs_are_listed_and_filtered(command: Any, with_tasks: str) -> None:
    assert command("jobs", "list", url=with_tasks).out == "no such jobs\n"
    ids = [
        command("enqueue", "send_email", "--args", f'["{n}"]', "--queue", queue).out.strip()
        for n, queue in enumerate(("mail", "mail", "other"))
    ]
    settle(
        with_tasks,
        ids[0],
        "failed",
        error_type="ValueError",
        error="no\nsuch \x1b[31maddress",
        traceback="line 1\nline 2",
    )
    listed = command("jobs", "list", "--json").json
    assert [one["id"] for one in listed] == ids[::-1]
    assert [one["id"] for one in command("jobs", "list", "--state", "failed", "--json").json] == [ids[0]]
    assert [one["id"] for one in command("jobs", "list", "--queue", "other", "--json").json] == [ids[2]]
    assert command("jobs", "list", "--task", "nothing", "--json").json == []
    assert [one["id"] for one in command("jobs", "list", "--limit", "1", "--json").json] == [ids[2]]
    table = command("jobs", "list")
    assert all(id_ in table.out for id_ in ids)
    assert "\x1b" not in table.out
    shown = command("jobs", "show", ids[0])
    assert "ValueError: no\nsuch \\x1b[31maddress" in shown.out
    assert "    line 1\n    line 2" in shown.out
    job = command("jobs", "show", ids[0], "--json").json
    (attempt,) = job["attempts"]
    assert (attempt["outcome"], attempt["hostname"], attempt["pid"]) == ("failed", "host-a", 4711)
    assert attempt["traceback"] == "line 1\nline 2"


def test_a_job_that_there_is_not_is_bad_input(command: Any, with_tasks: str) -> None:
    missing = command("jobs", "show", str(uuid.uuid4()), url=with_tasks)
    assert missing.status == 2
    assert "there is no job" in missing.err


def test_status_of_nothing(command: Any, database_url: str) -> None:
    assert "no jobs yet" in command("status", url=database_url).out


def test_status_counts_by_queue_and_state(command: Any, with_tasks: str) -> None:
    ids = [command("enqueue", "send_email", "--args", '["x"]', url=with_tasks).out.strip() for _ in range(4)]
    command("enqueue", "send_email", "--args", '["x"]', "--delay", "99", "--queue", "other")
    settle(with_tasks, ids[0], "failed", error_type="ValueError", error="wrong")
    settle(with_tasks, ids[1], "succeeded")
    found = command("status", "--json").json
    counts = {row["queue"]: {k: v for k, v in row.items() if isinstance(v, int) and v} for row in found["queues"]}
    assert counts == {"default": {}, "mail": {"ready": 2, "failed": 1, "succeeded": 1}, "other": {"scheduled": 1}}
    assert [one["id"] for one in found["failures"]] == [ids[0]]
    assert [one["id"] for one in found["workers"]] == [WORKER]
    table = command("status").out
    assert "ValueError: wrong" in table
    assert WORKER in table


def test_tasks_and_workers(command: Any, with_tasks: str) -> None:
    rows = command("tasks", "--json", url=with_tasks).json
    assert [(row["task"], row["version"], row["living_workers"]) for row in rows] == [
        ("send_email", "1.0", 1),
        ("send_email", "2.0", 1),
    ]
    assert "to, subject" in command("tasks").out
    (worker,) = command("workers", "--json").json
    assert (worker["id"], worker["state"], worker["queues"]) == (WORKER, "running", ["mail", "default"])
    execute(with_tasks, "SELECT uno_jobs.worker_state($1, 'dead', 'hit by a bus')", uuid.UUID(WORKER))
    assert command("workers", "--json").json == []
    assert "none; start one" in command("workers").out
    assert "hit by a bus" in command("workers", "--all").out
    assert [row["living_workers"] for row in command("tasks", "--json").json] == [0, 0]

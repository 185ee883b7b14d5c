"""``uno-jobs jobs cancel`` and ``retry``."""

from __future__ import annotations

import uuid
from typing import Any

from tests.cli.conftest import execute
from tests.cli.test_looking import settle


def enqueue(command: Any, url: str, *more: str) -> str:
    done = command("enqueue", "send_email", "--args", '["a"]', *more, url=url)
    assert done.status == 0
    return done.out.strip()


def start(url: str, id_: str) -> None:
    execute(
        url,
        "UPDATE uno_jobs.live_jobs SET state = 'running', worker_id = gen_random_uuid(), lease = 7, started_at = now(),"
        " attempt = attempt + 1 WHERE id = $1",
        uuid.UUID(id_),
    )


def show(command: Any, id_: str) -> Any:
    return command("jobs", "show", id_, "--json").json


def test_what_has_not_started_is_cancelled(command: Any, with_tasks: str) -> None:
    one, two = enqueue(command, with_tasks), enqueue(command, with_tasks, "--delay", "3600")
    done = command("jobs", "cancel", one, two, one.upper(), "--reason", "not wanted")
    assert (done.status, done.out.splitlines(), done.err) == (0, [f"{one}  cancelled", f"{two}  cancelled"], "")
    for id_ in (one, two):
        job = show(command, id_)
        assert (job["state"], job["error"]) == ("cancelled", "not wanted")


def test_what_runs_is_asked_to_stop(command: Any, with_tasks: str) -> None:
    id_ = enqueue(command, with_tasks)
    start(with_tasks, id_)
    done = command("jobs", "cancel", id_, "--reason", "enough", "--json")
    assert done.status == 0
    assert done.json == [{"id": id_, "answer": "requested", "done": True, "said": "runs; it is asked to stop"}]
    job = show(command, id_)
    assert (job["state"], job["cancel_request"]["reason"]) == ("running", "enough")
    assert job["cancel_request"]["requested_at"] == job["cancel_requested_at"]
    assert "enough" in command("jobs", "show", id_).out


def test_what_cannot_be_cancelled_stops_nothing_else(command: Any, with_tasks: str) -> None:
    over, ready, unknown = enqueue(command, with_tasks), enqueue(command, with_tasks), str(uuid.uuid4())
    settle(with_tasks, over, "succeeded")
    done = command("jobs", "cancel", over, unknown, ready)
    assert done.status == 1
    assert done.out.splitlines() == [
        f"{over}  has ended already",
        f"{unknown}  there is no such job",
        f"{ready}  cancelled",
    ]
    assert [one["done"] for one in command("jobs", "cancel", over, unknown, ready, "--json").json] == [False] * 3


def test_bad_input_changes_nothing(command: Any, with_tasks: str) -> None:
    id_ = enqueue(command, with_tasks)
    for arguments, said in (
        (["cancel", id_, "no-id"], "a job's id is a UUID, which 'no-id' is not"),
        (["retry", "7", id_], "a job's id is a UUID, which '7' is not"),
        (["cancel", id_, "--reason", "x" * 4001], "reason has at most 4000 characters"),
        (["cancel"], "name jobs by their ids, or by a filter"),
        (["retry"], "name jobs by their ids, or by a filter"),
    ):
        done = command("jobs", *arguments)
        assert (done.status, done.out) == (2, "")
        assert said in done.err
    assert show(command, id_)["state"] == "ready"


def test_what_failed_is_retried(command: Any, with_tasks: str) -> None:
    failed, cancelled, late = (
        enqueue(command, with_tasks),
        enqueue(command, with_tasks),
        enqueue(command, with_tasks, "--delay", "3600"),
    )
    settle(with_tasks, failed, "failed", error="no")
    command("jobs", "cancel", cancelled)
    done = command("jobs", "retry", failed, cancelled, late)
    assert (done.status, done.out.splitlines()) == (0, [f"{id_}  ready again" for id_ in (failed, cancelled, late)])
    for id_, attempt in ((failed, 1), (cancelled, 0), (late, 0)):
        job = show(command, id_)
        assert (job["state"], job["attempt"], job["failures"], job["error"]) == ("ready", attempt, 0, None)


def test_what_cannot_be_retried_stops_nothing_else(command: Any, with_tasks: str) -> None:
    first = enqueue(command, with_tasks, "--unique-key", "k")
    settle(with_tasks, first, "failed", error="no")
    holder = enqueue(command, with_tasks, "--unique-key", "k")
    over, runs, failed, unknown = (*(enqueue(command, with_tasks) for _ in range(3)), str(uuid.uuid4()))
    settle(with_tasks, over, "succeeded")
    start(with_tasks, runs)
    settle(with_tasks, failed, "failed", error="no")
    done = command("jobs", "retry", first, holder, over, runs, unknown, failed)
    rule = "only what failed, was cancelled or is scheduled can be retried"
    assert done.status == 1
    assert done.out.splitlines() == [
        f"{first}  another unfinished job holds its unique key: {holder}",
        f"{holder}  is ready: {rule}",
        f"{over}  has succeeded: {rule}",
        f"{runs}  is running: {rule}",
        f"{unknown}  there is no such job",
        f"{failed}  ready again",
    ]
    assert show(command, first)["state"] == "failed"

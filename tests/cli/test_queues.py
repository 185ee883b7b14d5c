"""``uno-jobs queues``."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any

import pytest

from tests.cli.conftest import execute
from tests.cli.test_moving import enqueue, start


def queues(command: Any) -> dict[str, Any]:
    return {row["queue"]: row for row in command("queues", "list", "--json").json}


def test_a_queue_is_paused_and_resumed(command: Any, with_tasks: str) -> None:
    enqueue(command, with_tasks)
    done = command("queues", "pause", "mail", "--reason", "the printer burns")
    assert (done.status, done.out) == (0, "mail is paused\n")
    assert command("queues", "pause", "mail").out == "mail was paused already; nothing was changed\n"
    row = queues(command)["mail"]
    assert (row["ready"], row["workers"], row["weight"], row["pause_reason"]) == (1, 1, 1, "the printer burns")
    for shown in (command("queues", "list").out, command("status").out):
        assert "the printer burns" in shown
    assert command("queues", "resume", "mail").out == "mail is resumed\n"
    assert command("queues", "resume", "mail").out == "mail was not paused; nothing was changed\n"
    assert queues(command)["mail"]["paused_at"] is None


def test_no_queues(command: Any, database_url: str) -> None:
    assert command("queues", "list", url=database_url).out == "no queues yet\n"


@pytest.mark.parametrize("what", ["pause", "resume", "drain", "purge", "weight"])
def test_a_queue_that_there_is_not_is_bad_input(command: Any, with_tasks: str, what: str) -> None:
    more = {"weight": ["2"], "purge": ["--yes"]}.get(what, [])
    done = command("queues", what, "maill", *more, url=with_tasks)
    assert (done.status, done.out) == (2, "")
    assert 'there is no queue "maill"' in done.err
    assert "there are: default, mail" in done.err
    assert set(queues(command)) == {"default", "mail"}
    if what in ("pause", "weight"):
        assert command("queues", what, "maill", *more, "--create").status == 0
        assert "maill" in queues(command)


def test_a_queue_gets_its_weight(command: Any, with_tasks: str) -> None:
    assert command("queues", "weight", "mail", "3", url=with_tasks).out == "mail has weight 3\n"
    assert queues(command)["mail"]["weight"] == 3
    refused = command("queues", "weight", "mail", "0")
    assert (refused.status, refused.out) == (2, "")
    assert "from 1 to 100" in refused.err
    assert queues(command)["mail"]["weight"] == 3


def test_a_purge_asks_or_counts_first(command: Any, with_tasks: str) -> None:
    ids = [enqueue(command, with_tasks), enqueue(command, with_tasks, "--delay", "3600")]
    runs = enqueue(command, with_tasks)
    start(with_tasks, runs)
    assert (
        command("queues", "purge", "mail", "--dry-run").out
        == "2 jobs of mail would be cancelled; nothing was changed\n"
    )
    assert command("queues", "purge", "mail", "--dry-run", "--json").json == {"queue": "mail", "would_cancel": 2}
    refused = command("queues", "purge", "mail")
    assert (refused.status, refused.out) == (2, "")
    assert "--yes" in refused.err
    assert command("jobs", "list", "--state", "cancelled", "--json").json == []
    done = command("queues", "purge", "mail", "--yes", "--reason", "old")
    assert (done.status, done.out) == (0, "2 jobs of mail were cancelled\n")
    for id_ in ids:
        job = command("jobs", "show", id_, "--json").json
        assert (job["state"], job["error"]) == ("cancelled", "its queue was purged: old")
    assert command("jobs", "show", runs, "--json").json["state"] == "running"
    again = command("queues", "purge", "mail", "--yes")
    assert (again.status, again.out) == (0, "nothing of mail was to be cancelled\n")


def test_a_drain_ends_when_nothing_is_left_to_do(command: Any, with_tasks: str) -> None:
    runs = enqueue(command, with_tasks)
    start(with_tasks, runs)
    enqueue(command, with_tasks, "--delay", "3600")
    late = command("queues", "drain", "mail", "--timeout", "0.1")
    assert late.status == 1
    assert "mail is not drained after 0.1 s: mail: 1 running, 0 ready" in late.out
    assert "mail: 1 running, 0 ready" in late.err

    def finish_when_it_is_waited_for() -> None:
        looking = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'uno-jobs queues%' AND datname = $1"
        )
        while not execute(with_tasks, looking, with_tasks.rpartition("/")[2].partition("?")[0])[0][0]:
            time.sleep(0.01)
        execute(
            with_tasks,
            "SELECT uno_jobs.finish(l.worker_id, ARRAY[l.id], ARRAY[l.lease], ARRAY['1'], '[]') "
            "FROM uno_jobs.live_jobs l WHERE l.id = $1",
            uuid.UUID(runs),
        )

    thread = threading.Thread(target=finish_when_it_is_waited_for)
    thread.start()
    done = command("queues", "drain", "mail", "--timeout", "60")
    thread.join()
    assert (done.status, done.out) == (0, "mail is drained; left in it: 1 scheduled for later\n")


def test_a_drain_waits_for_what_nobody_takes_only_if_somebody_may(command: Any, with_tasks: str) -> None:
    enqueue(command, with_tasks, "--queue", "orphan")
    late = command("queues", "drain", "orphan", "--timeout", "0")
    assert late.status == 1
    assert "1 ready, and no living worker serves it" in late.out
    # Of a paused queue nothing is taken: there is only what runs to wait for.
    command("queues", "pause", "orphan")
    done = command("queues", "drain", "orphan", "--timeout", "0")
    assert (done.status, done.out) == (0, "orphan is drained; left in it, paused: 1 ready\n")

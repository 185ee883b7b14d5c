"""``uno-jobs explain``: the database's sentence, printed."""

from __future__ import annotations

import uuid
from typing import Any

from tests.cli.conftest import execute
from tests.cli.test_looking import settle
from tests.cli.test_moving import enqueue


def test_it_prints_what_the_database_says(command: Any, with_tasks: str) -> None:
    id_ = enqueue(command, with_tasks)
    sentence = execute(with_tasks, "SELECT uno_jobs.explain($1)", uuid.UUID(id_))[0][0]
    assert sentence.startswith("first in line: host-a pid 4711 has 10 of 10 slots free")
    done = command("explain", id_)
    assert (done.status, done.out, done.err) == (0, f"ready: {sentence}\n", "")
    facts = command("explain", id_.upper(), "--json").json
    assert (facts["id"], facts["state"], facts["why"], facts["sentence"]) == (id_, "ready", "next", sentence)
    assert (facts["slots"], facts["busy_slots"]) == (10, 0)


def test_a_jobs_words_do_not_drive_the_terminal(command: Any, with_tasks: str) -> None:
    id_ = enqueue(command, with_tasks)
    settle(with_tasks, id_, "failed", error_type="ValueError", error="no\nsuch \x1b[31maddress")
    done = command("explain", id_)
    assert "ValueError: no such \\x1b[31maddress" in done.out
    assert len(done.out.splitlines()) == 1


def test_ids_that_are_none(command: Any, with_tasks: str) -> None:
    for id_, said in ((str(uuid.uuid4()), "there is no job"), ("7", "a job's id is a UUID, which '7' is not")):
        done = command("explain", id_, url=with_tasks)
        assert (done.status, done.out) == (2, "")
        assert said in done.err
        assert len(done.err.splitlines()) == 1

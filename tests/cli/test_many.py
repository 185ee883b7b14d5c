"""``uno-jobs jobs retry | cancel`` by a filter, ``failed``, ``export``, ``prune`` and ``retention``."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from typing import Any

import pytest

from tests.cli.conftest import PROGRAM, execute
from tests.cli.test_looking import settle
from tests.cli.test_moving import enqueue, show
from uno_jobs.cli import output


def fail(command: Any, url: str, *more: str, error_type: str = "ValueError") -> str:
    id_ = enqueue(command, url, *more)
    settle(url, id_, "failed", error_type=error_type, error="no", traceback="Traceback")
    return id_


def states(command: Any, *ids: str) -> list[str]:
    return [show(command, id_)["state"] for id_ in ids]


def test_failed_jobs_by_class_and_task(command: Any, with_tasks: str) -> None:
    for _ in range(3):
        last = fail(command, with_tasks)
    other = fail(command, with_tasks, "--queue", "other", error_type="KeyError")
    rows = command("jobs", "failed", "--json").json
    assert [(row["jobs"], row["error_type"], row["task"], row["sample"]) for row in rows] == [
        (3, "ValueError", "send_email", last),
        (1, "KeyError", "send_email", other),
    ]
    assert "KeyError" in command("jobs", "failed", "--queue", "other").out
    assert command("jobs", "failed", "--task", "none").out == "no failed jobs match\n"


def test_what_matches_is_retried_and_what_cannot_be_is_named(command: Any, with_tasks: str) -> None:
    plain = [fail(command, with_tasks) for _ in range(3)]
    key_error = fail(command, with_tasks, error_type="KeyError")
    elsewhere = fail(command, with_tasks, "--queue", "other")
    refused = fail(command, with_tasks, "--unique-key", "k")
    holder = enqueue(command, with_tasks, "--unique-key", "k")
    chosen = ["jobs", "retry", "--error-type", "ValueError", "--queue", "mail", "--since", "1h"]
    done = command(*chosen, "--dry-run")
    assert (done.status, done.out) == (0, "would retry 4 jobs\n")
    done = command(*chosen)
    assert (done.status, done.out) == (2, "")
    assert "--yes" in done.err
    assert set(states(command, *plain, refused)) == {"failed"}
    done = command(*chosen, "--yes")
    assert done.status == 1
    assert done.out.splitlines() == [
        f"{refused}  another unfinished job holds its unique key: {holder}",
        "3 retried, 1 held",
    ]
    assert states(command, *plain) == ["ready"] * 3
    assert states(command, key_error, elsewhere, refused) == ["failed"] * 3
    done = command("jobs", "retry", "--task", "send_email", "--limit", "2", "--yes", "--json")
    assert done.json["counts"] == {"retried": 2}
    assert states(command, key_error, elsewhere) == ["ready"] * 2


def test_what_matches_is_cancelled(command: Any, with_tasks: str) -> None:
    ids = [enqueue(command, with_tasks, *more) for more in ([], ["--delay", "60"], ["--queue", "other"])]
    done = command("jobs", "cancel", "--queue", "mail", "--state", "ready,scheduled", "--yes", "--reason", "enough")
    assert (done.status, done.out) == (0, "2 cancelled\n")
    assert states(command, *ids) == ["cancelled", "cancelled", "ready"]
    assert show(command, ids[0])["error"] == "enough"
    done = command("jobs", "cancel", "--queue", "mail", "--yes")
    assert (done.status, done.out) == (0, "no jobs match\n")


def test_many_batches(command: Any, with_tasks: str) -> None:
    execute(
        with_tasks,
        "SELECT count(uno_jobs.enqueue('send_email', args => '[\"a\"]')) FROM generate_series(1, 450)",
    )
    done = command("jobs", "cancel", "--task", "send_email", "--limit", "430", "--yes", url=with_tasks)
    assert (done.status, done.out) == (0, "430 cancelled\n")
    done = command("jobs", "retry", "--state", "cancelled", "--yes")
    assert (done.status, done.out) == (0, "430 retried\n")


def test_jobs_are_written_one_a_line(command: Any, with_tasks: str) -> None:
    ids = [fail(command, with_tasks, "--metadata", '{"n": 1}') for _ in range(3)]
    enqueue(command, with_tasks)
    lines = [json.loads(line) for line in command("jobs", "export").out.splitlines()]
    assert [job["id"] for job in lines] == ids
    assert (lines[0]["metadata"], lines[0]["args"], lines[0]["error_type"]) == ({"n": 1}, ["a"], "ValueError")
    assert [attempt["traceback"] for attempt in lines[0]["attempts"]] == ["Traceback"]
    assert len(command("jobs", "export", "--state", "failed,ready", "--limit", "4").out.splitlines()) == 4
    assert command("jobs", "export", "--task", "none").out == ""


def test_a_reader_that_goes_away_ends_what_writes(command: Any, with_tasks: str) -> None:
    execute(
        with_tasks,
        "SELECT count(uno_jobs.enqueue('send_email', args => '[\"a\"]')) FROM generate_series(1, 3000)",
    )
    environment = {**os.environ, "UNO_JOBS_DATABASE_URL": with_tasks}
    for arguments, reads in (["export", "--state", "ready"], 1), (["list"], 0):
        writes = [*PROGRAM, "jobs", *arguments]
        with subprocess.Popen(writes, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            for _ in range(reads):
                json.loads(process.stdout.readline())
            process.stdout.close()
            assert (process.stderr.read(), process.wait()) == (b"", output.NOBODY_READS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["jobs", "retry", "--yes"], "name jobs by their ids, or by a filter"),
        (["jobs", "retry", str(uuid.UUID(int=7)), "--task", "t"], "not by both"),
        (["jobs", "retry", "--state", "succeeded", "--yes"], "failed, cancelled or scheduled here, not 'succeeded'"),
        (["jobs", "cancel", "--state", "failed", "--yes"], "not 'failed'"),
        (["jobs", "retry", "--since", "1 fortnight", "--yes"], "--since is a number and a unit"),
        (["jobs", "export", "--state", "lost"], "not 'lost'"),
        (["prune", "--older-than", "soon", "--yes"], "--older-than is a number and a unit"),
        (["prune", "--older-than", "999999999w", "--yes"], "at most 1000 years"),
        (["prune", "--state", "ready", "--yes"], "succeeded, failed or cancelled here, not 'ready'"),
        (["prune"], "--yes"),
        (["retention", "set", "7", "--state", "failed"], "a number and a unit"),
        (["retention", "set", "7d", "--state", "ready"], "not 'ready'"),
        (["retention", "set", "7d", "--state", "failed", "--queue", "a", "--task", "b"], "not for both"),
        (["retention", "unset"], "the default can be set, not removed"),
    ],
)
def test_bad_input_changes_nothing(command: Any, with_tasks: str, arguments: list[str], said: str) -> None:
    id_ = fail(command, with_tasks)
    done = command(*arguments)
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert states(command, id_) == ["failed"]


def test_removing_by_hand(command: Any, with_tasks: str) -> None:
    failed, other = fail(command, with_tasks), fail(command, with_tasks, "--queue", "other")
    succeeded = enqueue(command, with_tasks)
    settle(with_tasks, succeeded, "succeeded")
    ready = enqueue(command, with_tasks)
    execute(with_tasks, "UPDATE uno_jobs.outcomes SET finished_at = now() - interval '2 days'")
    done = command("prune", "--yes")
    assert (done.status, done.out) == (0, "no finished jobs match\n")
    chosen = ["prune", "--older-than", "1d", "--queue", "mail"]
    assert command(*chosen, "--dry-run").out == "would remove 2 jobs: 1 succeeded, 1 failed\n"
    assert states(command, failed, succeeded) == ["failed", "succeeded"]
    assert command(*chosen, "--older-than", "3d", "--yes").out == "no finished jobs match\n"
    done = command(*chosen, "--state", "failed", "--yes", "--json")
    assert (done.json["failed"], done.json["succeeded"]) == (1, 0)
    assert command("jobs", "show", failed).status == 2
    assert states(command, other, succeeded, ready) == ["failed", "succeeded", "ready"]
    assert command(*chosen, "--yes").out == "removed 1 jobs: 1 succeeded\n"


def test_a_workflow_of_which_not_all_matches_is_kept(command: Any, with_tasks: str) -> None:
    workflow = uuid.uuid4()
    failed, succeeded = fail(command, with_tasks), enqueue(command, with_tasks)
    settle(with_tasks, succeeded, "succeeded")
    execute(with_tasks, "UPDATE uno_jobs.jobs SET workflow_id = $1", workflow)
    for more in (["--dry-run"], ["--yes"]):
        done = command("prune", "--older-than", "0s", "--state", "failed", *more)
        assert done.out == ("no finished jobs match\n1 are kept: their workflow is not over, or others wait for them\n")
    assert command("prune", "--older-than", "0s", "--dry-run").out == "would remove 2 jobs: 1 succeeded, 1 failed\n"
    assert command("prune", "--older-than", "0s", "--yes").out == "removed 2 jobs: 1 succeeded, 1 failed\n"
    assert execute(with_tasks, "SELECT id FROM uno_jobs.jobs WHERE id = $1", uuid.UUID(failed)) == []


def test_rules(command: Any, with_tasks: str) -> None:
    assert (
        command("retention", "set", "12h", "--state", "succeeded,cancelled", "--task", "t", url=with_tasks).status == 0
    )
    assert command("retention", "set", "forever", "--state", "failed").status == 0
    rows = command("retention", "list", "--json").json
    assert [(row["scope"], row["name"], row["state"], row["keep"]) for row in rows] == [
        ("default", "", "succeeded", 604800.0), ("default", "", "failed", None), ("default", "", "cancelled", 604800.0),
        ("task", "t", "succeeded", 43200.0), ("task", "t", "cancelled", 43200.0),
    ]  # fmt: skip
    shown = command("retention", "list").out
    assert "for ever" in shown
    assert "12 h" in shown
    assert command("retention", "unset", "--task", "t", "--state", "cancelled").out == "removed 1 rules\n"
    assert command("retention", "unset", "--task", "t").out == "removed 1 rules\n"
    assert command("retention", "unset", "--task", "t").out == "there are no such rules\n"
    assert command("retention", "set", "1d", "--state", "succeeded,failed,cancelled", "--queue", "q").status == 0
    assert command("retention", "unset", "--queue", "q", "--state", "succeeded,failed").out == "removed 2 rules\n"

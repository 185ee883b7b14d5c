"""``uno-jobs db sql --roles``, and the commands as a reader and as an operator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.conftest import execute, settle
from uno_jobs.storage.roles import roles_sql

if TYPE_CHECKING:
    from tests.roles import Roles


@pytest.fixture
def with_tasks(with_tasks: str) -> str:
    """The same, but its worker goes on living: looking at everything may take longer than a beat lasts."""
    execute(with_tasks, "UPDATE uno_jobs.workers SET beat_at = beat_at + interval '1 hour'")
    return with_tasks


def test_the_sql_of_the_roles_is_printed_without_a_database(command: Any) -> None:
    assert command("db", "sql", "--roles").out == roles_sql()
    given = ("--enqueuer", "web", "--worker", "runs", "--reader", "looks", "--operator", "ops")
    printed = command("db", "sql", "--roles", *given, "--schema", "Jobs")
    assert (printed.status, printed.out) == (
        0,
        roles_sql("Jobs", enqueuer="web", worker="runs", reader="looks", operator="ops"),
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--worker", "runs"], "--worker: goes with --roles"),
        (["head", "--roles"], "it takes no other"),
        (["--roles", "--worker", "pg_runs"], "'pg_runs' will not do"),
        (["--roles", "--worker", "one", "--reader", "one"], "a name of its own"),
    ],
)
def test_what_will_not_do(command: Any, arguments: list[str], said: str) -> None:
    refused = command("db", "sql", *arguments)
    assert (refused.status, refused.out) == (2, "")
    assert said in refused.err


def test_a_reader_looks_by_the_command(command: Any, with_tasks: str, roles: Roles) -> None:
    id_ = command("enqueue", "send_email", "--args", '["a@b.c"]', url=with_tasks).out.strip()
    settle(with_tasks, id_, "failed", error_type="ValueError", error="no", traceback="line 1")
    owner = [command(*words, "--json").json for words in _looks(id_)]
    assert owner[4]["attempts"][0]["error"] == "no"
    for words, expected in zip(_looks(id_), owner, strict=True):
        seen = command(*words, "--json", url=roles.reader)
        assert seen.status == 0, seen.err
        # Ages go on.
        assert _steady(seen.json) == _steady(expected)
    for words in (("jobs", "cancel", id_, "--yes"), ("enqueue", "send_email", "--args", '["x"]')):
        refused = command(*words, url=roles.reader)
        assert refused.status != 0
        assert "permission denied" in refused.err


def test_an_operator_steers_by_the_command(command: Any, with_tasks: str, roles: Roles) -> None:
    ids = [command("enqueue", "send_email", "--args", '["a@b.c"]', url=with_tasks).out.strip() for _ in range(4)]
    for id_ in ids[:2]:
        settle(with_tasks, id_, "failed", error_type="ValueError", error="no", traceback="line 1")

    def said(*words: str) -> str:
        done = command(*words, url=roles.operator)
        assert done.status == 0, (words, done.err)
        return done.out

    exported = [json.loads(line) for line in said("jobs", "export").splitlines()]
    assert [(job["id"], job["attempts"][0]["traceback"]) for job in exported] == [(id_, "line 1") for id_ in ids[:2]]
    assert said("jobs", "retry", ids[0]).endswith("ready again\n")
    assert said("jobs", "retry", "--task", "send_email", "--yes") == "1 retried\n"
    assert said("jobs", "cancel", ids[0]).endswith("cancelled\n")
    assert said("jobs", "cancel", "--task", "send_email", "--limit", "1", "--yes") == "1 cancelled\n"
    assert "paused" in said("queues", "pause", "mail")
    assert "left in it, paused: 2 ready" in said("queues", "drain", "mail")
    assert "weight 3" in said("queues", "weight", "mail", "3")
    assert "resumed" in said("queues", "resume", "mail")
    assert "2" in said("queues", "purge", "mail", "--dry-run")
    assert "2" in said("queues", "purge", "mail", "--yes")
    said("retention", "set", "1d", "--state", "failed", "--task", "send_email")
    said("retention", "unset", "--task", "send_email")
    assert "4" in said("prune", "--older-than", "0s", "--yes")
    assert command("jobs", "list", "--json", url=with_tasks).json == []
    for words in (("enqueue", "send_email", "--args", '["x"]'), ("db", "downgrade", "base", "--yes")):
        refused = command(*words, url=roles.operator)
        assert refused.status != 0
        assert "permission denied" in refused.err


def _looks(id_: str) -> list[tuple[str, ...]]:
    return [
        ("status",),
        ("queues", "list"),
        ("explain", id_),
        ("jobs", "list"),
        ("jobs", "show", id_),
        ("tasks",),
        ("workers",),
        ("workflows", "list"),
        ("jobs", "failed"),
        ("retention", "list"),
        ("jobs", "retry", "--task", "send_email", "--dry-run"),
    ]


def _steady(shown: Any) -> Any:
    if isinstance(shown, dict):
        return {
            key: _steady(value)
            for key, value in shown.items()
            if key != "sentence" and not key.startswith(("seconds", "read_at")) and not key.endswith("_seconds")
        }
    return [_steady(one) for one in shown] if isinstance(shown, list) else shown

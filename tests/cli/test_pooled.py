"""Every command does its work through a transaction pooler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.test_moving import enqueue
from tests.pgbouncer import needs_pgbouncer, pgbouncer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_pgbouncer


@pytest.fixture
def pooler(with_tasks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("UNO_JOBS_POOLED", "true")
    with pgbouncer(with_tasks, tmp_path) as url:
        yield url


def test_commands(command: Any, pooler: str) -> None:
    id_ = enqueue(command, pooler)
    for arguments, said in (
        (["status"], "mail"),
        (["workers"], "host-a"),
        (["tasks"], "send_email"),
        (["explain", id_], "ready: "),
        (["jobs", "list"], id_),
        (["jobs", "show", id_], id_),
        (["jobs", "cancel", id_], f"{id_}  cancelled\n"),
        (["jobs", "retry", id_], f"{id_}  ready again\n"),
        (["jobs", "cancel", "--queue", "mail", "--yes"], "1 cancelled\n"),
        (["jobs", "retry", "--state", "cancelled", "--yes"], "1 retried\n"),
        (["jobs", "failed"], "no failed jobs match\n"),
        (["jobs", "export", "--state", "ready"], id_),
        (["workflows", "list"], "no such workflows\n"),
        (["queues", "pause", "mail"], "mail is paused\n"),
        (["queues", "drain", "mail"], "mail is drained; left in it, paused: 1 ready\n"),
        (["queues", "resume", "mail"], "mail is resumed\n"),
        (["queues", "weight", "mail", "2"], "mail has weight 2\n"),
        (["queues", "purge", "mail", "--yes"], "1 jobs of mail were cancelled\n"),
        (["queues", "list"], "mail"),
        (["retention", "set", "1d", "--state", "failed,cancelled"], "failed, cancelled: kept for 1d\n"),
        (["retention", "list"], "1 d"),
        (["prune", "--older-than", "0s", "--yes"], "removed 1 jobs: 1 cancelled\n"),
    ):
        done = command(*arguments)
        assert (done.status, said in done.out) == (0, True), (arguments, done)
